"""One round of tools: the calls of one reply, all at once, and their results in the order of the calls."""

from __future__ import annotations

__all__ = ["Round"]

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fabric.wire.frame import Provenance
from fabric.wire.payload import encode_json
from fabric.wire.recall import ModelAnswer
from plumb_agent.events import CallTool, Command, EmitTelemetry, ToolAnswered, ToolFailed
from plumb_agent.messages import Message, ToolResultBlock, ToolUseBlock
from plumb_agent.pins import PINNED_BYTES_MAX, Pin, Pins, find_result, note
from plumb_agent.state import State
from plumb_agent.toolbox import PIN, UNPIN, ArgumentsRefused, Toolbox, read_pin, read_result

SUMMARY_CHARS_MAX = 80
"""Of an error, in telemetry."""


class Round:
    """The calls of one reply.

    A call that cannot be made, and one whose result is pinned, are answered here. What is pinned and let go of is
    looked at last, so that a reply may call a tool and pin the result.

    Args:
        calls: of the reply, in order.
        tools, state: the agent's.
        origin: of the input.
        do: takes commands.
        id_of: gives the id of the call with this number.
        answers: of the model, that are to be told with the first call that is made.
    """

    def __init__(
        self,
        calls: Sequence[ToolUseBlock],
        tools: Toolbox,
        state: State,
        origin: Provenance | None,
        do: Callable[[Command], None],
        id_of: Callable[[int], str],
        answers: Callable[[], tuple[ModelAnswer, ...]],
    ) -> None:
        self._id_of = id_of
        self._answers = answers
        self._calls = calls
        self._tools = tools
        self._state = state
        self._origin = origin
        self._do = do
        self._waiting: dict[str, int] = {}
        self._results: dict[int, ToolResultBlock] = {}

    def start(self) -> bool:
        """Make the calls; return whether that was possible: nobody may be there who answers."""
        made: list[CallTool] = []
        for number, call in enumerate(self._calls):
            if call.name in (PIN, UNPIN):
                continue
            try:
                key = self._key_of(call)
                if key in self._state.pins.keys:
                    text = note(key, in_documents=key in self._state.documented.keys)
                    self._result(number, text, is_error=False)
                    continue
                name, arguments = self._tools.arguments(call)
            except ArgumentsRefused as error:
                self._result(number, str(error), is_error=True)
                continue
            id_ = self._id_of(number)
            self._waiting[id_] = number
            answers = () if made else self._answers()
            made.append(CallTool(id_, name, arguments, self._origin, answers))
        if made and self._state.tools_ended:
            return False
        for command in made:
            self._do(command)
        return True

    @property
    def complete(self) -> bool:
        """Whether no call is under way any more."""
        return not self._waiting

    def expects(self, id_: str) -> bool:
        """Say whether a call is under way that has this id."""
        return id_ in self._waiting

    def came(self, event: ToolAnswered | ToolFailed) -> None:
        """Take what came of a call that is under way."""
        number = self._waiting.pop(event.id)
        match event:
            case ToolAnswered(_, content):
                text, is_error = read_result(content)
                self._result(number, text, is_error=is_error)
            case ToolFailed(_, error):
                self._result(number, error, is_error=True)

    def finish(self, history: Iterable[Message]) -> Message:
        """Pin and let go of what the model wants, and return the message with all results.

        Args:
            history: with the reply at its end.
        """
        messages = list(history)
        for number, call in enumerate(self._calls):
            if call.name in (PIN, UNPIN):
                try:
                    text = self._mark(call, [*messages, self._message()])
                except ArgumentsRefused as error:
                    self._result(number, str(error), is_error=True)
                else:
                    self._result(number, text, is_error=False)
                    keys = self._state.pins.keys
                    self._tell({"kind": "pin_state", "action": call.name, "count": len(keys), "keys": keys})
        return self._message()

    def _message(self) -> Message:
        return Message("user", tuple(result for _, result in sorted(self._results.items())))

    def _mark(self, call: ToolUseBlock, messages: list[Message]) -> str:
        """Pin or unpin; return what the model is told."""
        tool, wanted = read_pin(call)
        key, arguments, shown = self._tools.key_of(tool, wanted)
        pins = self._state.pins
        if call.name == UNPIN:
            self._state.pins = pins.without(key)
        elif key not in pins.keys:
            self._state.pins = self._with(pins, Pin(key, shown, arguments, self._found(key, messages)))
        return encode_json({"pinned": call.name == PIN, "key": key}).decode()

    def _with(self, pins: Pins, pin: Pin) -> Pins:
        if len(pin.content.encode()) > PINNED_BYTES_MAX:
            raise ArgumentsRefused(
                f"the result of {pin.key} has more than the {PINNED_BYTES_MAX} bytes that can be pinned"
            )
        return pins.with_pin(pin)

    def _found(self, key: str, messages: list[Message]) -> str:
        def key_of(call: ToolUseBlock) -> str | None:
            try:
                return self._key_of(call)
            except ArgumentsRefused:  # pin itself, or a tool of a history that was set
                return None

        content = find_result(messages, key, key_of)
        if content is None:
            raise ArgumentsRefused(
                f"there is no result of {key} in this conversation to pin: call the tool first, with the same arguments"
            )
        return content

    def _key_of(self, call: ToolUseBlock) -> str:
        return self._tools.key_of(call.name, call.input)[0]

    def _result(self, number: int, text: str, *, is_error: bool) -> None:
        call = self._calls[number]
        self._results[number] = ToolResultBlock(call.id, text, is_error)
        arguments = encode_json(call.input).decode()
        about = {"kind": "tool_call", "id": call.id, "name": call.name, "arguments": arguments}
        self._tell({**about, "summary": _summary(text) if is_error else "ok", "is_error": is_error})

    def _tell(self, event: dict[str, Any]) -> None:
        self._do(EmitTelemetry(event, self._origin))


def _summary(error: str) -> str:
    line = error.strip().partition("\n")[0]
    return line if len(line) <= SUMMARY_CHARS_MAX else line[: SUMMARY_CHARS_MAX - 3] + "..."
