"""What a session is told, and what it answers.

Every event is handled to its end and answered with commands, to be performed in order. What a command brings about
comes back as an event, later.
"""

from __future__ import annotations

__all__ = [
    "Answered",
    "Approval",
    "ApprovalOver",
    "AskApproval",
    "Asked",
    "BadInput",
    "Buried",
    "CallServer",
    "CancelCall",
    "Command",
    "Continue",
    "DeadLetter",
    "DeathCause",
    "Decided",
    "Deliver",
    "Event",
    "Exited",
    "Finish",
    "Frames",
    "Heard",
    "Input",
    "InputClosed",
    "Interrupted",
    "Launch",
    "LaunchFailed",
    "Launched",
    "Level",
    "LookAfter",
    "LossReport",
    "Note",
    "Observed",
    "Opened",
    "Outcome",
    "Output",
    "OutputBroken",
    "Record",
    "Refuse",
    "Release",
    "Retry",
    "Seen",
    "Send",
    "Served",
    "SetTimer",
    "Settled",
    "Signal",
    "Start",
    "Tap",
    "Tapped",
    "TimerFired",
    "Told",
    "Traced",
    "Wish",
]

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from fabric.session.budget import BudgetStatus
from fabric.session.history import History
from fabric.session.usage import Usage
from fabric.tracing.span import Span

# --- Events -------------------------------------------------------------------------------------------------------


class Start(msgspec.Struct, frozen=True):
    """Begin. The first event."""


class Launched(msgspec.Struct, frozen=True):
    """A worker's process exists. ``pid`` is ``None`` for one that is none of this host."""

    worker: str
    pid: int | None


class LaunchFailed(msgspec.Struct, frozen=True):
    """A worker's program could not be started at all. ``reason`` says why, in the system's words."""

    worker: str
    reason: str


class Frames(msgspec.Struct, frozen=True):
    """Frames arrived from a worker, in order, on one of its output ports."""

    worker: str
    port: str
    raw: list[bytes]


class Exited(msgspec.Struct, frozen=True):
    """A worker's process is gone, and everything that it had sent has been handed over.

    Attributes:
        status: exit status, or the negative number of the signal.
        stderr: its last lines.
    """

    worker: str
    status: int
    stderr: tuple[str, ...] = ()


class Input(msgspec.Struct, frozen=True):
    """Messages for the graph.

    Attributes:
        port: name of the boundary's input.
        messages: each with a ticket of at least 0, by which the caller recognises it and which comes back in
            ``Deliver``, ``Refuse`` and ``Settled``, and its JSON text, not validated yet.
        keys: of a durable session: for each message by what another attempt to give it is known; empty: by nothing.
    """

    port: str
    messages: Sequence[tuple[int, bytes]]
    keys: Sequence[str] = ()


class InputClosed(msgspec.Struct, frozen=True):
    """Nothing more will come on a boundary input; ``None``: on any."""

    port: str | None = None


class Continue(msgspec.Struct, frozen=True):
    """Go on with the work that the last event left (``Session.has_work``)."""


Wish: TypeAlias = Literal["stop", "start", "restart"]


class Asked(msgspec.Struct, frozen=True):
    """Somebody wants a worker to be stopped, started or both. ``Answered`` repeats the ticket when it is so."""

    worker: str
    wish: Wish
    ticket: int


class Told(msgspec.Struct, frozen=True):
    """Somebody has a control message for a worker: JSON text of an object. ``Answered`` has the worker's reply.

    One that asks for no reply is answered as soon as it was sent.
    """

    worker: str
    payload: bytes
    ticket: int


class Retry(msgspec.Struct, frozen=True):
    """A dead letter is to be given to its worker once more: JSON text, not validated. ``Settled`` as of an input."""

    worker: str
    payload: bytes
    ticket: int


class Decided(msgspec.Struct, frozen=True):
    """Somebody has decided about an approval. ``Answered`` repeats the ticket; its error says if that does not count.

    Attributes:
        approval: its id.
        granted: whether the call may be run.
        always: whether that holds for all calls of this tool by this worker from now on.
        reason: for the caller, of one that is denied.
    """

    approval: str
    granted: bool
    ticket: int
    always: bool = False
    reason: str = ""


class Served(msgspec.Struct, frozen=True):
    """A server has done a call (see ``CallServer``).

    Attributes:
        call: its number.
        content: JSON text; ``None``: it was not done.
        error: why it was not.
    """

    call: int
    content: bytes | None
    error: str = ""


class Tap(msgspec.Struct, frozen=True):
    """Somebody wants to see what comes to these sinks, and to no others: indexes into ``Plan.sinks``.

    ``Tapped`` shows it from the next event on. No sinks: nobody looks any more.
    """

    sinks: frozenset[int]


class LookAfter(msgspec.Struct, frozen=True):
    """Somebody wants to know whether the workers that have messages still move: see ``fabric.session.pulse``."""


class TimerFired(msgspec.Struct, frozen=True):
    """The time that a ``SetTimer`` with this key asked for has come."""

    key: tuple[str, str]


class BadInput(msgspec.Struct, frozen=True):
    """Something came from the client that is no message for any input. ``detail`` says what was expected and got."""

    detail: str
    ticket: int


class OutputBroken(msgspec.Struct, frozen=True):
    """Nobody takes the output any more; ``reason`` says why."""

    reason: str


class Interrupted(msgspec.Struct, frozen=True):
    """The user sent a signal, SIGINT or SIGTERM."""

    number: int


Event: TypeAlias = (
    Start
    | Launched
    | LaunchFailed
    | Frames
    | Exited
    | Input
    | InputClosed
    | BadInput
    | OutputBroken
    | Interrupted
    | Continue
    | Asked
    | Told
    | Retry
    | Decided
    | Served
    | Tap
    | LookAfter
    | TimerFired
)


# --- Commands -----------------------------------------------------------------------------------------------------


class Record(msgspec.Struct, frozen=True):
    """Write these entries to the log of a durable session, all or none.

    Commands behind this follow from them: no command behind it may be performed before the entries are durable. The
    session itself need not wait; it may be given other events meanwhile.
    """

    entries: tuple[History, ...]


class Launch(msgspec.Struct, frozen=True):
    """Open the worker's ports, watch its process, start it, in this order: a crash at once must be seen.

    ``incarnation`` counts its processes, from 1.
    """

    worker: str
    incarnation: int = 1


class Send(msgspec.Struct, frozen=True):
    """Push a frame to a worker's input port."""

    worker: str
    port: str
    raw: bytes


class Release(msgspec.Struct, frozen=True):
    """Close the fabric's ports to a worker whose process is gone."""

    worker: str


class Signal(msgspec.Struct, frozen=True):
    """Send a signal to the worker's process group."""

    worker: str
    signal: Literal["TERM", "KILL"]


class Opened(msgspec.Struct, frozen=True):
    """Every worker is ready: input is welcome."""


class Output(msgspec.Struct, frozen=True, gc=False):
    """A message that leaves the graph.

    Attributes:
        port: name of the boundary's output.
        payload: JSON text of the port's type.
        tickets: of the inputs that it descends from.
        span_id: its id in a durable session, 8 bytes: no other output has it, and this one has it again if it is
            delivered again. Else empty.
    """

    port: str
    payload: bytes
    tickets: tuple[int, ...]
    span_id: bytes = b""


class Deliver(msgspec.Struct, frozen=True):
    """Messages leave the graph, in this order."""

    outputs: list[Output]


class Refuse(msgspec.Struct, frozen=True):
    """A message went no further. It counts as lost unless it never came in.

    Attributes:
        code: a word of the language's reference, such as ``input_type_mismatch``; ``dead_lettered`` (counted as that,
            not as lost): its worker has ended or was stopped; ``input_closed``.
        detail: what was expected and got, where.
        node: the node or boundary port that refused it.
        tickets: of the inputs that it descends from.
    """

    code: str
    detail: str
    node: str
    tickets: tuple[int, ...]


class Settled(msgspec.Struct, frozen=True):
    """Nothing of these inputs is left in the graph: all that will come of them has come. Behind it."""

    tickets: list[int]


class Answered(msgspec.Struct, frozen=True):
    """What was asked for is done, or, with an ``error``, cannot be.

    ``reply`` is what the worker said to a control message, as JSON text; ``None`` if that asks for none. ``code`` is a
    word for the error.
    """

    ticket: int
    error: str | None = None
    reply: bytes | None = None
    code: str = "not_done"


class Approval(msgspec.Struct, frozen=True):
    """A call of a tool with effects that waits until somebody approves it.

    Attributes:
        id: never used again, whatever becomes of it.
        worker, tool: who calls what.
        arguments: JSON text for people: printable characters, one line, not all of it if it is long.
        size_bytes: of the whole arguments.
        digest: of worker, tool and arguments.
        asked_s, expires_s: by the session's clock.
        in_doubt: it may have been run already: the run was stopped before anybody knew what came of it.
    """

    id: str
    worker: str
    tool: str
    arguments: str
    size_bytes: int
    digest: str
    asked_s: float
    expires_s: float
    in_doubt: bool = False


Outcome: TypeAlias = Literal["granted", "denied", "expired", "withdrawn"]
"""Why an approval does not wait any more; ``withdrawn``: its worker is gone, or has ended."""


class AskApproval(msgspec.Struct, frozen=True):
    """Ask whoever is there to approve a call: ``Decided`` is the answer. ``ApprovalOver`` follows, whoever decides."""

    approval: Approval


class ApprovalOver(msgspec.Struct, frozen=True):
    """An approval does not wait any more: ask nobody for it."""

    approval: str
    outcome: Outcome


class CallServer(msgspec.Struct, frozen=True):
    """Have a server do a call; ``Served`` tells what came of it, unless ``CancelCall`` comes before.

    Attributes:
        call: its number, below zero, and not that of another call of this session.
        server: its key in ``Plan.servers``.
        tool: as the server names it.
        arguments: JSON text, not validated.
        traceparent: the call's span, as W3C writes it; empty: nobody wants spans.
        key: by which the server may know that it gets the call once more; empty: it never will.
    """

    call: int
    server: str
    tool: str
    arguments: bytes
    traceparent: str = ""
    key: str = ""


class CancelCall(msgspec.Struct, frozen=True):
    """Nobody waits for a server's call any more."""

    call: int


DeathCause: TypeAlias = Literal["poison", "queue_full", "worker_ended", "worker_stopped", "budget"]
"""Why a message is a dead letter: it killed its worker again and again, or its worker said that it cannot be done
(``poison``); its queue was full and the policy says so; its worker has ended, or was stopped for good; the budget had
no call of a model for it."""


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that a worker was not given, or did not survive.

    Attributes:
        worker: for which it was.
        payload: JSON text.
        cause: why.
        detail: the same in words.
        attempts: how many processes of the worker were given it.
        stderr: the last lines of the last of them, of a ``poison``.
        trace_id: 16 bytes.
        tickets: of the inputs that it descends from.
        recorded: the durable session in whose log it is and the number of the entry by which it died: of no other
            letter; ``None``: of a session that is kept nowhere.
    """

    worker: str
    payload: bytes
    cause: DeathCause
    detail: str
    attempts: int
    stderr: tuple[str, ...]
    trace_id: bytes
    tickets: tuple[int, ...]
    recorded: tuple[str, int] | None = None


class Buried(msgspec.Struct, frozen=True):
    """A message is a dead letter now. It is counted; whoever keeps it may have it tried again (``Retry``)."""

    letter: DeadLetter


class Seen(msgspec.Struct, frozen=True, gc=False):
    """A message that came to a tapped sink.

    Attributes:
        sink: index into ``Plan.sinks``.
        payload: JSON text.
        trace_id: 16 bytes, the same for all that descends from one input.
    """

    sink: int
    payload: bytes
    trace_id: bytes


class Tapped(msgspec.Struct, frozen=True):
    """Messages came to tapped sinks, in this order."""

    messages: list[Seen]


class Traced(msgspec.Struct, frozen=True):
    """Something is over that is to be told as spans. Their times are those of the session's clock."""

    spans: tuple[Span, ...]


class SetTimer(msgspec.Struct, frozen=True):
    """Fire ``TimerFired(key)`` at this time of the session's clock. A second one of the same key replaces it."""

    key: tuple[str, str]
    at_s: float


class Heard(msgspec.Struct, frozen=True, gc=False):
    """Something that a worker said on an observed port.

    Attributes:
        label: the name of the port.
        topic: the worker.
        payload: JSON text.
    """

    label: str
    topic: str
    payload: bytes


class Observed(msgspec.Struct, frozen=True):
    """Workers said something on observed ports, in this order. It is no message: nothing waits for it, none is lost."""

    heard: list[Heard]


Level: TypeAlias = Literal["debug", "info", "warning", "error"]


class Note(msgspec.Struct, frozen=True):
    """Log one line: an event name in the past tense, and its fields."""

    level: Level
    event: str
    fields: dict[str, Any]


class LossReport(msgspec.Struct, frozen=True):
    """What did not come out.

    Attributes:
        lost: messages that were in the graph when it was ended by force or failure, or refused on their way.
        dead_lettered: messages for a worker that had ended.
        unpaired: messages left in a barrier without a partner.
        unfinished: conversations on session wires that the end has cut short: what was to be said next, in words.
        rejected: frames from workers that were refused, by reason. Those that may have been messages are lost, too.
    """

    lost: int = 0
    dead_lettered: int = 0
    unpaired: int = 0
    unfinished: tuple[str, ...] = ()
    rejected: dict[str, int] = {}


class Finish(msgspec.Struct, frozen=True):
    """The session is over; no process of it is left. The last command.

    Attributes:
        exit_code: 0 also if messages stayed unpaired or conversations unfinished; 6 if all went well but for approvals.
        error: ``None``, or a pair of code and message.
        usage: what calls of models took, by worker and model.
        budget: how it stands, if there is one.
    """

    exit_code: int
    losses: LossReport
    error: tuple[str, str] | None = None
    usage: tuple[Usage, ...] = ()
    budget: BudgetStatus | None = None


Command: TypeAlias = (
    Record
    | Launch
    | Send
    | Release
    | Signal
    | Opened
    | Deliver
    | Refuse
    | Settled
    | Answered
    | AskApproval
    | ApprovalOver
    | CallServer
    | CancelCall
    | Buried
    | Tapped
    | Observed
    | Traced
    | SetTimer
    | Note
    | Finish
)
