"""One input of an agent, from its message to the model until its output, as a machine.

    call -> reply that has the output's type             done
         -> reply that has not                           told so, and called again: ``max_retries`` times
         -> reply that calls tools                       all at once; when every result is there, called again
         -> reply that was cut off, or a refusal         failed
         -> no reply                                     called again after a while, if that may help; else failed

An agent of a durable run first asks what the model has answered for this input already, to a process before it: such a
reply is taken as if it came now, and not paid for. A metered agent reserves before each call, and settles behind it.
What a model was told about a refused answer, and that answer, are forgotten when the input is done; rounds of tools are
not.
"""

from __future__ import annotations

__all__ = ["Agent", "Done", "Exchange", "Failed"]

import random
from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec

from fabric.errors import ValueRejected
from fabric.wire.calls import BUDGET_EXHAUSTED, RECALL, RESERVE
from fabric.wire.frame import Provenance
from fabric.wire.payload import Prim, Validator, decode_json, encode_json, resolve, show, to_plain
from fabric.wire.spec import WorkerSpec
from plumb_agent.attempts import retry_delay_s
from plumb_agent.config import AgentConfig
from plumb_agent.events import (
    CallFailed,
    CallProvider,
    CallTool,
    Command,
    EmitTelemetry,
    Log,
    ReplyArrived,
    Settle,
    ToolAnswered,
    ToolFailed,
    ToolsEnded,
    Wait,
    Waited,
)
from plumb_agent.messages import (
    Block,
    Message,
    RedactedThinkingBlock,
    Reply,
    Request,
    SystemBlock,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
    Usage,
    text_of,
    tool_uses,
)
from plumb_agent.metering import granted, reservation
from plumb_agent.prompt import feedback, runtime_context
from plumb_agent.recall import Answers, digest_of, read_recalled
from plumb_agent.rounds import Round
from plumb_agent.state import State
from plumb_agent.toolbox import Toolbox

TEXT_CHARS_MAX = 200
"""Of a model's words in an error."""


class Agent(msgspec.Struct, frozen=True):
    """What never changes of an agent.

    Attributes:
        spec, config: what it was told at its start.
        system: the parts of the system prompt that never change.
        output: checks replies; ``schema`` describes them to a model.
        tools: what it may call.
        chance: draws delays.
        transcript: whether somebody reads debug lines.
    """

    spec: WorkerSpec
    config: AgentConfig
    system: tuple[SystemBlock, ...]
    output: Validator
    schema: dict[str, Any]
    tools: Toolbox
    chance: random.Random
    transcript: bool = True


class Done(msgspec.Struct, frozen=True):
    """The input is answered. ``message`` is the reply, ``payload`` the JSON text of its value."""

    message: Message
    payload: bytes


class Failed(msgspec.Struct, frozen=True):
    """The input cannot be answered.

    Attributes:
        code: a word for why; ``message`` says it.
        details: belong into the error line.
        declines: whether the agent goes on all the same.
    """

    code: str
    message: str
    details: dict[str, str] = {}
    declines: bool = False


class Exchange:
    """An input in progress.

    Args:
        agent, state: whose it is.
        text: JSON text of the input.
        origin: where it comes from.
        do: takes commands.

    Attributes:
        outcome: what came of it; ``None``: it is in progress.
        kept: the history as it will be, without the last reply.
    """

    def __init__(
        self, agent: Agent, state: State, text: str, origin: Provenance | None, do: Callable[[Command], None]
    ) -> None:
        self._agent = agent
        self._state = state
        self._text = text
        self._do = do
        self.origin = origin
        self.outcome: Done | Failed | None = None
        self.pins_before = state.pins
        self.kept = self._messages = state.history
        self._retries = 0
        self._failures = 0
        self._tool_calls = 0
        self._model, self._limit = state.model, agent.config.max_tokens  # of the call in progress
        self._round: Round | None = None
        self._asked: tuple[str, str] | None = None
        """Id and model of the reservation that is not answered yet."""
        self._recalling = ""
        """Id of the question what is known already, until that is answered."""
        self._before = len(state.history)
        self._answers = Answers()
        self._known: Reply | None = None
        """A known reply that is to be taken next."""
        self._reserved: str | None = None
        """Id of the reservation that is to be settled."""

    @property
    def awaits_tools(self) -> bool:
        """Whether something was asked on tool_req that is not answered yet."""
        return self._round is not None or self._asked is not None or bool(self._recalling)

    @property
    def _durable(self) -> bool:
        return self._agent.spec.durable and self.origin is not None

    def begin(self, now_s: float) -> None:
        """Make the first call."""
        message = Message("user", self._text)
        self._keep(message)
        self._log_message(message)
        if self._durable and not self._state.tools_ended:
            self._recalling = self._state.new_id()
            self._do(CallTool(self._recalling, RECALL, None, self.origin))
        else:
            self._call(now_s)

    def handle(
        self, event: ReplyArrived | CallFailed | Waited | ToolAnswered | ToolFailed | ToolsEnded, now_s: float
    ) -> None:
        """Take what came of a command."""
        self._handle(event, now_s)
        while self._known is not None:
            reply, self._known = self._known, None
            self._reply(reply, now_s, known=True)

    def _handle(
        self, event: ReplyArrived | CallFailed | Waited | ToolAnswered | ToolFailed | ToolsEnded, now_s: float
    ) -> None:
        match event:
            case ReplyArrived(reply):
                self._reply(reply, now_s)
            case CallFailed():
                self._call_failed(event)
            case Waited():
                self._call(now_s)
            case ToolAnswered(id_) | ToolFailed(id_) if self._recalling and id_ == self._recalling:
                self._recalling = ""
                self._answers.know(read_recalled(event.content) if isinstance(event, ToolAnswered) else ())
                self._call(now_s)
            case ToolAnswered() | ToolFailed() if self._asked is not None and event.id == self._asked[0]:
                self._budget_said(event, now_s)
            case ToolAnswered() | ToolFailed() if self._round is not None and self._round.expects(event.id):
                self._round.came(event)
                self._end_round(now_s)
            case ToolAnswered(id_) | ToolFailed(id_):
                self._do(Log("warning", "tool_response_ignored", {"id": id_, "reason": "no call with this id waits"}))
            case ToolsEnded() if self._recalling:
                self._recalling = ""
                self._call(now_s)
            case ToolsEnded():
                if self.awaits_tools:
                    self._tools_gone()

    # Calls of the model

    def _call(self, now_s: float) -> None:
        agent, state = self._agent, self._state
        if self._durable and self._recall():
            return
        if not agent.spec.metered:
            self._request(now_s, state.model, agent.config.max_tokens)
        elif state.tools_ended:
            self._tools_gone()
        else:
            wanted = agent.config.max_tokens
            system, messages = self._system(now_s), list(self._messages)
            asked = reservation(agent.config.provider, state.model, wanted, system, messages, agent.tools.offered)
            self._asked = (state.new_id(), state.model)
            self._do(CallTool(self._asked[0], RESERVE, asked))

    def _recall(self) -> bool:
        """Take the reply that is known already, if there is one."""
        unused = self._answers.unused
        self._known = self._answers.next(self._digest())
        if self._answers.unused > unused:
            fields = {"answer": self._answers.count + 1, "count": self._answers.unused - unused}
            self._do(
                Log("warning", "recalled_answers_unused", fields | {"reason": "the model is asked something else"})
            )
        return self._known is not None

    def _digest(self) -> str:
        messages = list(self._messages)[self._before :]
        return digest_of(self._agent.system, self._agent.tools.offered, self._agent.schema, messages)

    def _budget_said(self, event: ToolAnswered | ToolFailed, now_s: float) -> None:
        """The budget has the call, or has not. The model is the one that was asked for, whatever was set since."""
        assert self._asked is not None
        (id_, model), self._asked = self._asked, None
        if isinstance(event, ToolFailed):
            self._fail(BUDGET_EXHAUSTED, event.error, declines=True)
            return
        self._reserved = id_
        thinking = self._agent.config.thinking_budget or 0
        max_tokens = granted(event.content)
        if max_tokens is None:
            self._settle(None)
            self._fail("wire_protocol", "the response to a reservation says no max_tokens")
        elif max_tokens <= thinking:
            self._settle(None)
            enough = f"{thinking} of them are for thinking" if thinking else "an answer needs some"
            self._fail(BUDGET_EXHAUSTED, f"the budget has {max_tokens} tokens left for it; {enough}", declines=True)
        else:
            self._request(now_s, model, min(max_tokens, self._agent.config.max_tokens))

    def _request(self, now_s: float, model: str, max_tokens: int) -> None:
        agent, state = self._agent, self._state
        system = self._system(now_s)
        state.calls += 1
        self._model, self._limit = model, max_tokens
        budget = agent.config.thinking_budget
        self._debug(
            "api_request",
            model=model,
            max_tokens=max_tokens,
            thinking_budget=budget,
            message_count=len(self._messages),
            **({} if state.temperature is None else {"temperature": state.temperature}),
        )
        request = Request(
            system=system,
            messages=self._messages,
            input=self._text,
            model=model,
            temperature=state.temperature,
            max_tokens=max_tokens,
            thinking_budget=budget,
            output_schema=agent.schema,
            tools=agent.tools.offered,
        )
        self._do(CallProvider(request, self.origin))

    def _system(self, now_s: float) -> tuple[SystemBlock, ...]:
        config, state = self._agent.config, self._state
        if not config.runtime_context:
            return self._agent.system
        counts = {
            "Session input tokens": state.prompt_tokens,
            "Session output tokens": state.completion_tokens,
            "API calls": state.calls,
            "Max output tokens per turn": config.max_tokens,
            "History messages": len(self._messages),
            "Pinned documents": len(state.pins.entries),
            "Compaction cycles": state.compactions,
        }
        return (*self._agent.system, runtime_context(now_s, counts))

    def _settle(self, usage: Usage | Literal["all"] | None) -> None:
        if self._reserved is not None:
            self._do(Settle(self._reserved, usage))
            self._reserved = None

    def _call_failed(self, event: CallFailed) -> None:
        self._settle(event.usage)
        if isinstance(event.usage, Usage):
            self._used(event.usage, "")
        if not event.transient:
            self._end(Failed(event.code, event.message, event.details))
            return
        self._failures += 1
        delay_s = retry_delay_s(self._failures, event.retry_after_s, self._agent.chance)
        if delay_s is None:
            details = event.details | {"cause": event.code, "attempts": str(self._failures)}
            self._end(Failed("provider_unavailable", event.message, details))
            return
        fields = {"code": event.code, "reason": event.message, "attempt": self._failures, "delay_s": round(delay_s, 3)}
        self._do(Log("warning", "llm_retried", fields))
        self._do(Wait(delay_s))

    # Replies

    def _reply(self, reply: Reply, now_s: float, *, known: bool = False) -> None:
        """Take a reply; ``known``: that was paid for before."""
        self._failures = 0
        self._settle(reply.usage)
        message = Message("assistant", _without_blank_text(reply.blocks))
        calls = tool_uses(reply.blocks)
        refusal, payload = None, b""
        if reply.stop_reason in ("end_turn", "tool_use") and not calls:
            refusal, payload = self._read_output(text_of(reply.blocks))
        self._log_message(message, retry=refusal is not None)
        self._debug(
            "api_response",
            status=reply.status,
            content_blocks=len(reply.blocks),
            stop_reason=reply.stop_reason,
            input_tokens=reply.usage.prompt_tokens,
            output_tokens=reply.usage.completion_tokens,
        )
        if known:
            self._tell({**self._usage_event(reply.usage, reply.model), "recalled": True})
        else:
            if self._durable:
                self._answers.came(self._digest(), reply, self._usage_event(reply.usage, reply.model))
            self._used(reply.usage, reply.model)
        self._tell_thoughts(reply.blocks)
        if reply.stop_reason == "max_tokens":
            limit = self._limit
            self._fail(
                "max_tokens_reached", f"the answer was cut off at {limit} tokens: raise max_tokens, or ask for less"
            )
        elif reply.stop_reason == "refusal":
            self._fail(
                "model_refused",
                f"the model will not answer: {_shorten(text_of(reply.blocks)) or 'it does not say why'}",
            )
        elif calls:
            self._start_round(message, calls, now_s)
        elif refusal is None:
            kept = message if message.content else Message("assistant", payload.decode())  # a lenient empty string
            self._end(Done(kept, payload))
        else:
            self._refuse(message, refusal, now_s)

    def _refuse(self, message: Message, refusal: ValueRejected, now_s: float) -> None:
        """Tell the model that its answer does not have the type, and call again."""
        if self._retries == self._agent.config.max_retries:
            self._fail(
                "retries_exhausted", f"no valid output after {self._retries} retries; the last refusal: {refusal}"
            )
            return
        self._retries += 1
        told = Message("user", feedback(refusal))
        said = (message,) if message.content else ()  # no provider takes a message without content
        self._messages = self._messages.appended(*said, told)
        self._log_message(told, retry=True)
        self._call(now_s)

    def _read_output(self, text: str) -> tuple[ValueRejected | None, bytes]:
        """Return the JSON text to write, or why there is none."""
        output, config = self._agent.spec.output, self._agent.config
        try:
            return None, self._agent.output.check(text.strip().encode())[1]
        except ValueRejected as error:
            if config.lenient_string and resolve(output) == Prim("string") and not _is_json(text):
                return None, encode_json(text)
            return error, b""
        except UnicodeEncodeError:  # half of a surrogate pair, from a script
            return ValueRejected("$", show(output), "characters that UTF-8 does not have"), b""

    # Rounds of tools

    def _start_round(self, message: Message, calls: tuple[ToolUseBlock, ...], now_s: float) -> None:
        self._keep(message)
        self._tool_calls += len(calls)
        about = self._agent.tools, self._state, self.origin, self._do
        self._round = Round(calls, *about, self._id_of, self._answers.take_untold)
        if self._round.start():
            self._end_round(now_s)
        else:
            self._tools_gone()

    def _id_of(self, number: int) -> str:
        """Return the id of a call of the last reply: in a durable run every process gives it the same."""
        if self.origin is None or not self._durable:
            return self._state.new_id()
        return f"{self.origin.span_id.hex()}.{self._answers.count}.{number}"

    def _end_round(self, now_s: float) -> None:
        """Go on if every result is there."""
        if self._round is None or not self._round.complete:
            return
        results = self._round.finish(self.kept)
        self._round = None
        self._keep(results)
        self._log_message(results)
        limit = self._agent.config.max_tool_calls
        if limit is not None and self._tool_calls >= limit:
            self._fail("tool_limit", f"{self._tool_calls} calls of tools for one input; max_tool_calls is {limit}")
        else:
            self._call(now_s)

    def _tools_gone(self) -> None:
        self._fail("tool_channel_closed", "it waits for a tool, and the channel on which tools answer has ended")

    # The rest

    def _keep(self, message: Message) -> None:
        """Add a message that stays in the history."""
        alike = self._messages is self.kept  # then they share one list
        self.kept = self.kept.appended(message)
        self._messages = self.kept if alike else self._messages.appended(message)

    def _fail(self, code: str, reason: str, *, declines: bool = False) -> None:
        self._end(Failed(code, f"agent {self._agent.spec.name!r}: {reason}", declines=declines))

    def _end(self, outcome: Done | Failed) -> None:
        self.outcome = outcome
        self._round = self._asked = None
        self._recalling = ""

    def _used(self, usage: Usage, model: str) -> None:
        self._state.count(usage)
        self._tell(self._usage_event(usage, model))

    def _usage_event(self, usage: Usage, model: str) -> dict[str, Any]:
        return {"kind": "usage", **to_plain(usage), "model": model or self._model}

    def _tell_thoughts(self, blocks: Iterable[Block]) -> None:
        """``type`` is a word of the language, and no filter could be written with it: these say ``kind``, too."""
        for block in blocks:
            match block:
                case ThinkingBlock(thinking, signature):
                    self._tell({"kind": "thinking", "thinking": thinking, "signature": signature})
                case RedactedThinkingBlock(data):
                    self._tell({"kind": "redacted_thinking", "data": data})

    def _tell(self, event: dict[str, Any]) -> None:
        self._do(EmitTelemetry(event, self.origin))

    def _debug(self, event: str, **fields: Any) -> None:
        if self._agent.transcript:
            self._do(Log("debug", event, fields))

    def _log_message(self, message: Message, *, retry: bool = False) -> None:
        if not self._agent.transcript:
            return
        content = message.content if isinstance(message.content, str) else [to_plain(b) for b in message.content]
        self._debug("message", role=message.role, content=content, **({"retry": True} if retry else {}))


def _without_blank_text(blocks: tuple[Block, ...]) -> tuple[Block, ...]:
    """Return the blocks that a provider takes back: it gives blank text, and refuses it."""
    if all(not isinstance(block, TextBlock) or block.text.strip() for block in blocks):
        return blocks
    return tuple(block for block in blocks if not isinstance(block, TextBlock) or block.text.strip())


def _shorten(text: str) -> str:
    return text if len(text) <= TEXT_CHARS_MAX else text[: TEXT_CHARS_MAX - 3] + "..."


def _is_json(text: str) -> bool:
    try:
        decode_json(text)
    except ValueRejected:
        return False
    return True
