"""The conversation of one agent, as a machine: events in, commands out.

An input is validated, becomes a message of the user, and goes to the model; the reply is validated and becomes an
output. A reply that does not fit goes back to the model with the reason, up to ``max_retries`` times; those messages
are forgotten afterwards. One input is in progress at a time; the others wait here in order, and markers and the end
among them:

* a **marker** leaves when every input before it has been answered;
* the **end of the input** ends the output, when everything before it is done. Control is served until it ends, too;
  with that the worker is finished;
* **pause** holds inputs back, nothing else. When control ends while paused, inputs go on: nobody could resume;
* **stop** and ``max_messages`` end the output after the input in progress. What still waits is not answered;
* a **memory request** is served between two inputs. There is room for one: a second one that comes before replaces it.

Pure: no clock, no chance, no input or output. The shell performs the commands in the order in which they are returned.
"""

from __future__ import annotations

__all__ = [
    "INPUTS_WAITING_MAX",
    "CallFailed",
    "CallProvider",
    "Command",
    "ControlArrived",
    "ControlEnded",
    "Conversation",
    "Decline",
    "Emit",
    "EmitTelemetry",
    "EndOutput",
    "Event",
    "Fail",
    "Finish",
    "ForwardMarker",
    "InputArrived",
    "InputEnded",
    "Log",
    "MarkerArrived",
    "ReplyArrived",
    "Respond",
    "Started",
]

from collections import deque
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET

from fabric.errors import ValueRejected
from fabric.wire.frame import Provenance
from fabric.wire.payload import Prim, decode_json, encode_json, json_schema, resolve, show, to_plain, validator
from fabric.wire.spec import WorkerSpec
from plumb_agent.config import AgentConfig
from plumb_agent.control import Control, read_control
from plumb_agent.memory import dump
from plumb_agent.messages import History, Message, Reply, Request, SystemBlock, text_of

INPUTS_WAITING_MAX = 10_000
"""Inputs that may wait here. Only a pause lets so many come: a shell asks ``wants_input`` before it reads another."""

# --- Events -------------------------------------------------------------------------------------------------------


class Started(msgspec.Struct, frozen=True, tag=True):
    """The shell is ready. Comes first."""


class InputArrived(msgspec.Struct, frozen=True, tag=True):
    """A message on the input: JSON text, and where it comes from, if the sender said so."""

    payload: bytes
    origin: Provenance | None = None


class MarkerArrived(msgspec.Struct, frozen=True, tag=True):
    """A marker on the input."""

    id: str


class InputEnded(msgspec.Struct, frozen=True, tag=True):
    """No more inputs and markers."""


class ControlArrived(msgspec.Struct, frozen=True, tag=True):
    """A message on ctrl_in."""

    payload: bytes


class ControlEnded(msgspec.Struct, frozen=True, tag=True):
    """No more control messages; also where there is no control channel at all."""


class ReplyArrived(msgspec.Struct, frozen=True, tag=True):
    """The call in progress gave a reply."""

    reply: Reply


class CallFailed(msgspec.Struct, frozen=True, tag=True):
    """The call in progress gave none. ``details`` belong into the error line."""

    code: str
    message: str
    details: dict[str, str] = {}


Event: TypeAlias = (
    Started | InputArrived | MarkerArrived | InputEnded | ControlArrived | ControlEnded | ReplyArrived | CallFailed
)

# --- Commands -----------------------------------------------------------------------------------------------------


class CallProvider(msgspec.Struct, frozen=True, tag=True):
    """Call the model, and answer with ReplyArrived or CallFailed. One call at a time."""

    request: Request


class Emit(msgspec.Struct, frozen=True, tag=True):
    """Write an output; ``origin`` is that of the input that it answers."""

    payload: bytes
    origin: Provenance | None = None


class Decline(msgspec.Struct, frozen=True, tag=True):
    """Write, instead of an output, that the message cannot be done. Of an agent that works for a tool."""

    code: str
    message: str


class ForwardMarker(msgspec.Struct, frozen=True, tag=True):
    """Pass a marker on, behind everything written so far, on every output port."""

    id: str


class EmitTelemetry(msgspec.Struct, frozen=True, tag=True):
    """Write a telemetry event."""

    event: dict[str, Any]
    origin: Provenance | None = None


class Respond(msgspec.Struct, frozen=True, tag=True):
    """Write a message on ctrl_out."""

    message: dict[str, Any]


class Log(msgspec.Struct, frozen=True, tag=True):
    """Write a log line."""

    level: Literal["debug", "warning"]
    event: str
    fields: dict[str, Any]


class EndOutput(msgspec.Struct, frozen=True, tag=True):
    """Write the end of the output. Control and telemetry go on."""


class Finish(msgspec.Struct, frozen=True, tag=True):
    """End the other ports and leave with status 0. The last command."""


class Fail(msgspec.Struct, frozen=True, tag=True):
    """Write an error line and leave with this status. The last command."""

    code: str
    message: str
    exit_code: int = 1
    details: dict[str, str] = {}


Command: TypeAlias = (
    CallProvider | Emit | Decline | ForwardMarker | EmitTelemetry | Respond | Log | EndOutput | Finish | Fail
)  # fmt: skip


# --- The machine --------------------------------------------------------------------------------------------------


class _Turn(msgspec.Struct):
    """The input in progress."""

    text: str
    origin: Provenance | None
    before: History
    """The history with the input at its end."""
    messages: History
    """The same, with the retries."""
    retries: int = 0


class Conversation:
    """One agent's conversation.

    Args:
        spec: types, prompt files and name of the agent.
        config: its configuration.
    """

    def __init__(self, spec: WorkerSpec, config: AgentConfig) -> None:
        self._spec = spec
        self._config = config
        self._input = validator(spec.input)
        self._output = validator(spec.output)
        self._schema = json_schema(spec.output)
        self._system = _system_blocks(spec, config)
        self._history = History()
        self._temperature: float | None = None
        self._model = config.model
        self._waiting: deque[InputArrived | MarkerArrived | InputEnded] = deque()
        self._inputs_waiting = 0
        self._turn: _Turn | None = None
        self._memory_request: Control | None = None
        self._paused = False
        self._stopping = False
        self._control_ended = False
        self._output_ended = False
        self._finished = False
        self._inputs_taken = 0
        self._calls = 0
        self._prompt_tokens = 0
        self._completion_tokens = 0
        self._memories_set = 0
        self._commands: list[Command] = []

    @property
    def wants_input(self) -> bool:
        """Whether the shell should read on: no input waits, or a pause may be ended by what comes behind it."""
        return not self._inputs_waiting or self._paused

    def handle(self, event: Event, now_s: float) -> list[Command]:
        """Return what to do now, in this order. After Finish or Fail every event is ignored.

        Args:
            event: what happened.
            now_s: seconds since 1970, UTC; told to the model where ``runtime_context`` is set.
        """
        self._commands = []
        if self._finished:
            return []
        match event:
            case Started():
                self._telemetry(_config_event(self._config), None)
            case InputArrived():
                self._waiting.append(event)
                self._inputs_waiting += 1
                if self._inputs_waiting > INPUTS_WAITING_MAX:
                    self._fail("too_many_inputs", f"more than {INPUTS_WAITING_MAX} inputs wait")
            case MarkerArrived() | InputEnded():
                self._waiting.append(event)
            case ControlArrived(payload):
                self._control(read_control(payload))
            case ControlEnded():
                self._control_ended = True
                self._paused = False
            case ReplyArrived(reply):
                self._reply(reply, now_s)
            case CallFailed(code, message, details):
                self._fail_turn(code, message, details)
        self._advance(now_s)
        return self._commands

    # Between two inputs

    def _advance(self, now_s: float) -> None:
        """Do all that can be done before the next event."""
        while self._turn is None and not self._finished:
            self._serve_memory()
            head = self._waiting[0] if self._waiting else None
            if self._output_ended:
                self._drop_waiting()
                if self._control_ended or self._stopping:
                    self._do(Finish())
                    self._finished = True
                return
            if isinstance(head, MarkerArrived):
                self._waiting.popleft()
                self._do(ForwardMarker(head.id))
            elif isinstance(head, InputEnded) or self._is_last():
                self._do(EndOutput())
                self._output_ended = True
            elif isinstance(head, InputArrived) and not self._paused:
                self._waiting.popleft()
                self._inputs_waiting -= 1
                self._start(head, now_s)
            else:
                return

    def _is_last(self) -> bool:
        if self._inputs_taken == self._config.max_messages:
            self._stopping = True
        return self._stopping

    def _drop_waiting(self) -> None:
        if self._inputs_waiting:
            self._do(Log("warning", "inputs_dropped", {"count": self._inputs_waiting}))
        self._waiting.clear()
        self._inputs_waiting = 0

    def _control(self, control: Control) -> None:
        for complaint in control.complaints:
            self._do(Log("warning", "control_ignored", {"reason": complaint}))
        if control.set_temp is not UNSET:
            self._temperature = control.set_temp
        if control.set_model is not UNSET:
            self._model = control.set_model or self._config.model
        if control.pause:
            self._paused = True
            self._do(Respond({"kind": "pause_ack"}))
        if control.get_memory or control.set_memory is not UNSET:
            if self._memory_request is not None:
                self._do(Log("warning", "memory_request_replaced", {}))
            self._memory_request = control
            if self._turn is None:
                self._serve_memory()
        if control.resume:
            self._paused = False
            self._do(Respond({"kind": "resume_ack"}))
        if control.stop:
            self._stopping = True

    def _serve_memory(self) -> None:
        request, self._memory_request = self._memory_request, None
        if request is None:
            return
        if request.get_memory:
            messages = dump(self._history, request.format)
            self._do(Respond({"kind": "memory", "messages": messages, "pinned": []}))
        if request.set_memory is not UNSET:
            old, self._history = self._history, History(request.set_memory)
            self._memories_set += 1
            counts = {"old_messages": len(old), "new_messages": len(self._history)}
            self._do(Respond({"kind": "memory_set", **counts}))

    # One input

    def _start(self, event: InputArrived, now_s: float) -> None:
        try:
            _, payload = self._input.check(event.payload)
        except ValueRejected as error:
            self._fail("input_type_mismatch", f"input of agent {self._spec.name!r}: {error}")
            return
        text = payload.decode().strip()
        message = Message("user", text)
        before = self._history.appended(message)
        self._inputs_taken += 1
        self._turn = _Turn(text, event.origin, before, before)
        self._log_message(message, retry=False)
        self._call(self._turn, now_s)

    def _call(self, turn: _Turn, now_s: float) -> None:
        config = self._config
        system = self._system
        if config.runtime_context:
            system = (*system, SystemBlock(self._runtime_context(now_s)))
        self._calls += 1
        self._debug(
            "api_request",
            model=self._model,
            max_tokens=config.max_tokens,
            thinking_budget=config.thinking_budget,
            message_count=len(turn.messages),
        )
        request = Request(
            system=system,
            messages=turn.messages,
            input=turn.text,
            model=self._model,
            temperature=self._temperature,
            max_tokens=config.max_tokens,
            thinking_budget=config.thinking_budget,
            output_schema=self._schema,
        )
        self._do(CallProvider(request))

    def _reply(self, reply: Reply, now_s: float) -> None:
        turn = self._turn
        assert turn is not None, "a reply without a call"
        usage = reply.usage
        self._prompt_tokens += usage.prompt_tokens
        self._completion_tokens += usage.completion_tokens
        message = Message("assistant", reply.blocks)
        refusal, payload = self._read_output(text_of(reply.blocks))
        self._log_message(message, retry=refusal is not None)
        self._debug(
            "api_response",
            status=reply.status,
            content_blocks=len(reply.blocks),
            stop_reason=reply.stop_reason,
            input_tokens=usage.prompt_tokens,
            output_tokens=usage.completion_tokens,
        )
        self._telemetry({"kind": "usage", **to_plain(usage)}, turn.origin)
        if refusal is None:
            self._turn = None
            if not self._config.amnesiac:
                self._history = turn.before.appended(message)
            self._do(Emit(payload, turn.origin))
            self._telemetry({"kind": "output", "content": decode_json(payload)}, turn.origin)
        elif turn.retries == self._config.max_retries:
            self._fail_turn(
                "retries_exhausted",
                f"agent {self._spec.name!r}: no valid output after {turn.retries} retries; the last refusal: {refusal}",
            )
        else:
            turn.retries += 1
            feedback = Message("user", _feedback(refusal))
            turn.messages = turn.messages.appended(message, feedback)
            self._log_message(feedback, retry=True)
            self._call(turn, now_s)

    def _read_output(self, text: str) -> tuple[ValueRejected | None, bytes]:
        """Return the JSON text to write, or why there is none."""
        try:
            return None, self._output.check(text.strip().encode())[1]
        except ValueRejected as error:
            if self._config.lenient_string and resolve(self._spec.output) == Prim("string") and not _is_json(text):
                return None, encode_json(text)
            return error, b""
        except UnicodeEncodeError:  # half of a surrogate pair, from a script
            return ValueRejected("$", show(self._spec.output), "characters that UTF-8 does not have"), b""

    def _runtime_context(self, now_s: float) -> str:
        time = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        facts = {
            "Time": time,
            "Session input tokens": self._prompt_tokens,
            "Session output tokens": self._completion_tokens,
            "API calls": self._calls,
            "Max output tokens per turn": self._config.max_tokens,
            "History messages": len(self._history),
            "Pinned documents": 0,
            "Compaction cycles": self._memories_set,
        }
        return "\n".join(["[Runtime context]", *(f"{label}: {value}" for label, value in facts.items())])

    # Commands

    def _do(self, command: Command) -> None:
        self._commands.append(command)

    def _telemetry(self, event: dict[str, Any], origin: Provenance | None) -> None:
        self._do(EmitTelemetry(event, origin))

    def _debug(self, event: str, **fields: Any) -> None:
        self._do(Log("debug", event, fields))

    def _log_message(self, message: Message, *, retry: bool) -> None:
        content = message.content if isinstance(message.content, str) else [to_plain(b) for b in message.content]
        self._debug("message", role=message.role, content=content, **({"retry": True} if retry else {}))

    def _fail_turn(self, code: str, message: str, details: dict[str, str] | None = None) -> None:
        """The message cannot be done. If it is a call of a tool its caller is told, and others may do better."""
        if self._spec.part_of:
            self._turn = None
            self._do(Decline(code, message))
        else:
            self._fail(code, message, details)

    def _fail(self, code: str, message: str, details: dict[str, str] | None = None) -> None:
        origin = self._turn.origin if self._turn is not None else None
        named = {} if origin is None else {"span": origin.span_id.hex()}  # the message that is to blame
        self._do(Fail(code, message, details=(details or {}) | named))
        self._finished = True


# --- Texts for the model ------------------------------------------------------------------------------------------


def _config_event(config: AgentConfig) -> dict[str, Any]:
    return {
        "kind": "config",
        "model": config.model,
        "provider": config.provider,
        "max_tokens": config.max_tokens,
        "thinking_budget": config.thinking_budget,
        "tools": list(config.tools),
    }


def _system_blocks(spec: WorkerSpec, config: AgentConfig) -> tuple[SystemBlock, ...]:
    """Return the parts that never change, in the order in which a provider may cache them."""
    blocks = [SystemBlock(config.prompt)] if config.prompt else []
    blocks += [SystemBlock(_document(document.name, document.text)) for document in spec.documents]
    schema = encode_json(json_schema(spec.output)).decode()
    instruction = (
        f"Your whole answer is read by a program as one JSON value of the type {show(spec.output)}, "
        f"which this JSON Schema describes:\n{schema}\n"
        "Answer with that value alone: no other words and no code fence around it."
    )
    return (*blocks, SystemBlock(instruction, cache_break=True))


def _document(name: str, text: str) -> str:
    for character, escape in (("&", "&amp;"), ("<", "&lt;"), ('"', "&quot;")):
        name = name.replace(character, escape)
    return f'<doc id="{name}">\n{text}\n</doc>'


def _feedback(refusal: ValueRejected) -> str:
    return (
        f"The program could not use that answer: {refusal}. "
        "Answer again, with nothing but a JSON value of the type that was asked for."
    )


def _is_json(text: str) -> bool:
    try:
        decode_json(text)
    except ValueRejected:
        return False
    return True
