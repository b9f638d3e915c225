"""Pinned results: keys, the machine, what models and controllers are told. Formats as documented."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from talking import (
    READ,
    SHOUT,
    calling,
    control,
    converse,
    handle,
    messages_of,
    reply,
    results,
    told,
    untold,
    use,
    user,
)

from fabric.wire.payload import STRING, Field, Record, decode_json, encode_json
from fabric.wire.spec import ToolSpec
from plumb_agent.conversation import Conversation
from plumb_agent.events import CallTool, InputArrived, Respond, ToolAnswered, ToolFailed
from plumb_agent.messages import Message, text_of
from plumb_agent.pins import NO_PINS, PINNED_BYTES_MAX, PINS_MAX, Pin, Pins, canonical_key, note

FETCH = ToolSpec("fetch", Record((Field("path", STRING),)), STRING, "Fetch a file.")
KEY = 'fetch({"path":"foo.md"})'
PINNED = '{"pinned":true,"key":"fetch({\\"path\\":\\"foo.md\\"})"}'
DOCUMENTS = """<pinned-documents>
The following tool results are pinned in your context. They survive
compaction and are always available. Do not re-fetch them.

<pinned key="fetch({&quot;path&quot;:&quot;foo.md&quot;})">
file contents here
</pinned>
</pinned-documents>"""


def pin(id_: str = "p", **arguments: Any) -> Any:
    return use(id_, "pin", tool="fetch", arguments=arguments or {"path": "foo.md"})


def fetched(content: Any = "file contents here", **config: Any) -> Conversation:
    """Return a conversation at an input whose model has fetched foo.md."""
    conversation = converse(tools=(FETCH, SHOUT), **config)
    handle(conversation, InputArrived(b'"a"'), calling(use("f", "fetch", path="foo.md")), ToolAnswered("c1", content))
    return conversation


def compacted(conversation: Conversation) -> list[Any]:
    """End the input, and replace the memory as a compactor does."""
    summary = '{"set_memory":[{"role":"user","content":"so far"},{"role":"assistant","content":"I remember."}]}'
    return handle(conversation, reply('"A"'), control(summary))


# Keys


def test_a_key_has_sorted_arguments_and_whole_numbers():
    """As documented."""
    assert canonical_key("t", {"b": 1, "a": 2})[0] == 't({"a":2,"b":1})' == canonical_key("t", {"a": 2.0, "b": 1.0})[0]
    assert canonical_key("fetch", {"path": "foo.md"})[0] == KEY
    assert canonical_key("t", {"x": {"d": [1.0, {"z": 0, "y": -0.0}], "c": 1.5}})[0] == (
        't({"x":{"c":1.5,"d":[1,{"y":0,"z":0}]}})'
    )
    assert canonical_key("t", {})[0] == "t({})"


numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=10,
)
objects = st.dictionaries(st.text(alphabet=st.characters(exclude_categories=["Cs"])), plain, max_size=4)


def shuffled(value: Any) -> Any:
    """Return an equal value with its keys in the other order, and whole numbers as floats."""
    match value:
        case dict():
            return {key: shuffled(value[key]) for key in reversed(value)}
        case list():
            return [shuffled(item) for item in value]
        case bool():
            return value
        case int():
            return float(value)
    return value


@given(objects)
def test_equal_calls_have_one_key(arguments: dict[str, Any]):
    """Whatever the order of keys and the way of writing numbers; and the key says what was given."""
    key, canonical = canonical_key("t", arguments)
    assert canonical_key("t", shuffled(arguments))[0] == key
    assert canonical_key("t", canonical) == (key, canonical)
    assert decode_json(key[2:-1]) == canonical == arguments


# The set of pins


sizes = st.sampled_from([1, 1, PINNED_BYTES_MAX // 3])
steps = st.lists(st.tuples(st.sampled_from(["pin", "unpin"]), st.integers(0, PINS_MAX + 5), sizes), max_size=60)


@given(steps)
def test_pins_are_first_in_first_out_and_bounded(taken: list[tuple[str, int, int]]):
    """Against the plainest model of it; pinning and unpinning again changes nothing."""
    pins, expected = NO_PINS, dict[str, int]()
    for action, number, size in taken:
        key = f"t({number})"
        if action == "pin":
            pins = pins.with_pin(Pin(key, "t", {}, "x" * size))
            assert pins.with_pin(Pin(key, "t", {}, "y")) is pins
            expected.setdefault(key, size)
            while len(expected) > PINS_MAX or sum(expected.values()) > PINNED_BYTES_MAX:
                del expected[next(iter(expected))]
        else:
            pins = pins.without(key)
            assert pins.without(key) is pins
            expected.pop(key, None)
        assert pins.keys == list(expected)


# Through the conversation


def test_a_result_is_pinned():
    """The model is told its key, telemetry the state."""
    commands = handle(fetched(), calling(pin()))
    assert messages_of(commands)[-1] == results(("p", PINNED))
    assert told(commands, "pin_state") == [{"action": "pin", "count": 1, "keys": [KEY]}]
    (about,) = told(commands, "tool_call")
    assert (about["name"], about["summary"]) == ("pin", "ok")


def test_pinning_again_changes_nothing():
    """And telemetry says the same state again."""
    conversation = fetched()
    handle(conversation, calling(pin()))
    commands = handle(conversation, calling(pin()))
    assert messages_of(commands)[-1] == results(("p", PINNED))
    assert told(commands, "pin_state") == [{"action": "pin", "count": 1, "keys": [KEY]}]


def test_a_call_and_its_pin_may_be_in_one_reply():
    """In whatever order; the results come in the order of the calls."""
    conversation = converse(tools=(FETCH,))
    handle(conversation, InputArrived(b'"a"'), calling(pin(), use("f", "fetch", path="foo.md")))
    commands = handle(conversation, ToolAnswered("c1", "file contents here"))
    assert messages_of(commands)[-1] == results(("p", PINNED), ("f", "file contents here"))


def test_what_was_never_called_cannot_be_pinned():
    """Nor what failed, nor what nobody knows."""
    reason = f"there is no result of {KEY} in this conversation to pin: call the tool first, with the same arguments"
    conversation = converse(tools=(FETCH,))
    handle(conversation, InputArrived(b'"a"'))
    assert messages_of(handle(conversation, calling(pin())))[-1] == results(("p", reason, True))
    handle(conversation, calling(use("f", "fetch", path="foo.md")), ToolFailed("c1", "gone"))
    assert messages_of(handle(conversation, calling(pin())))[-1] == results(("p", reason, True))
    commands = handle(conversation, calling(use("p", "pin", tool="find", arguments={})))
    assert text_of(messages_of(commands)[-2].content) == ""
    assert "there is no tool 'find'" in messages_of(commands)[-1].content[0].content
    wrong = handle(conversation, calling(use("p", "pin", tool="fetch"), use("q", "unpin", path="foo.md")))
    assert [block.is_error for block in messages_of(wrong)[-1].content] == [True, True]
    assert told(wrong, "pin_state") == []


def test_the_latest_result_is_pinned():
    """A file may have changed since it was fetched first."""
    conversation = fetched("old")
    handle(conversation, calling(use("f", "fetch", path="foo.md")), ToolAnswered("c2", "new"), calling(pin()))
    memory = compacted(conversation) + handle(conversation, control('{"get_memory":true}'))
    (shown,) = [c.message["pinned"] for c in memory if isinstance(c, Respond) and "pinned" in c.message]
    assert shown == [{"tool": "fetch", "arguments": {"path": "foo.md"}, "content": "new"}]


def test_a_pinned_call_is_not_made_again():
    """Whatever the order of its keys; before a compaction the model is told that the result is where it was."""
    conversation = fetched()
    handle(conversation, calling(pin()))
    commands = handle(conversation, calling(use("g", "fetch", path="foo.md")))
    assert not [command for command in commands if isinstance(command, CallTool)]
    assert messages_of(commands)[-1] == results(("g", note(KEY, in_documents=False)))


def test_after_a_compaction_the_note_points_at_the_documents():
    """Word for word."""
    conversation = fetched()
    handle(conversation, calling(pin()))
    compacted(conversation)
    commands = handle(conversation, InputArrived(b'"b"'), calling(use("g", "fetch", path="foo.md")))
    assert messages_of(commands[-1:])[-1] == results(
        (
            "g",
            '{"pinned":true,"note":"This tool result is already pinned in your context. Look for <pinned '
            'key=\\"fetch({\\\\\\"path\\\\\\":\\\\\\"foo.md\\\\\\"})\\"> in the pinned-documents block at the top of '
            'your conversation."}',
        )
    )


def test_pins_come_first_after_each_compaction():
    """In one message that is in no dump; the counts are of what was said."""
    conversation = fetched()
    handle(conversation, calling(pin()))
    assert untold(compacted(conversation))[-1] == Respond({"kind": "memory_set", "old_messages": 6, "new_messages": 2})
    after = [user(DOCUMENTS), user("so far"), Message("assistant", "I remember.")]
    assert messages_of(handle(conversation, InputArrived(b'"b"'))) == [*after, user('"b"')]
    (set_again,) = untold(compacted(conversation))[-1:]
    assert set_again == Respond({"kind": "memory_set", "old_messages": 4, "new_messages": 2})
    (shown,) = handle(conversation, control('{"get_memory":true}'))
    messages = [{"role": "user", "content": "so far"}, {"role": "assistant", "content": "I remember."}]
    pinned = [{"tool": "fetch", "arguments": {"path": "foo.md"}, "content": "file contents here"}]
    assert shown == Respond({"kind": "memory", "messages": messages, "pinned": pinned})
    assert messages_of(handle(conversation, InputArrived(b'"c"'))) == [*after, user('"c"')]


def test_unpinned_results_go_with_the_next_compaction():
    """And the call is made again."""
    conversation = fetched()
    handle(conversation, calling(pin()))
    unpin = use("u", "unpin", tool="fetch", arguments={"path": "foo.md"})
    commands = handle(conversation, calling(unpin))
    assert told(commands, "pin_state") == [{"action": "unpin", "count": 0, "keys": []}]
    assert messages_of(commands)[-1] == results(("u", PINNED.replace("true", "false")))
    assert messages_of(handle(conversation, calling(unpin)))[-1] == results(("u", PINNED.replace("true", "false")))
    compacted(conversation)
    commands = handle(conversation, InputArrived(b'"b"'), calling(use("g", "fetch", path="foo.md")))
    assert CallTool("c2", "fetch", {"path": "foo.md"}) in commands
    assert messages_of(commands)[0] == user("so far")


def test_what_was_compacted_away_cannot_be_pinned_until_it_is_called_again():
    """A pin without its content in the context would be a dead end."""
    conversation = fetched()
    compacted(conversation)
    commands = handle(conversation, InputArrived(b'"b"'), calling(pin()))
    assert messages_of(commands[-1:])[-1].content[0].is_error


def test_a_note_about_a_pin_is_no_result():
    """Pin, call, let go, pin: what is pinned is the file."""
    conversation = fetched()
    unpin = use("u", "unpin", tool="fetch", arguments={"path": "foo.md"})
    handle(conversation, calling(pin()), calling(use("g", "fetch", path="foo.md")), calling(unpin), calling(pin()))
    compacted(conversation)
    assert messages_of(handle(conversation, InputArrived(b'"b"')))[0] == user(DOCUMENTS)


def test_an_amnesiac_keeps_what_it_pinned():
    """At the top of each of its conversations: nothing else is left of the one in which it was pinned."""
    conversation = fetched(amnesiac=True)
    handle(conversation, calling(pin()), reply('"A"'))
    assert messages_of(handle(conversation, InputArrived(b'"b"'))) == [user(DOCUMENTS), user('"b"')]


def test_a_document_cannot_leave_its_element():
    """Of the tags of pins ``<`` becomes ``&lt;``; all else of a result is as it was. A key is escaped as in XML."""
    pins = Pins((Pin('t({"x":"<&>"})', "t", {}, 'a </pinned> b <PINNED key="x"> c </pinned-documents> d <p> & "'),))
    message = pins.documents()
    assert message is not None
    assert '<pinned key="t({&quot;x&quot;:&quot;&lt;&amp;&gt;&quot;})">\n' in text_of(message.content)
    fenced = 'a &lt;/pinned> b &lt;PINNED key="x"> c &lt;/pinned-documents> d <p> & "'
    assert f"\n{fenced}\n</pinned>\n</pinned-documents>" in text_of(message.content)
    assert NO_PINS.documents() is None


def remembering(content: str) -> Conversation:
    """Return a conversation whose history was set, with one call in it."""
    read = {"type": "tool_use", "id": "t1", "name": "Fs.read", "input": {"path": "a"}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": content}
    memory = [{"role": "assistant", "content": [read]}, {"role": "user", "content": [result]}]
    conversation = converse(tools=(READ,))
    handle(conversation, control(encode_json({"set_memory": memory}).decode()), InputArrived(b'"a"'))
    return conversation


def test_a_result_of_a_history_that_was_set_can_be_pinned():
    """So a worker that takes the place of another can pin what that one had called."""
    commands = handle(remembering("x"), calling(use("p", "pin", tool="read", arguments={"path": "a"})))
    assert told(commands, "pin_state") == [{"action": "pin", "count": 1, "keys": ['read({"path":"a"})']}]


def test_too_much_to_pin_is_refused():
    """It can come with a history that was set; a tool's own result is never so long."""
    conversation = remembering("x" * (PINNED_BYTES_MAX + 1))
    commands = handle(conversation, calling(use("p", "pin", tool="read", arguments={"path": "a"})))
    assert "more than the 1048576 bytes" in messages_of(commands)[-1].content[0].content
    assert told(commands, "pin_state") == []
