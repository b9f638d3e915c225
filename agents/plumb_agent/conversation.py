"""The conversation of one agent, as a machine: events in, commands out.

One input is in progress at a time, an :class:`~plumb_agent.exchange.Exchange`. The others wait here in order, and
markers and the end among them:

* a **marker** leaves when every input before it has been answered;
* the **end of the input** ends the output, when everything before it is done. Control is served until it ends, too;
  with that the worker is finished;
* **pause** holds inputs back, nothing else. When control ends while paused, inputs go on: nobody could resume;
* **stop** and ``max_messages`` end the output after the input in progress. What still waits is not answered;
* a **memory request** is served between two inputs. There is room for one: a second one that comes before replaces it.

Pure: no clock, no chance of its own, no input or output.
"""

from __future__ import annotations

__all__ = ["INPUTS_WAITING_MAX", "Conversation"]

import random
from collections import deque
from collections.abc import Sequence
from typing import Any

from msgspec import UNSET

from fabric.errors import ValueRejected
from fabric.wire.payload import decode_json, json_schema, validator
from fabric.wire.spec import WorkerSpec
from plumb_agent.config import AgentConfig
from plumb_agent.control import Control, read_control
from plumb_agent.events import (
    CallFailed,
    Command,
    ControlArrived,
    ControlEnded,
    Decline,
    Emit,
    EmitTelemetry,
    EndOutput,
    Event,
    Fail,
    Finish,
    ForwardMarker,
    InputArrived,
    InputEnded,
    Log,
    MarkerArrived,
    ReplyArrived,
    Respond,
    Started,
    ToolAnswered,
    ToolFailed,
    ToolsEnded,
    Waited,
)
from plumb_agent.exchange import Agent, Done, Exchange, Failed
from plumb_agent.memory import dump
from plumb_agent.prompt import system_blocks
from plumb_agent.state import State
from plumb_agent.toolbox import McpTool, Toolbox

INPUTS_WAITING_MAX = 10_000
"""Inputs that may wait here. Only a pause, or a tool that answers on the same stream, lets so many come."""


class Conversation:
    """One agent's conversation.

    Args:
        spec: types, prompt files, tools and name of the agent.
        config: its configuration.
        chance: draws the delays between attempts.
        mcp_tools: of MCP servers, beside those of the spec.
        transcript: whether somebody reads debug lines: every message, and what is known of every call.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        config: AgentConfig,
        chance: random.Random,
        mcp_tools: Sequence[McpTool] = (),
        *,
        transcript: bool = True,
    ) -> None:
        self._spec = spec
        self._config = config
        self._agent = Agent(
            spec=spec,
            config=config,
            system=system_blocks(spec, config),
            output=validator(spec.output),
            schema=json_schema(spec.output),
            tools=Toolbox(spec.tools, mcp_tools),
            chance=chance,
            transcript=transcript,
        )
        self._input = validator(spec.input)
        self._mcp_tools = mcp_tools
        self._state = State(config.model)
        self._waiting: deque[InputArrived | MarkerArrived | InputEnded] = deque()
        self._inputs_waiting = 0
        self._exchange: Exchange | None = None
        self._memory_request: Control | None = None
        self._paused = False
        self._stopping = False
        self._control_ended = False
        self._output_ended = False
        self._finished = False
        self._inputs_taken = 0
        self._commands: list[Command] = []

    @property
    def wants_input(self) -> bool:
        """Whether the shell should read on: no input waits, or a pause may be ended by what comes behind it."""
        return not self._inputs_waiting or self._paused

    @property
    def awaits_tools(self) -> bool:
        """Whether something was asked on tool_req that is not answered. A shell with one stream reads on for it."""
        return self._exchange is not None and self._exchange.awaits_tools

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
            case ReplyArrived() | CallFailed() | Waited() | ToolAnswered() | ToolFailed() | ToolsEnded():
                self._said(event, now_s)
            case MarkerArrived() | InputEnded():
                self._waiting.append(event)
            case InputArrived():
                self._waiting.append(event)
                self._inputs_waiting += 1
                if self._inputs_waiting > INPUTS_WAITING_MAX:
                    self._fail(Failed("too_many_inputs", f"more than {INPUTS_WAITING_MAX} inputs wait"))
            case ControlArrived(payload):
                self._control(read_control(payload))
            case ControlEnded():
                self._control_ended = True
                self._paused = False
            case Started():
                names = [*self._config.tools, *(tool.name for tool in self._mcp_tools)]
                self._do(EmitTelemetry(_config_event(self._config, names)))
        self._advance(now_s)
        return self._commands

    # Between two inputs

    def _advance(self, now_s: float) -> None:
        """Do all that can be done before the next event."""
        while self._exchange is None and not self._finished:
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
        if control.complaint:
            self._do(Log("warning", "control_refused", {"reason": control.complaint}))
        if control.set_temp is not UNSET:
            self._state.temperature = control.set_temp
        if control.set_model is not UNSET:
            self._state.model = control.set_model or self._config.model
        if control.pause:
            self._paused = True
            self._do(Respond({"kind": "pause_ack"}))
        if control.get_memory or control.set_memory is not UNSET:
            if self._memory_request is not None:
                self._do(Log("warning", "memory_request_replaced", {}))
            self._memory_request = control
            if self._exchange is None:
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
        state = self._state
        if request.get_memory:
            messages = dump(state.own, request.format)
            self._do(Respond({"kind": "memory", "messages": messages, "pinned": state.pins.shown()}))
        if request.set_memory is not UNSET:
            counts = {"old_messages": len(state.own), "new_messages": len(request.set_memory)}
            state.remember(request.set_memory)
            state.compactions += 1
            self._do(Respond({"kind": "memory_set", **counts}))

    # One input

    def _start(self, event: InputArrived, now_s: float) -> None:
        try:
            _, payload = self._input.check(event.payload)
        except ValueRejected as error:
            self._fail(Failed("input_type_mismatch", f"input of agent {self._spec.name!r}: {error}"))
            return
        self._inputs_taken += 1
        self._exchange = Exchange(self._agent, self._state, payload.decode().strip(), event.origin, self._do)
        self._exchange.begin(now_s)
        self._conclude()

    def _said(
        self, event: ReplyArrived | CallFailed | Waited | ToolAnswered | ToolFailed | ToolsEnded, now_s: float
    ) -> None:
        if isinstance(event, ToolsEnded):
            self._state.tools_ended = True
        if self._exchange is not None:
            self._exchange.handle(event, now_s)
            self._conclude()
        elif isinstance(event, ToolAnswered | ToolFailed):
            self._do(Log("warning", "tool_response_ignored", {"id": event.id, "reason": "no call waits"}))
        else:
            assert isinstance(event, ToolsEnded), "an answer of the model without a call"

    def _conclude(self) -> None:
        """See what came of the input in progress."""
        exchange = self._exchange
        if exchange is None or exchange.outcome is None:
            return
        match exchange.outcome:
            case Done(message, payload):
                self._exchange = None
                if not self._config.amnesiac:
                    self._state.history = exchange.kept.appended(message)
                elif self._state.pins is not self._state.documented:
                    self._state.remember(self._state.own)  # the results themselves are forgotten
                self._do(Emit(payload, exchange.origin))
                self._do(EmitTelemetry({"kind": "output", "content": decode_json(payload)}, exchange.origin))
            case Failed(code, message, _, declines) as failed:
                if not (self._spec.part_of or declines):
                    self._fail(failed)
                    return
                # Its caller is told, and others may do better. Nothing of it is remembered, so no pin of it may stay.
                self._exchange = None
                self._unpin(exchange)
                self._do(Decline(code, message))

    def _unpin(self, exchange: Exchange) -> None:
        if self._state.pins is not exchange.pins_before:
            self._state.pins = exchange.pins_before
            keys = self._state.pins.keys
            event = {"kind": "pin_state", "action": "unpin", "count": len(keys), "keys": keys}
            self._do(EmitTelemetry(event, exchange.origin))

    def _do(self, command: Command) -> None:
        self._commands.append(command)

    def _fail(self, failed: Failed) -> None:
        origin = self._exchange.origin if self._exchange is not None else None
        named = {} if origin is None else {"span": origin.span_id.hex()}  # the message that is to blame
        self._do(Fail(failed.code, failed.message, details=failed.details | named))
        self._finished = True


def _config_event(config: AgentConfig, tools: Sequence[Any]) -> dict[str, Any]:
    return {
        "kind": "config",
        "model": config.model,
        "provider": config.provider,
        "max_tokens": config.max_tokens,
        "thinking_budget": config.thinking_budget,
        "tools": list(tools),
    }
