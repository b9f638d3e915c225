"""Any sequence of events that a shell can bring: the machine never raises, has one call out, keeps order, and ends."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from talking import READ, SHOUT, converse, use

from plumb_agent.conversation import Conversation
from plumb_agent.events import (
    CallFailed,
    CallProvider,
    CallTool,
    ControlArrived,
    ControlEnded,
    Decline,
    Emit,
    EndOutput,
    Event,
    Fail,
    Finish,
    ForwardMarker,
    InputArrived,
    InputEnded,
    MarkerArrived,
    ReplyArrived,
    Respond,
    Settle,
    Started,
    ToolAnswered,
    ToolFailed,
    ToolsEnded,
    Wait,
    Waited,
)
from plumb_agent.messages import Reply, TextBlock, ToolResultBlock, ToolUseBlock, Usage, tool_uses

CONTROLS = [
    b'{"pause":true}',
    b'{"resume":true}',
    b'{"pause":true,"resume":true}',
    b'{"get_memory":true}',
    b'{"get_memory":true,"format":"openai"}',
    b'{"set_memory":[]}',
    b'{"set_memory":[{"role":"user","content":"so far"}],"get_memory":true}',
    b'{"set_temp":0.5,"set_model":"big"}',
    b'{"set_temp":null,"pause":1}',
    b'{"stop":1,"pause":true}',
    b"nonsense",
]
CALLS = [
    use("x", "shout", input="hey"),
    use("y", "read", path="a"),
    use("z", "read", path=1),
    use("n", "nothing"),
    use("p", "pin", tool="read", arguments={"path": "a"}),
    use("q", "unpin", tool="read", arguments={"path": "a"}),
    use("r", "pin"),
]

replies = st.one_of(
    st.sampled_from(['"A"', '"A"', "no json", "3", ""]).map(lambda text: Reply((TextBlock(text),), Usage(3, 2))),
    st.lists(st.sampled_from(CALLS), min_size=1, max_size=4, unique_by=lambda call: call.id).map(
        lambda calls: Reply(tuple(calls), Usage(3, 2), "tool_use")
    ),
)
ends = st.sampled_from([CallFailed("busy", "busy", transient=True), CallFailed("gone", "gone", usage="all")])
cuts = st.sampled_from(["max_tokens", "refusal"]).map(lambda why: Reply((), Usage(3, 2), why))

steps = st.one_of(
    st.just("input"),
    st.just("marker"),
    st.sampled_from(CONTROLS).map(ControlArrived),
    replies.map(ReplyArrived),
    st.one_of(ends, cuts.map(ReplyArrived)),
    st.tuples(st.just("answer"), st.integers(0, 3), st.booleans()),
    st.just("answer nobody"),
    st.sampled_from([b'{"stop":true}', b'{"pause":true}']).map(ControlArrived),
    st.sampled_from([InputEnded(), ControlEnded(), ToolsEnded()]),
)


class Shell:
    """Feeds events as a shell may, and watches what comes of them."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.calls = 0
        self.waits = 0
        self.asked: dict[str, str] = {}
        self.reserved: set[str] = set()
        self.sent: list[str] = []
        self.got: list[str] = []
        self.ended: set[type] = set()
        self.stopped = False
        self.output_ended = False
        self.last: Any = None
        self.ids: set[str] = set()
        self.feed(Started())

    def feed(self, event: Event) -> None:
        for command in self.conversation.handle(event, 0.0):
            assert self.last is None, f"{command} behind {self.last}"
            self.see(command)
        assert self.calls + self.waits <= 1

    def see(self, command: Any) -> None:
        match command:
            case CallProvider(request):
                assert self.calls == self.waits == 0
                assert not self.asked, "a call while something is asked"
                self.calls = 1
                check(list(request.messages))
            case Wait():
                assert self.calls == self.waits == 0
                self.waits = 1
            case CallTool(id_, name):
                assert id_ not in self.ids
                self.ids.add(id_)
                self.asked[id_] = name
            case Settle(id_):
                self.reserved.remove(id_)
            case Emit() | Decline():
                assert not self.output_ended
                self.got.append("input")
            case ForwardMarker(id_):
                assert not self.output_ended
                self.got.append(id_)
            case EndOutput():
                self.output_ended = True
            case Finish() | Fail():
                self.last = command
            case Respond(message):
                assert message["kind"] in ("pause_ack", "resume_ack", "memory", "memory_set")

    def step(self, step: Any) -> None:
        """Do what is said, if a shell could."""
        match step:
            case "input" if InputEnded not in self.ended:
                self.sent.append("input")
                self.feed(InputArrived(b'"a"'))
            case "marker" if InputEnded not in self.ended:
                self.sent.append(f"m{len(self.sent)}")
                self.feed(MarkerArrived(self.sent[-1]))
            case ControlArrived(payload) if ControlEnded not in self.ended:
                self.stopped |= payload == b'{"stop":true}'
                self.feed(step)
            case ReplyArrived() | CallFailed() if self.calls:
                self.calls = 0
                self.feed(step)
            case ReplyArrived() | CallFailed() if self.waits:
                self.waits = 0
                self.feed(Waited())
            case ("answer", number, good) if self.asked and ToolsEnded not in self.ended:
                id_ = sorted(self.asked)[number % len(self.asked)]
                reserving = self.asked.pop(id_) == "fabric.reserve"
                if reserving and good:
                    self.reserved.add(id_)
                content = {"max_tokens": 100} if reserving else "found"
                self.feed(ToolAnswered(id_, content) if good else ToolFailed(id_, "no"))
            case "answer nobody":
                self.feed(ToolAnswered("c999", None))
            case InputEnded() | ControlEnded() | ToolsEnded() if type(step) not in self.ended:
                self.ended.add(type(step))
                self.feed(step)
                self.asked = {} if isinstance(step, ToolsEnded) else self.asked

    def finish(self) -> None:
        """Answer everything and end everything."""
        for end in (InputEnded(), ControlEnded()):
            self.step(end)
        for _ in range(1000):
            if self.last is not None:
                return
            self.step(("answer", 0, True))
            self.step(ReplyArrived(Reply((TextBlock('"A"'),), Usage(3, 2))))
        raise AssertionError("it does not end")


def check(messages: list[Any]) -> None:
    """See that a provider takes these: content, and each call with its result behind it."""
    assert messages[-1].role == "user"
    waiting: list[str] = []
    for message in messages:
        assert message.content
        blocks = [] if isinstance(message.content, str) else message.content
        found = [block.tool_use_id for block in blocks if isinstance(block, ToolResultBlock)]
        assert found == waiting
        waiting = [call.id for call in tool_uses(message.content)]
        assert not any(isinstance(block, ToolUseBlock) for block in blocks) or message.role == "assistant"
        assert not any(isinstance(block, TextBlock) and not block.text for block in blocks)


configs = st.fixed_dictionaries(
    {
        "metered": st.booleans(),
        "part_of": st.sampled_from(["", "t"]),
        "amnesiac": st.booleans(),
        "max_retries": st.integers(0, 2),
        "runtime_context": st.booleans(),
    },
    optional={"max_messages": st.integers(1, 3), "max_tool_calls": st.integers(0, 6)},
)


@settings(max_examples=300)
@given(configs, st.lists(steps, max_size=60))
def test_any_events(config: dict[str, Any], taken: list[Any]):
    """What is written is a beginning of what was sent, marker for marker; all of it unless it fails or was stopped."""
    shell = Shell(converse(tools=(READ, SHOUT), **config))
    for step in taken:
        shell.step(step)
    shell.finish()
    assert shell.got == shell.sent[: len(shell.got)]
    if isinstance(shell.last, Finish):
        assert shell.output_ended
        assert not shell.reserved, "something was reserved and not settled"
        stopped = shell.stopped or config.get("max_messages") is not None
        assert stopped or shell.got == shell.sent
