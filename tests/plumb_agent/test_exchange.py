"""One input through the machine: attempts, rounds of tools, reservations. Literal events in, literal commands out."""

from __future__ import annotations

from typing import Any

import pytest
from talking import (
    ORIGIN,
    READ,
    SHOUT,
    TIME,
    VERDICT,
    answered,
    assistant,
    calling,
    control,
    converse,
    handle,
    messages_of,
    output,
    reply,
    request_of,
    results,
    told,
    untold,
    usage,
    use,
    user,
)

from plumb_agent.conversation import Conversation
from plumb_agent.events import (
    CallFailed,
    CallProvider,
    CallTool,
    ControlEnded,
    Decline,
    Emit,
    EmitTelemetry,
    Fail,
    InputArrived,
    InputEnded,
    Log,
    MarkerArrived,
    ReplyArrived,
    Settle,
    ToolAnswered,
    ToolFailed,
    ToolsEnded,
    Wait,
    Waited,
)
from plumb_agent.messages import RedactedThinkingBlock, Reply, TextBlock, ThinkingBlock, Usage

BUSY = CallFailed("provider_unavailable", "overloaded", {"status": "529"}, transient=True)


def started(conversation: Conversation) -> Conversation:
    """Give it an input."""
    handle(conversation, InputArrived(b'"a"', ORIGIN))
    return conversation


# Attempts


def test_a_call_that_failed_for_the_moment_is_made_again_after_a_while():
    """A warning tells why and when; between the two nothing is called, and the second sees what was set meanwhile."""
    conversation = started(converse())
    warning, wait = handle(conversation, BUSY)
    assert isinstance(wait, Wait)
    assert 0 <= wait.delay_s <= 0.5
    fields = {"code": "provider_unavailable", "reason": "overloaded", "attempt": 1, "delay_s": round(wait.delay_s, 3)}
    assert warning == Log("warning", "llm_retried", fields)
    request = request_of(handle(conversation, control('{"set_model":"big"}'), Waited()))
    assert (request.model, list(request.messages)) == ("big", [user('"a"')])
    assert Emit(b'"A"', ORIGIN) in handle(conversation, reply('"A"'))


def test_after_five_attempts_the_provider_is_unavailable():
    """The error keeps the words of the last one."""
    conversation = started(converse())
    for _ in range(4):
        assert isinstance(handle(conversation, BUSY, Waited())[-1], CallProvider)
    cut = CallFailed("stream_cut", "the stream ended", transient=True, usage="all")
    details = {"cause": "stream_cut", "attempts": "5", "span": ORIGIN.span_id.hex()}
    assert handle(conversation, cut) == [Fail("provider_unavailable", "the stream ended", 1, details)]


def test_each_call_has_attempts_of_its_own():
    """Four failures before a refused answer do not count for the call behind it."""
    conversation = started(converse())
    for _ in range(4):
        handle(conversation, BUSY, Waited())
    handle(conversation, reply("no json"))
    assert isinstance(handle(conversation, BUSY)[-1], Wait)


def test_what_the_provider_asks_for_is_waited_for_up_to_a_minute():
    """Not less; and of more than a minute the sender hears at once."""
    conversation = started(converse())
    wait = handle(conversation, CallFailed("rate", "slow down", transient=True, retry_after_s=60.0))[-1]
    assert wait == Wait(60.0)
    handle(conversation, Waited())
    (failed,) = handle(conversation, CallFailed("rate", "slow down", transient=True, retry_after_s=60.1))
    assert isinstance(failed, Fail)
    assert failed.code == "provider_unavailable"


def test_a_failure_that_will_not_pass_is_not_tried_again():
    """It keeps its code."""
    failed = CallFailed("provider_refused_request", "no such model", {"status": "404"})
    details = {"status": "404", "span": ORIGIN.span_id.hex()}
    assert handle(started(converse()), failed) == [Fail("provider_refused_request", "no such model", 1, details)]


def test_what_a_failed_call_used_is_counted():
    """In telemetry, as any other."""
    commands = handle(started(converse()), CallFailed("stream_cut", "cut", transient=True, usage=Usage(3, 2)))
    assert commands[0] == usage(ORIGIN)


# Replies that are none


def test_an_answer_that_was_cut_off_is_never_taken():
    """Even if what is there of it has the type."""
    commands = handle(started(converse()), reply("3", stop_reason="max_tokens"))
    text = "agent 'judge': the answer was cut off at 8192 tokens: raise max_tokens, or ask for less"
    span = {"span": ORIGIN.span_id.hex()}
    assert commands == [usage(ORIGIN), Fail("max_tokens_reached", text, 1, span)]


def test_a_cut_off_call_of_a_tool_is_not_made():
    """Its arguments may be cut."""
    cut = ReplyArrived(Reply((use("x", "shout", input="hey"),), Usage(3, 2), "max_tokens"))
    commands = handle(started(converse(tools=(SHOUT,))), cut)
    assert [type(command) for command in commands] == [EmitTelemetry, Fail]


def test_a_refusal_is_not_asked_again():
    """The model's words are in the error."""
    (_, failed) = handle(started(converse()), reply("I will not.", stop_reason="refusal"))
    assert isinstance(failed, Fail)
    assert (failed.code, failed.message) == ("model_refused", "agent 'judge': the model will not answer: I will not.")


def test_an_answer_without_anything_is_refused():
    """The next call has no message without content: no provider takes one."""
    commands = handle(started(converse()), ReplyArrived(Reply((TextBlock(""),), Usage(3, 2))))
    assert [message.role for message in messages_of(commands)] == ["user", "user"]


# Rounds of tools


def test_a_round_of_tools():
    """All calls leave at once, under ids of ours; the results go back in the order of the calls."""
    conversation = started(converse(tools=(READ, SHOUT)))
    calls = use("toolu_1", "read", path="a.md"), use("toolu_2", "shout", input="hey")
    assert handle(conversation, calling(*calls, text="Let me see.")) == [
        usage(ORIGIN),
        CallTool("c1", "Fs.read", {"path": "a.md"}, ORIGIN),
        CallTool("c2", "shout", "hey", ORIGIN),
    ]
    assert conversation.awaits_tools
    heard = {"id": "toolu_2", "name": "shout", "arguments": '{"input":"hey"}', "summary": "ok", "is_error": False}
    assert handle(conversation, ToolAnswered("c2", "HEY")) == [EmitTelemetry({"kind": "tool_call", **heard}, ORIGIN)]
    commands = handle(conversation, ToolFailed("c1", "no such file\nlook elsewhere"))
    (about,) = told(commands, "tool_call")
    assert (about["id"], about["summary"], about["is_error"]) == ("toolu_1", "no such file", True)
    round_ = [
        user('"a"'),
        assistant("Let me see.", *calls),
        results(("toolu_1", "no such file\nlook elsewhere", True), ("toolu_2", "HEY")),
    ]
    assert messages_of(commands) == round_
    assert not conversation.awaits_tools
    handle(conversation, reply('"A"'))
    assert messages_of(handle(conversation, InputArrived(b'"b"'))) == [*round_, assistant('"A"'), user('"b"')]


def test_a_result_that_is_no_string_is_told_as_its_json_text():
    """A model reads text."""
    conversation = started(converse(tools=(READ,)))
    handle(conversation, calling(use("x", "read", path="a")))
    commands = handle(conversation, ToolAnswered("c1", {"a": [1, None]}))
    assert messages_of(commands)[-1] == results(("x", '{"a":[1,null]}'))


def test_a_result_that_is_too_long_is_an_error():
    """With its size, and what to do."""
    conversation = started(converse(tools=(READ,)))
    handle(conversation, calling(use("x", "read", path="a")))
    commands = handle(conversation, ToolAnswered("c1", "ä" * 600_000))
    text = "the result has 1200000 bytes; 1048576 is the most: ask for less of it at a time"
    assert messages_of(commands)[-1] == results(("x", text, True))


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (use("x", "read", file="a"), "expected object { path: string }, got unknown field 'file'"),
        (use("x", "read", path=1), "expected string, got integer 1 at $.path"),
        (use("x", "shout", input=1), "expected string, got integer 1"),
        (use("x", "shout", text="a"), "expected object {\"input\": string}, got object with 'text'"),
        (use("x", "shout"), 'expected object {"input": string}, got object with nothing'),
    ],
)
def test_arguments_without_the_type_do_not_leave(call, reason):
    """The model is told what was expected."""
    conversation = started(converse(tools=(READ, SHOUT)))
    commands = handle(conversation, calling(call))
    refused = f"the arguments of {call.name!r} do not have its type: {reason}"
    assert messages_of(commands)[-1] == results(("x", refused, True))
    assert not [command for command in commands if isinstance(command, CallTool)]


def test_a_tool_that_is_not_there_is_not_called():
    """The model is told which there are."""
    conversation = started(converse(tools=(READ, SHOUT), mcp_tools=(TIME,)))
    commands = handle(conversation, calling(use("x", "find", path="a")))
    reason = "there is no tool 'find'; there are: read, shout, now, pin, unpin"
    assert messages_of(commands)[-1] == results(("x", reason, True))


@pytest.mark.parametrize("name", ["now", "time.now", "time_now", "time__now"])
def test_a_tool_is_known_by_each_of_its_spellings(name):
    """Models write what they have seen elsewhere."""
    conversation = started(converse(mcp_tools=(TIME,)))
    commands = handle(conversation, calling(use("x", name, zone="UTC")))
    called = [command for command in commands if isinstance(command, CallTool)]
    assert [(call.id, call.name, call.arguments) for call in called] == [("c1", "time.now", {"zone": "UTC"})]


def test_refused_answers_are_forgotten_and_rounds_are_not():
    """Also where one input has both, in whatever order."""
    conversation = started(converse(output=VERDICT, tools=(SHOUT,)))
    handle(conversation, reply("no json"), calling(use("x", "shout", input="hey")))
    commands = handle(conversation, ToolAnswered("c1", "HEY"))
    assert [message.role for message in messages_of(commands)] == ["user", "assistant", "user", "assistant", "user"]
    commands = handle(conversation, reply("1"))
    assert len(messages_of(commands)) == 7
    handle(conversation, reply('{"ok":true}'))
    assert messages_of(handle(conversation, InputArrived(b'"b"'))) == [
        user('"a"'),
        assistant(use("x", "shout", input="hey")),
        results(("x", "HEY")),
        assistant('{"ok":true}'),
        user('"b"'),
    ]


def test_retries_are_counted_over_rounds():
    """A round does not make a model's mistakes undone."""
    conversation = started(converse(max_retries=1, tools=(SHOUT,)))
    handle(conversation, reply("x"), calling(use("x", "shout", input="hey")), ToolAnswered("c1", "HEY"))
    failed = handle(conversation, reply("y"))[-1]
    assert isinstance(failed, Fail)
    assert failed.code == "retries_exhausted"


def test_the_limit_of_calls_is_looked_at_behind_a_round():
    """It counts those of all rounds of an input, and of no other."""
    conversation = started(converse(max_tool_calls=3, tools=(SHOUT,)))

    def round_(first: int, *ids: str) -> list[Any]:
        commands = handle(conversation, calling(*(use(id_, "shout", input="hey") for id_ in ids)))
        return commands + handle(conversation, *(ToolAnswered(f"c{first + n}", "HEY") for n in range(len(ids))))

    assert isinstance(round_(1, "a", "b")[-1], CallProvider)
    handle(conversation, reply('"A"'), InputArrived(b'"b"', ORIGIN))
    assert isinstance(round_(3, "a", "b")[-1], CallProvider)
    failed = round_(5, "a", "b")[-1]
    text = "agent 'judge': 4 calls of tools for one input; max_tool_calls is 3"
    assert failed == Fail("tool_limit", text, 1, {"span": ORIGIN.span_id.hex()})


def test_what_was_set_takes_effect_behind_a_round():
    """As behind a refused answer."""
    conversation = started(converse(tools=(SHOUT,)))
    handle(conversation, calling(use("x", "shout", input="hey")), control('{"set_temp":0.9,"set_model":"big"}'))
    request = request_of(handle(conversation, ToolAnswered("c1", "HEY")))
    assert (request.temperature, request.model) == (0.9, "big")


def test_an_answer_that_nobody_waits_for_is_ignored():
    """With a warning; also one that comes twice."""
    conversation = started(converse(tools=(SHOUT,)))
    reason = {"id": "c9", "reason": "no call with this id waits"}
    assert handle(conversation, ToolAnswered("c9", 1)) == [Log("warning", "tool_response_ignored", reason)]
    handle(conversation, calling(use("x", "shout", input="hey"), use("y", "shout", input="ho")))
    handle(conversation, ToolAnswered("c1", "HEY"))
    (ignored,) = handle(conversation, ToolFailed("c1", "late"))
    assert isinstance(ignored, Log)
    handle(conversation, ToolAnswered("c2", "HO"), reply('"A"'))
    idle = {"id": "c2", "reason": "no call waits"}
    assert handle(conversation, ToolAnswered("c2", 1)) == [Log("warning", "tool_response_ignored", idle)]


def test_the_end_of_the_tools_fails_an_input_that_waits_for_one():
    """And one that would call one later; an input that needs none is answered."""
    text = "agent 'judge': it waits for a tool, and the channel on which tools answer has ended"
    failed = Fail("tool_channel_closed", text, 1, {"span": ORIGIN.span_id.hex()})
    conversation = started(converse(tools=(SHOUT,)))
    handle(conversation, calling(use("x", "shout", input="hey")))
    assert handle(conversation, ToolsEnded()) == [failed]
    conversation = started(converse(tools=(SHOUT,)))
    assert handle(conversation, ToolsEnded(), InputEnded(), ControlEnded()) == []
    handle(conversation, calling(use("x", "nothing")))
    assert handle(conversation, calling(use("x", "shout", input="hey"))) == [usage(ORIGIN), failed]
    conversation = started(converse(tools=(SHOUT,)))
    assert Emit(b'"A"', ORIGIN) in handle(conversation, ToolsEnded(), reply('"A"'))


def test_an_agent_of_a_tool_declines_and_forgets_what_it_had_begun():
    """The round with it, and what was pinned in that."""
    conversation = started(converse(tools=(SHOUT,), part_of="t", max_retries=0))
    handle(
        conversation, calling(use("x", "shout", input="hey"), use("y", "pin", tool="shout", arguments={"input": "hey"}))
    )
    handle(conversation, ToolAnswered("c1", "HEY"))
    commands = handle(conversation, reply("no json"))
    assert [type(command) for command in untold(commands)] == [Decline]
    assert told(commands, "pin_state") == [{"action": "unpin", "count": 0, "keys": []}]
    assert messages_of(handle(conversation, InputArrived(b'"b"'))) == [user('"b"')]


# Thoughts


def test_thoughts_are_told_and_stay_in_the_history():
    """With their signature, without which a provider refuses them; ``type`` is ``kind`` in telemetry."""
    conversation = started(converse())
    blocks = (ThinkingBlock("Let me consider...", "abc123"), RedactedThinkingBlock("EncR"), TextBlock('"A"'))
    commands = handle(conversation, ReplyArrived(Reply(blocks, Usage(3, 2))))
    assert commands == [
        usage(ORIGIN),
        EmitTelemetry({"kind": "thinking", "thinking": "Let me consider...", "signature": "abc123"}, ORIGIN),
        EmitTelemetry({"kind": "redacted_thinking", "data": "EncR"}, ORIGIN),
        Emit(b'"A"', ORIGIN),
        output("A", ORIGIN),
    ]
    assert messages_of(handle(conversation, InputArrived(b'"b"')))[1].content == blocks


def test_usage_tells_which_model_it_was():
    """As the provider says it, if it does."""
    conversation = started(converse())
    assert told(handle(conversation, reply('"A"', model="m-2026")), "usage")[0]["model"] == "m-2026"


# Reservations


def reserve(id_: str, model: str = "m") -> CallTool:
    """Return the reservation of a call with the one message "a"."""
    conversation = converse()
    request = request_of(handle(conversation, InputArrived(b'"a"')))
    from fabric.wire.payload import encode_json

    size = sum(len(encode_json(part)) for part in (request.system, list(request.messages), request.tools))
    arguments = {"provider": "p", "model": model, "prompt_tokens": size // 2 + 1, "max_tokens": 8192}
    return CallTool(id_, "fabric.reserve", arguments)


def test_a_metered_agent_reserves_calls_and_settles():
    """The response says how many tokens it may ask for; set_model counts from the next reservation on."""
    conversation = converse(metered=True)
    assert handle(conversation, InputArrived(b'"a"')) == [reserve("c1")]
    assert conversation.awaits_tools
    handle(conversation, control('{"set_model":"big"}'))
    request = request_of(handle(conversation, ToolAnswered("c1", {"max_tokens": 100})))
    assert (request.model, request.max_tokens) == ("m", 100)
    assert handle(conversation, reply('"A"')) == [Settle("c1", Usage(3, 2)), usage(), Emit(b'"A"'), output("A")]


def test_each_attempt_is_reserved():
    """And settled with what it used; nothing is reserved while the agent waits for the next one."""
    conversation = converse(metered=True)
    handle(conversation, InputArrived(b'"a"'), ToolAnswered("c1", {"max_tokens": 8192}))
    settle, _, wait = handle(conversation, BUSY)
    assert (settle, type(wait)) == (Settle("c1", None), Wait)
    assert handle(conversation, Waited()) == [reserve("c2")]
    handle(conversation, ToolAnswered("c2", {"max_tokens": 8192}))
    assert handle(conversation, CallFailed("stream_cut", "cut", transient=True, usage="all"))[0] == Settle("c2", "all")


def test_a_refused_reservation_declines_the_message():
    """Also of an agent that is part of no tool; the next message may be cheaper."""
    conversation = converse(metered=True)
    handle(conversation, InputArrived(b'"a"'), MarkerArrived("1"))
    declined, marker = handle(conversation, ToolFailed("c1", "0.02 $ are left"))
    assert declined == Decline("budget_exhausted", "agent 'judge': 0.02 $ are left")
    assert type(marker).__name__ == "ForwardMarker"
    handle(conversation, InputArrived(b'"b"'), ToolAnswered("c2", {"max_tokens": 8192}))
    assert Emit(b'"B"') in handle(conversation, reply('"B"'))


def test_fewer_tokens_than_thinking_takes_decline_the_message():
    """What was reserved is given back."""
    conversation = converse(metered=True, thinking_budget=1000)
    handle(conversation, InputArrived(b'"a"'))
    settle, declined = handle(conversation, ToolAnswered("c1", {"max_tokens": 1000}))
    text = "agent 'judge': the budget has 1000 tokens left for it; 1000 of them are for thinking"
    assert (settle, declined) == (Settle("c1", None), Decline("budget_exhausted", text))


def test_a_reservation_is_answered_by_nobody_when_the_tools_have_ended():
    """The message fails; no later call waits for ever."""
    conversation = converse(metered=True, part_of="t")
    handle(conversation, InputArrived(b'"a"'))
    (declined,) = handle(conversation, ToolsEnded())
    assert isinstance(declined, Decline)
    assert declined.code == "tool_channel_closed"
    (declined,) = handle(conversation, InputArrived(b'"b"'))
    assert isinstance(declined, Decline)


def test_a_response_that_is_none_to_a_reservation_fails_the_message():
    """What was reserved is given back."""
    conversation = converse(metered=True)
    handle(conversation, InputArrived(b'"a"'))
    settle, failed = handle(conversation, ToolAnswered("c1", "yes"))
    assert settle == Settle("c1", None)
    assert isinstance(failed, Fail)
    assert failed.code == "wire_protocol"
    assert answered(converse(), ('"a"', '"b"')).wants_input
