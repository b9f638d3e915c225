"""An agent of a durable run: it tells what its model has answered, and does not ask again what is known."""

from __future__ import annotations

from typing import Any

from talking import ORIGIN, READ, SHOUT, calling, converse, handle, reply, request_of, told, untold, use

from fabric.wire.calls import RECALL, RESERVE
from fabric.wire.payload import to_plain
from fabric.wire.recall import ModelAnswer
from plumb_agent.conversation import Conversation
from plumb_agent.events import (
    CallFailed,
    CallProvider,
    CallTool,
    Command,
    Emit,
    InputArrived,
    Log,
    Settle,
    ToolAnswered,
    ToolFailed,
    ToolsEnded,
)
from plumb_agent.recall import Answers, digest_of, read_recalled

SPAN = ORIGIN.span_id.hex()


def begun(known: Any = (), **how: Any) -> tuple[Conversation, list[Command]]:
    """Return a durable agent at an input of which these answers are known, and what it did when it learned that."""
    conversation = converse(tools=(READ, SHOUT), durable=True, **how)
    asked = untold(handle(conversation, InputArrived(b'"go"', ORIGIN)))
    (ask,) = asked
    assert isinstance(ask, CallTool)
    assert (ask.name, ask.arguments, ask.origin) == (RECALL, None, ORIGIN)
    return conversation, handle(conversation, ToolAnswered(ask.id, to_plain(known)))


def calls_in(commands: list[Command]) -> list[CallTool]:
    return [command for command in commands if isinstance(command, CallTool)]


def provider_calls(commands: list[Command]) -> int:
    return sum(isinstance(command, CallProvider) for command in commands)


def two_rounds() -> list[tuple[ModelAnswer, ...]]:
    """Return what an undisturbed agent tells with the first call of each of two rounds."""
    conversation, first = begun()
    assert provider_calls(first) == 1
    (one, two) = calls_in(handle(conversation, calling(use("t1", "read", path="a"), use("t2", "shout", input="b"))))
    assert [one.id, two.id] == [f"{SPAN}.1.0", f"{SPAN}.1.1"]
    assert two.answers == ()
    handle(conversation, ToolAnswered(one.id, "A"), ToolAnswered(two.id, "B"))
    (three,) = calls_in(handle(conversation, calling(use("t3", "read", path="c"))))
    assert three.id == f"{SPAN}.2.0"
    handle(conversation, ToolAnswered(three.id, "C"))
    assert Emit(b'"done"', ORIGIN) in handle(conversation, reply('"done"'))
    return [one.answers, three.answers]


def test_a_call_tells_what_the_model_has_said_since_the_last_one():
    """The whole reply and what it took; the calls have ids that the next process gives them, too."""
    (first,), (second,) = two_rounds()
    assert (first.n, second.n) == (1, 2)
    assert first.digest != second.digest
    assert read_recalled(to_plain([first])) == (first,)


def test_what_is_known_is_not_asked_again():
    """The same calls are made, nothing is told again, and what was paid for is said to be so."""
    first, second = two_rounds()
    conversation, commands = begun([*first, *second])
    one, two = calls_in(commands)
    assert provider_calls(commands) == 0
    assert (one.id, one.answers, two.id) == (f"{SPAN}.1.0", (), f"{SPAN}.1.1")
    (usage,) = told(commands, "usage")
    assert usage["recalled"] is True
    commands = handle(conversation, ToolAnswered(one.id, "A"), ToolAnswered(two.id, "B"))
    (three,) = calls_in(commands)
    assert (three.id, three.answers, provider_calls(commands)) == (f"{SPAN}.2.0", (), 0)
    commands = handle(conversation, ToolAnswered(three.id, "C"))
    assert provider_calls(commands) == 1
    assert len(request_of(commands).messages) == 5
    assert "recalled" not in told(handle(conversation, reply('"done"')), "usage")[0]


def test_behind_what_is_known_the_model_is_asked_and_that_is_told():
    """Each answer has its place."""
    first, second = two_rounds()
    conversation, commands = begun(first)
    one, two = calls_in(commands)
    commands = handle(conversation, ToolAnswered(one.id, "A"), ToolAnswered(two.id, "B"))
    assert provider_calls(commands) == 1
    (three,) = calls_in(handle(conversation, calling(use("t3", "read", path="c"))))
    assert (three.id, three.answers) == (f"{SPAN}.2.0", second)


def test_a_model_that_would_be_asked_something_else_is_asked():
    """Another prompt, another result of a tool: what is known from there on is of no use, and that is logged."""
    first, second = two_rounds()
    _, commands = begun([*first, *second], prompt="Be brief.")
    assert provider_calls(commands) == 1
    (log,) = (command for command in commands if isinstance(command, Log))
    assert (log.event, log.fields["count"]) == ("recalled_answers_unused", 2)
    conversation, commands = begun([*first, *second])
    one, two = calls_in(commands)
    commands = handle(conversation, ToolAnswered(one.id, "other"), ToolAnswered(two.id, "B"))
    assert provider_calls(commands) == 1


def test_another_model_or_memory_makes_no_difference():
    """An answer that was paid for is one; of what was said before, a new process may know less."""
    first, _ = two_rounds()
    assert provider_calls(begun(first, model="other")[1]) == 0


def test_an_answer_of_the_wrong_type_is_told_and_known_as_well():
    """It was paid for, too."""
    conversation, _ = begun()
    handle(conversation, reply("no JSON"))
    (call,) = calls_in(handle(conversation, calling(use("t1", "read", path="a"))))
    assert [answer.n for answer in call.answers] == [1, 2]
    assert call.id == f"{SPAN}.2.0"
    conversation, commands = begun(call.answers)
    assert (provider_calls(commands), calls_in(commands)[0].id) == (0, f"{SPAN}.2.0")


def test_a_metered_agent_reserves_nothing_for_what_is_known():
    """And settles nothing."""
    first, _ = two_rounds()
    _, commands = begun(first, metered=True)
    assert [call.name for call in calls_in(commands)] == ["Fs.read", "shout"]
    assert not any(isinstance(command, Settle) for command in commands)
    _, commands = begun(metered=True)
    assert [call.name for call in calls_in(commands)] == [RESERVE]


def test_where_nobody_knows_anything_it_goes_on_as_always():
    """The question is refused, cannot be read, or the channel has ended."""
    for known in (ToolFailed("c1", "there is no such tool"), ToolAnswered("c1", {"what": 1}), ToolsEnded()):
        conversation = converse(tools=(READ,), durable=True)
        handle(conversation, InputArrived(b'"go"', ORIGIN))
        assert provider_calls(handle(conversation, known)) == 1


def test_an_agent_that_is_not_durable_asks_and_tells_nothing():
    """Its calls have ids of its own."""
    conversation = converse(tools=(READ,))
    assert provider_calls(handle(conversation, InputArrived(b'"go"', ORIGIN))) == 1
    (call,) = calls_in(handle(conversation, calling(use("t1", "read", path="a"))))
    assert (call.id, call.answers) == ("c1", ())


def test_an_attempt_that_failed_is_no_answer():
    """It is neither told nor counted."""
    conversation, _ = begun()
    handle(conversation, CallFailed("busy", "busy", transient=True))
    (call,) = calls_in(handle(conversation, calling(use("t1", "read", path="a"))))
    assert [answer.n for answer in call.answers] == [1]


def test_an_answer_of_another_version_is_of_no_use():
    """The model is asked."""
    digest = digest_of((), (), {}, ())
    answers = Answers()
    answers.know(read_recalled([{"n": 1, "digest": digest, "usage": {}, "reply": {"blocks": [{"type": "song"}]}}]))
    assert answers.next(digest) is None
    assert answers.unused == 1
