"""The conversation machine: literal events in, literal commands out."""

from random import Random

import pytest
from talking import (
    ORIGIN,
    READ,
    TIME,
    VERDICT,
    answered,
    assistant,
    control,
    converse,
    handle,
    messages_of,
    output,
    reply,
    usage,
    user,
)

from fabric.wire.payload import STRING, ListOf, Prim
from fabric.wire.spec import Document, WorkerSpec
from plumb_agent.config import read_config
from plumb_agent.conversation import INPUTS_WAITING_MAX, Conversation
from plumb_agent.events import (
    CallFailed,
    CallProvider,
    ControlEnded,
    Decline,
    Emit,
    EmitTelemetry,
    EndOutput,
    Fail,
    Finish,
    ForwardMarker,
    InputArrived,
    InputEnded,
    Log,
    MarkerArrived,
    Respond,
    Started,
)
from plumb_agent.messages import History, Request, SystemBlock
from plumb_agent.toolbox import Toolbox

INSTRUCTION = SystemBlock(
    "Your whole answer is read by a program as one JSON value of the type string, which this JSON Schema describes:\n"
    '{"type":"string"}\n'
    "Answer with that value alone: no other words and no code fence around it.",
    cache_break=True,
)


def test_the_configuration_is_told_at_the_start():
    """As the first telemetry event, caused by no input."""
    assert handle(converse(tools=(READ,), mcp_tools=(TIME,)), Started()) == [
        EmitTelemetry(
            {
                "kind": "config",
                "model": "m",
                "provider": "p",
                "max_tokens": 8192,
                "thinking_budget": None,
                "tools": ["Fs.read", "time.now"],
            }
        )
    ]


def test_an_input_becomes_a_call_and_its_reply_an_output():
    """The user's message is the JSON text; what is written carries the input's origin."""
    conversation = converse()
    assert handle(conversation, InputArrived(b'"hello"', ORIGIN)) == [
        CallProvider(
            Request(
                (INSTRUCTION,),
                History([user('"hello"')]),
                '"hello"',
                "m",
                output_schema={"type": "string"},
                tools=Toolbox(()).offered,
            ),
            ORIGIN,
        )
    ]
    assert handle(conversation, reply(' "hi"\n')) == [usage(ORIGIN), Emit(b'"hi"', ORIGIN), output("hi", ORIGIN)]


def test_the_history_accumulates():
    """Each call sees every exchange before it."""
    conversation = answered(converse(), ('"a"', '"b"'))
    called = handle(conversation, InputArrived(b'"c"'))
    assert messages_of(called) == [user('"a"'), assistant('"b"'), user('"c"')]


def test_an_amnesiac_forgets():
    """Each call sees its input alone."""
    conversation = answered(converse(amnesiac=True), ('"a"', '"b"'))
    assert messages_of(handle(conversation, InputArrived(b'"c"'))) == [user('"c"')]


def test_inputs_are_answered_one_after_the_other():
    """The second call starts when the first reply is written."""
    conversation = converse()
    assert conversation.wants_input
    handle(conversation, InputArrived(b'"a"'))
    assert conversation.wants_input
    assert handle(conversation, InputArrived(b'"b"')) == []
    assert not conversation.wants_input
    commands = handle(conversation, reply('"A"'))
    assert commands[:3] == [usage(), Emit(b'"A"'), output("A")]
    assert messages_of(commands) == [user('"a"'), assistant('"A"'), user('"b"')]


def test_an_input_of_the_wrong_type_fails_the_worker():
    """The model is not asked."""
    assert handle(converse(), InputArrived(b"1")) == [
        Fail("input_type_mismatch", "input of agent 'judge': expected string, got integer 1")
    ]


def test_a_refused_reply_is_fed_back_and_forgotten():
    """The retry sees reply and reason, the next input sees neither."""
    conversation = converse(output=VERDICT)
    handle(conversation, InputArrived(b'"a"'))
    commands = handle(conversation, reply('{"ok":1}'))
    feedback = user(
        "The program could not use that answer: expected bool, got integer 1 at $.ok. "
        "Answer again, with nothing but a JSON value of the type that was asked for."
    )
    assert commands[0] == usage()
    assert messages_of(commands) == [user('"a"'), assistant('{"ok":1}'), feedback]
    assert handle(conversation, reply('{"ok":true}')) == [usage(), Emit(b'{"ok":true}'), output({"ok": True})]
    called = handle(conversation, InputArrived(b'"b"'))
    assert messages_of(called) == [user('"a"'), assistant('{"ok":true}'), user('"b"')]


def test_retries_run_out():
    """The first call and max_retries more; then the worker fails with status 1."""
    conversation = converse(max_retries=1)
    handle(conversation, InputArrived(b'"a"'), reply("no json"))
    commands = handle(conversation, reply("3"))
    assert commands == [
        usage(),
        Fail(
            "retries_exhausted",
            "agent 'judge': no valid output after 1 retries; the last refusal: expected string, got integer 3",
        ),
    ]
    assert handle(conversation, InputArrived(b'"b"'), InputEnded(), ControlEnded()) == []


def test_an_agent_of_a_tool_declines_what_it_cannot_do_and_goes_on():
    """Its markers and its next message follow as ever."""
    config = {"provider": "p", "model": "m", "max_retries": 0, "amnesiac": True}
    spec = WorkerSpec("judge", "agent", STRING, STRING, config, part_of="t")
    conversation = Conversation(spec, read_config(spec), Random(0))
    handle(conversation, InputArrived(b'"a"'), MarkerArrived("m1"))
    text = "agent 'judge': no valid output after 0 retries; the last refusal: expected string, got integer 3"
    assert handle(conversation, reply("3")) == [usage(), Decline("retries_exhausted", text), ForwardMarker("m1")]
    handle(conversation, InputArrived(b'"b"'), MarkerArrived("m2"))
    failed = CallFailed("provider_error", "no such model", {})
    assert handle(conversation, failed) == [Decline("provider_error", "no such model"), ForwardMarker("m2")]
    handle(conversation, InputArrived(b'"c"'))
    assert Emit(b'"yes"') in handle(conversation, reply('"yes"'))


def test_retry_messages_are_marked_in_the_log():
    """The refused reply and its feedback; not the one that stays in the history."""
    conversation = converse()
    commands = [
        *conversation.handle(InputArrived(b'"a"'), 0.0),
        *conversation.handle(reply("x"), 0.0),
        *conversation.handle(reply('"y"'), 0.0),
    ]
    logs = [command for command in commands if isinstance(command, Log)]
    assert [(log.event, log.fields.get("role"), log.fields.get("retry", False)) for log in logs] == [
        ("message", "user", False),
        ("api_request", None, False),
        ("message", "assistant", True),
        ("api_response", None, False),
        ("message", "user", True),
        ("api_request", None, False),
        ("message", "assistant", False),
        ("api_response", None, False),
    ]
    request = {"model": "m", "max_tokens": 8192, "thinking_budget": None, "message_count": 1}
    response = {"status": 200, "content_blocks": 1, "stop_reason": "end_turn", "input_tokens": 3, "output_tokens": 2}
    assert logs[0].fields == {"role": "user", "content": '"a"'}
    assert logs[1].fields == request
    assert logs[2].fields == {"role": "assistant", "content": [{"type": "text", "text": "x"}], "retry": True}
    assert logs[3].fields == response


def test_an_output_is_normalised_as_its_type_says():
    """3.0 is an int, and is written as 3."""
    conversation = converse(output=ListOf(Prim("int")))
    handle(conversation, InputArrived(b'"a"'))
    assert handle(conversation, reply("[3.0]"))[1] == Emit(b"[3]")


def test_a_lenient_string_may_be_bare_text():
    """Only where it is allowed, only for text that is no JSON, only for type string."""
    conversation = converse(lenient_string=True)
    handle(conversation, InputArrived(b'"a"'))
    assert handle(conversation, reply("hi there"))[1] == Emit(b'"hi there"')
    handle(conversation, InputArrived(b'"a"'))
    assert isinstance(handle(conversation, reply("3"))[1], CallProvider)


def test_a_failed_call_fails_the_worker():
    """With the provider's code and details."""
    conversation = converse()
    handle(conversation, InputArrived(b'"a"'))
    assert handle(conversation, CallFailed("provider_error", "gone", {"status": "503"})) == [
        Fail("provider_error", "gone", 1, {"status": "503"})
    ]


# Markers and ends


def test_an_idle_conversation_forwards_a_marker_at_once():
    """The model is not asked."""
    assert handle(converse(), MarkerArrived("ack/1")) == [ForwardMarker("ack/1")]


def test_a_marker_waits_for_the_inputs_before_it():
    """And overtakes none behind it."""
    conversation = converse()
    handle(conversation, InputArrived(b'"a"'), MarkerArrived("1"), InputArrived(b'"b"'), MarkerArrived("2"))
    commands = handle(conversation, reply('"A"'))
    assert commands[:4] == [usage(), Emit(b'"A"'), output("A"), ForwardMarker("1")]
    assert isinstance(commands[4], CallProvider)
    assert handle(conversation, reply('"B"'))[-1] == ForwardMarker("2")


def test_the_end_comes_behind_everything_before_it():
    """Output ends, control is served on, and the end of control is the end of the worker."""
    conversation = converse()
    handle(conversation, InputArrived(b'"a"'), MarkerArrived("1"), InputEnded())
    assert handle(conversation, reply('"A"'))[-2:] == [ForwardMarker("1"), EndOutput()]
    assert handle(conversation, control('{"pause":true}')) == [Respond({"kind": "pause_ack"})]
    assert handle(conversation, ControlEnded()) == [Finish()]


def test_stop_after_the_end_finishes_without_waiting_for_the_end_of_control():
    """It is what the coordinator sends."""
    assert handle(converse(), InputEnded(), control('{"stop":true}')) == [EndOutput(), Finish()]


def test_without_control_the_end_of_the_input_finishes():
    """In either order."""
    assert handle(converse(), ControlEnded(), InputEnded()) == [EndOutput(), Finish()]
    assert handle(converse(), InputEnded(), ControlEnded()) == [EndOutput(), Finish()]


def test_stop_leaves_after_the_input_in_progress():
    """What waits is dropped, and counted in a warning; its marker is not returned."""
    conversation = converse()
    handle(conversation, InputArrived(b'"a"'), MarkerArrived("1"), InputArrived(b'"b"'), MarkerArrived("2"))
    assert handle(conversation, control('{"stop":true}')) == []
    assert handle(conversation, reply('"A"')) == [
        usage(),
        Emit(b'"A"'),
        output("A"),
        ForwardMarker("1"),
        EndOutput(),
        Log("warning", "inputs_dropped", {"count": 1}),
        Finish(),
    ]


def test_max_messages_leaves_after_so_many_inputs():
    """Clean, and with the marker that is already there."""
    conversation = converse(max_messages=1)
    handle(conversation, InputArrived(b'"a"'), MarkerArrived("1"))
    assert handle(conversation, reply('"A"'))[-3:] == [ForwardMarker("1"), EndOutput(), Finish()]


# Control


def test_overrides_take_effect_at_the_next_call():
    """Also at a retry of the input in progress; null goes back to what was configured."""
    conversation = converse()
    handle(conversation, InputArrived(b'"a"'), control('{"set_temp":0.5,"set_model":"big"}'))
    (_, call) = handle(conversation, reply("x"))
    assert isinstance(call, CallProvider)
    assert (call.request.temperature, call.request.model) == (0.5, "big")
    handle(conversation, reply('"A"'), control('{"set_temp":null,"set_model":null}'))
    (call,) = handle(conversation, InputArrived(b'"b"'))
    assert isinstance(call, CallProvider)
    assert (call.request.temperature, call.request.model) == (None, "m")


def test_a_pause_holds_inputs_back_and_nothing_else():
    """Acknowledged at once; markers without an input before them pass."""
    conversation = converse()
    assert handle(conversation, control('{"pause":true}')) == [Respond({"kind": "pause_ack"})]
    assert handle(conversation, MarkerArrived("1"), InputArrived(b'"a"'), MarkerArrived("2")) == [ForwardMarker("1")]
    assert conversation.wants_input
    acknowledged, call = handle(conversation, control('{"resume":true}'))
    assert acknowledged == Respond({"kind": "resume_ack"})
    assert isinstance(call, CallProvider)


def test_the_input_in_progress_is_answered_while_paused():
    """A pause does not interrupt a call."""
    conversation = converse()
    handle(conversation, InputArrived(b'"a"'), InputArrived(b'"b"'))
    assert handle(conversation, control('{"pause":true}')) == [Respond({"kind": "pause_ack"})]
    assert handle(conversation, reply('"A"')) == [usage(), Emit(b'"A"'), output("A")]


def test_the_end_of_control_ends_a_pause():
    """Nobody could resume any more."""
    conversation = converse()
    handle(conversation, control('{"pause":true}'), InputArrived(b'"a"'))
    assert isinstance(handle(conversation, ControlEnded())[0], CallProvider)


def test_a_paused_worker_without_inputs_can_drain():
    """The end passes a pause where no input is held back."""
    assert handle(converse(), control('{"pause":true}'), InputEnded())[-1] == EndOutput()


def test_memory_is_shown_at_once_between_inputs():
    """In the form that set_memory takes."""
    conversation = answered(converse(), ('"a"', '"b"'))
    messages = [{"role": "user", "content": '"a"'}, {"role": "assistant", "content": '"b"'}]
    shown = [Respond({"kind": "memory", "messages": messages, "pinned": []})]
    assert handle(conversation, control('{"get_memory":true}')) == shown
    assert handle(conversation, control('{"get_memory":true,"format":"openai"}')) == shown


def test_memory_is_shown_after_the_input_in_progress():
    """Even when paused: a call is in progress."""
    conversation = converse()
    handle(conversation, InputArrived(b'"a"'), InputArrived(b'"b"'))
    assert handle(conversation, control('{"get_memory":true}')) == []
    commands = handle(conversation, reply('"A"'))
    messages = [{"role": "user", "content": '"a"'}, {"role": "assistant", "content": '"A"'}]
    assert commands[3] == Respond({"kind": "memory", "messages": messages, "pinned": []})
    assert isinstance(commands[4], CallProvider)


def test_memory_is_replaced():
    """The next call sees the new history; system prompt and type stay."""
    conversation = answered(converse(), ('"a"', '"b"'))
    commands = handle(conversation, control('{"set_memory":[{"role":"user","content":"so far"}]}'))
    assert commands == [Respond({"kind": "memory_set", "old_messages": 2, "new_messages": 1})]
    assert messages_of(handle(conversation, InputArrived(b'"c"'))) == [user("so far"), user('"c"')]


def test_a_malformed_memory_changes_nothing():
    """A warning, no acknowledgement."""
    conversation = answered(converse(), ('"a"', '"b"'))
    reason = "set_memory: message 0 needs a role and a content"
    assert handle(conversation, control('{"set_memory":[{"role":"user"}]}')) == [
        Log("warning", "control_refused", {"reason": reason})
    ]
    assert len(messages_of(handle(conversation, InputArrived(b'"c"')))) == 3


def test_a_second_memory_request_replaces_the_first():
    """There is one place; a warning tells."""
    conversation = converse()
    handle(conversation, InputArrived(b'"a"'), control('{"get_memory":true}'))
    assert handle(conversation, control('{"set_memory":[]}')) == [Log("warning", "memory_request_replaced", {})]
    assert handle(conversation, reply('"A"'))[3:] == [
        Respond({"kind": "memory_set", "old_messages": 2, "new_messages": 0})
    ]


def test_several_fields_take_effect_in_the_order_of_the_table():
    """Pause, show, replace, resume, in one object."""
    everything = '{"resume":true,"set_memory":[],"get_memory":true,"pause":true}'
    assert handle(converse(), control(everything)) == [
        Respond({"kind": "pause_ack"}),
        Respond({"kind": "memory", "messages": [], "pinned": []}),
        Respond({"kind": "memory_set", "old_messages": 0, "new_messages": 0}),
        Respond({"kind": "resume_ack"}),
    ]


def test_no_more_than_so_many_inputs_wait():
    """While paused they are kept, and there is an end to it."""
    conversation = converse()
    handle(conversation, control('{"pause":true}'))
    assert handle(conversation, *[InputArrived(b'"a"')] * INPUTS_WAITING_MAX) == []
    assert handle(conversation, InputArrived(b'"a"')) == [Fail("too_many_inputs", "more than 10000 inputs wait")]


# The system prompt


def test_the_system_prompt_has_its_parts_in_order():
    """Prompt, files, the output instruction with the cache break, and at last what changes from call to call."""
    documents = (Document("role.md", "You judge."), Document('a"b<c', "x"))
    config = {"provider": "p", "model": "m", "prompt": "Be fair.", "runtime_context": True}
    spec = WorkerSpec("judge", "agent", STRING, STRING, config, documents=documents)
    conversation = Conversation(spec, read_config(spec), Random(0))
    answered(conversation, ('"a"', '"b"'))
    (command,) = [c for c in conversation.handle(InputArrived(b'"c"'), 1_772_979_857.5) if isinstance(c, CallProvider)]
    assert command.request.system == (
        SystemBlock("Be fair."),
        SystemBlock('<doc id="role.md">\nYou judge.\n</doc>'),
        SystemBlock('<doc id="a&quot;b&lt;c">\nx\n</doc>'),
        INSTRUCTION,
        SystemBlock(
            "[Runtime context]\nTime: 2026-03-08T14:24:17Z\nSession input tokens: 3\nSession output tokens: 2\n"
            "API calls: 1\nMax output tokens per turn: 8192\nHistory messages: 3\nPinned documents: 0\n"
            "Compaction cycles: 0"
        ),
    )


@pytest.mark.parametrize("event", [InputArrived(b'"a"'), MarkerArrived("1"), Started(), control('{"pause":true}')])
def test_nothing_happens_after_the_end(event):
    """Readers that are still running do no harm."""
    conversation = converse()
    handle(conversation, InputEnded(), ControlEnded())
    assert handle(conversation, event) == []
