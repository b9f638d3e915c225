"""What a session is told and what it answers, as lines that a person can read; and events read from such lines.

    0 input i 1 2                          at second 0 two messages come on boundary input i
      to f input 1                         the first goes to worker f,
      to f input <ack/f/1/1>               a marker behind it
    0.5 from f output 10 <ack/f/1/1>       its answer, and the marker
      deliver o 10
      settled 1

An event begins with its time; what follows from it stands below, indented. Frames are JSON text, ``<id>`` for a marker,
``end`` for the end of a channel. A value that has no short form is written as it is.
"""

from __future__ import annotations

__all__ = ["read_event", "written", "written_command", "written_event"]

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from fabric.session.events import (
    Answered,
    ApprovalOver,
    AskApproval,
    Asked,
    BadInput,
    Buried,
    CallServer,
    CancelCall,
    Command,
    Continue,
    Decided,
    Deliver,
    Event,
    Exited,
    Finish,
    Frames,
    Input,
    InputClosed,
    Interrupted,
    Launch,
    Launched,
    LaunchFailed,
    LookAfter,
    Note,
    Observed,
    Opened,
    OutputBroken,
    Record,
    Refuse,
    Release,
    Retry,
    Send,
    Served,
    SetTimer,
    Settled,
    Signal,
    Start,
    Tap,
    Tapped,
    TimerFired,
    Told,
    Traced,
)
from fabric.session.history import encode_history
from fabric.wire.codec import decode, encode, split
from fabric.wire.frame import Data, Decline, Eof, Frame, Marker

# --- written ----------------------------------------------------------------------------------------------------------


def written(now_s: float, event: Event, commands: Iterable[Command]) -> str:
    """Return an event and what follows from it."""
    lines = [f"{now_s:.10g} {written_event(event)}"]
    return "\n".join([*lines, *(f"  {written_command(command)}" for command in commands)])


def written_event(event: Event) -> str:
    """Return an event as one line."""
    match event:
        case Start():
            return "start"
        case Launched(worker, pid):
            return f"launched {worker} {_json(pid)}"
        case LaunchFailed(worker, reason):
            return f"launch_failed {worker} {_json(reason)}"
        case Frames(worker, port, raw):
            return f"from {worker} {port} {_frames(raw)}"
        case Exited(worker, status, stderr):
            return " ".join(["exited", worker, str(status), *map(_json, stderr)])
        case Input(port, messages):
            return " ".join(["input", port, *(f"{ticket}:{payload.decode()}" for ticket, payload in messages)])
        case InputClosed(port):
            return f"close {port or ''}".rstrip()
        case Continue():
            return "continue"
        case Asked(worker, wish, ticket):
            return f"ask {worker} {wish} {ticket}"
        case Told(worker, payload, ticket):
            return f"tell {worker} {ticket}:{payload.decode()}"
        case Retry(worker, payload, ticket):
            return f"retry {worker} {ticket}:{payload.decode()}"
        case Decided(approval, granted, ticket, always, reason):
            how = f"{'granted' if granted else 'denied'} {'always' if always else 'once'}"
            return f"decided {approval} {ticket} {how} {_json(reason)}"
        case Served(call, content, error):
            return f"served {call} " + (f"error {_json(error)}" if content is None else content.decode())
        case TimerFired((kind, worker)):
            return f"timer {kind} {worker}"
        case LookAfter():
            return "look_after"
        case Tap(sinks):
            return " ".join(["tap", *map(str, sorted(sinks))])
        case BadInput(detail, ticket):
            return f"bad_input {ticket} {_json(detail)}"
        case OutputBroken(reason):
            return f"output_broken {_json(reason)}"
        case Interrupted(number):
            return f"interrupted {number}"


def written_command(command: Command) -> str:
    """Return a command as one line."""
    match command:
        case Record(entries):
            return " ".join(["record", *(encode_history(entry).decode() for entry in entries)])
        case Launch(worker, incarnation):
            return f"launch {worker} {incarnation}"
        case Send(worker, port, raw):
            return f"to {worker} {port} {_frames([raw])}"
        case Release(worker):
            return f"release {worker}"
        case Signal(worker, name):
            return f"signal {worker} {name}"
        case Opened():
            return "opened"
        case Deliver(outputs):
            return " | ".join(f"deliver {output.port} {output.payload.decode()}" for output in outputs)
        case Settled(tickets):
            return " ".join(["settled", *map(str, tickets)])
        case SetTimer((kind, worker), at_s):
            return f"set_timer {kind} {worker} {at_s:.10g}"
        case Note(level, event, fields):
            return " ".join([f"note {level} {event}", *(f"{name}={_json(value)}" for name, value in fields.items())])
        case Refuse(code, detail, node, tickets):
            return f"refuse {code} {node} {_json(detail)} {_json(tickets)}"
        case Answered(ticket, error, reply):
            said = "" if reply is None else f" {reply.decode()}"
            return f"answered {ticket}{said}{'' if error is None else f' error {_json(error)}'}"
        case AskApproval(approval):
            return f"ask_approval {approval.id} {approval.worker} {approval.tool} {approval.arguments}"
        case ApprovalOver(approval_id, outcome):
            return f"approval_over {approval_id} {outcome}"
        case CallServer(call, server, tool, arguments):
            return f"call_server {call} {server} {tool} {arguments.decode()}"
        case CancelCall(call):
            return f"cancel_call {call}"
        case Buried(letter):
            return "bury " + _fields(letter)
        case Tapped(messages):
            return " | ".join(f"tapped {seen.sink} {seen.payload.decode()}" for seen in messages)
        case Traced(spans):
            return " | ".join(f"span {span.name}{' failed' if span.error is not None else ''}" for span in spans)
        case Observed(heard):
            return " | ".join(f"heard {one.label} {one.topic} {one.payload.decode()}" for one in heard)
        case Finish(exit_code, losses, error):
            told = [] if error is None else [error[0], _json(error[1])]
            return " ".join(["finish", str(exit_code), *filter(None, [_fields(losses)]), *told])


def _fields(struct: msgspec.Struct) -> str:
    """Return the fields of a struct that differ from their defaults, but for ids."""
    shown = {name: getattr(struct, name) for name in struct.__struct_fields__ if name != "trace_id"}
    return " ".join(f"{name}={_json(value)}" for name, value in shown.items() if value not in (None, 0, (), {}))


def _json(value: Any) -> str:
    return json.dumps(value, default=lambda raw: raw.decode(errors="replace"), ensure_ascii=False)


def _frames(raws: Iterable[bytes]) -> str:
    return " ".join(_frame(decode(part)) for raw in raws for part in split(raw))


def _frame(frame: Frame) -> str:
    match frame:
        case Data():
            return frame.payload.decode()
        case Marker():
            return f"<{frame.id}>"
        case Decline(_, payload):
            return f"decline {payload.decode()}"
        case Eof():
            return "end"


# --- read -------------------------------------------------------------------------------------------------------------


def read_event(line: str) -> tuple[float, Event]:
    """Read what :func:`written` gives of an event, with its time.

    Raises:
        ValueError: it is none.
    """
    now_s, _, rest = line.partition(" ")
    word, _, rest = rest.partition(" ")
    if word not in _READERS:
        raise ValueError(f"expected a time and one of {', '.join(sorted(_READERS))}; got {line!r}")
    return float(now_s), _READERS[word](rest)


def _values(text: str) -> Iterator[Any]:
    """Yield JSON values that spaces separate."""
    at = 0
    while at < len(text):
        value, at = _DECODER.raw_decode(text, at)
        yield value
        at += 1


def _tickets(text: str) -> Iterator[tuple[int, bytes]]:
    """Yield payloads, each behind its ticket."""
    while text:
        ticket, _, rest = text.partition(":")
        end = _DECODER.raw_decode(rest)[1]
        yield int(ticket), rest[:end].encode()
        text = rest[end:].lstrip()


def _read_frames(rest: str) -> Frames:
    worker, port, text = (*rest.split(" ", 2), "")[:3]
    raws = []
    while text:
        if text[0] == "<":
            end = text.index(">") + 1
            frame: Frame = Marker(worker, text[1 : end - 1])
        elif text.split(" ", 1)[0] == "end":
            end, frame = 3, Eof(worker)
        else:
            end = _DECODER.raw_decode(text)[1]
            frame = Data(worker, text[:end].encode())
        raws.append(encode(frame))
        text = text[end:].lstrip()
    return Frames(worker, port, raws)


def _read_exited(rest: str) -> Exited:
    worker, status, text = (*rest.split(" ", 2), "")[:3]
    return Exited(worker, int(status), tuple(_values(text)))


def _read_told(kind: type[Told] | type[Retry]) -> Callable[[str], Event]:
    def read(rest: str) -> Event:
        worker, _, text = rest.partition(" ")
        ((ticket, payload),) = _tickets(text)
        return kind(worker, payload, ticket)

    return read


def _read_asked(rest: str) -> Asked:
    worker, wish, ticket = rest.split()
    return msgspec.convert({"worker": worker, "wish": wish, "ticket": int(ticket)}, Asked)


def _read_decided(rest: str) -> Decided:
    approval, ticket, how, often, reason = rest.split(" ", 4)
    return Decided(approval, how == "granted", int(ticket), often == "always", json.loads(reason))


def _read_served(rest: str) -> Served:
    call, _, text = rest.partition(" ")
    is_error = text.startswith("error ")
    return Served(int(call), None if is_error else text.encode(), json.loads(text[6:]) if is_error else "")


def _read_timer(rest: str) -> TimerFired:
    kind, worker = rest.split()
    return TimerFired((kind, worker))


def _read_launched(rest: str) -> Launched:
    worker, _, pid = rest.partition(" ")
    return Launched(worker, json.loads(pid))


def _read_launch_failed(rest: str) -> LaunchFailed:
    worker, _, reason = rest.partition(" ")
    return LaunchFailed(worker, json.loads(reason))


def _read_input(rest: str) -> Input:
    port, _, text = rest.partition(" ")
    return Input(port, list(_tickets(text)))


def _read_bad_input(rest: str) -> BadInput:
    ticket, _, detail = rest.partition(" ")
    return BadInput(json.loads(detail), int(ticket))


_DECODER = json.JSONDecoder()
_READERS: dict[str, Callable[[str], Event]] = {
    "start": lambda rest: Start(),
    "launched": _read_launched,
    "launch_failed": _read_launch_failed,
    "from": _read_frames,
    "exited": _read_exited,
    "input": _read_input,
    "close": lambda rest: InputClosed(rest or None),
    "continue": lambda rest: Continue(),
    "look_after": lambda rest: LookAfter(),
    "ask": _read_asked,
    "tell": _read_told(Told),
    "retry": _read_told(Retry),
    "decided": _read_decided,
    "served": _read_served,
    "timer": _read_timer,
    "tap": lambda rest: Tap(frozenset(map(int, rest.split()))),
    "bad_input": _read_bad_input,
    "output_broken": lambda rest: OutputBroken(json.loads(rest)),
    "interrupted": lambda rest: Interrupted(int(rest)),
}
