"""What clients and a service say to each other: one JSON object a line, over a local socket.

-> {"id": 1, "port": "input", "msg": VALUE}          port may be left out where there is one input
<- {"id": 1, "accepted": true}
<- {"id": 1, "port": "output", "output": VALUE}      for each output that descends from it
<- {"id": 1, "error": TEXT, "code": WORD, "node": NAME}  if it, or something that came of it, was refused
<- {"id": 1, "settled": true}                        nothing more will come of it

-> {"id": 1, "key": "K", "msg": VALUE}               of a session that is kept: a message with this key is done once;
                                                     who sends it again gets the answers that he missed

-> {"id": 1, "do": "status"}
<- {"id": 1, "status": {"phase": "ready", "workers": [...], "inputs": {...}, "outputs": {...}}}
-> {"id": 1, "do": "drain", "grace_s": 10}           as the first Ctrl-C; again: nothing more
-> {"id": 1, "do": "insist"}                         as the next Ctrl-C
<- {"id": 1, "accepted": true}

-> {"id": 1, "do": "restart", "worker": NAME}        or "stop", or "start"
<- {"id": 1, "accepted": true}
<- {"id": 1, "worker": NAME, "activity": "ready", "pid": 4711}   when it is so, or
<- {"id": 1, "error": TEXT, "code": "not_done", "node": NAME}    if it cannot be

-> {"id": 1, "do": "tell", "worker": NAME, "msg": {"pause": true}}     a control message
<- {"id": 1, "accepted": true}
<- {"id": 1, "worker": NAME, "reply": {"kind": "pause_ack"}}     without a reply, if it asks for none; or an error

-> {"id": 1, "do": "retry", "letter": 17, "worker": NAME, "msg": VALUE}   a dead letter, once more
<- {"id": 1, "accepted": true}
<- {"id": 1, "port": "output", "output": VALUE}      as of any message; errors too
<- {"id": 1, "settled": true, "letter": 17, "came_of_it": "done"}      it is no dead letter any more, and not on disk
<- {"id": 1, "settled": true, "letter": 17, "came_of_it": "dead"}      it is one again; "refused": what came of it was

-> {"id": 1, "do": "approvals"}                      what waits for somebody to approve it
<- {"id": 1, "approvals": [{"id": "3-9f2c1a", "worker": NAME, "tool": NAME, "arguments": TEXT, "digest": HEX, ...}]}

-> {"id": 1, "do": "approve", "approval": "3-9f2c1a"}        or "deny", with "reason": TEXT; with "always": true: this
<- {"id": 1, "accepted": true}                       and all calls of the same tool by the same worker from now on
<- {"id": 1, "approval": "3-9f2c1a"}                 it counts, or
<- {"id": 1, "error": TEXT, "code": "already_answered", "approval": ...}  it does not; "unknown_approval"

-> {"id": 1, "do": "stuck"}
<- {"id": 1, "stuck": [{"links": [{"kind": "worker", "name": NAME, "text": TEXT, "cause": "silent", ...}]}]}

-> {"id": 1, "do": "tail", "channels": ["a→b"]}      until the client hangs up; no channels: all
<- {"id": 1, "accepted": true}
<- {"id": 1, "channel": "a.output→b.input", "msg": VALUE, "trace": HEX}
<- {"id": 1, "left_out": 120}                        messages that this client was too slow for
"""

from __future__ import annotations

__all__ = ["Answer", "PendingApproval", "Request", "Status", "WorkerStatus", "read_answer", "read_request", "write"]

from typing import Annotated, Literal, TypeVar

import msgspec

from fabric.errors import ValueRejected
from fabric.runtime.retries import Settlement
from fabric.runtime.services import Phase
from fabric.session.budget import BudgetStatus
from fabric.session.causes import Chain
from fabric.session.snapshot import Activity, QueueSnapshot, WorkerSnapshot
from fabric.session.usage import Usage
from fabric.wire.lines import one_line
from fabric.wire.payload import encode_json

_T = TypeVar("_T")


class Request(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A message for the service, or something to do. ``id`` is of the client's choice; answers repeat it."""

    id: int
    msg: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    port: str | None = None
    do: Literal[
        "send",
        "status",
        "drain",
        "insist",
        "stop",
        "start",
        "restart",
        "tail",
        "tell",
        "retry",
        "stuck",
        "approvals",
        "approve",
        "deny",
    ] = "send"
    grace_s: Annotated[float, msgspec.Meta(ge=0)] | None = None
    worker: str = ""
    channels: tuple[str, ...] = ()
    letter: int = 0
    approval: str = ""
    always: bool = False
    reason: str = ""
    key: str = ""


class PendingApproval(msgspec.Struct, frozen=True):
    """A call that waits for approval, as its service shows it; see :class:`fabric.session.events.Approval`."""

    id: str
    worker: str
    tool: str
    arguments: str
    size_bytes: int
    digest: str
    age_s: float
    expires_in_s: float
    in_doubt: bool = False


class WorkerStatus(WorkerSnapshot, frozen=True):
    """One worker, as seen by its service.

    Attributes:
        still_s: how long ago it last took a message or gave a sign of life.
        waits_on: where the next message of an idle one has to come from; of one that has called tools: those, and the
            approvals that they wait for.
        oldest_age_s: of the oldest message that waits for it or is with it.
        starts_in_s: until it is started again, if it has crashed.
    """

    still_s: float = 0.0
    waits_on: tuple[str, ...] = ()
    oldest_age_s: float | None = None
    starts_in_s: float | None = None


class QueueStatus(QueueSnapshot, frozen=True):
    """The queue of several replicas, as seen by their service.

    Attributes:
        oldest_age_s: of the oldest message that waits to be dealt.
    """

    oldest_age_s: float | None = None


class Status(msgspec.Struct, frozen=True):
    """How a service stands.

    Attributes:
        phase: how far it has come.
        workers: in starting order.
        inputs, outputs: messages that came in and went out, by boundary port.
        barriers: messages that wait in each slot, by barrier and port.
        lost, dead_lettered, unpaired: as in the loss report, so far.
        called, calls_failed: calls of tools so far, and those that were answered with an error.
        rejected: frames that were refused, by worker and reason.
        channels: messages that came through each channel, by its name as in :mod:`fabric.plan.channels`.
        ports: messages that left each output port of the graph, by ``node.port``, where that can be told.
        monitors: what is to be said next on each session wire on which a conversation is under way, in words.
        usage: what calls of models took, by worker and model.
        budget: how it stands, if there is one.
        priced_by: where the prices come from, in words.
        queues: of workers that have several replicas.
    """

    phase: Phase
    workers: tuple[WorkerStatus, ...] = ()
    inputs: dict[str, int] = {}
    outputs: dict[str, int] = {}
    barriers: dict[str, dict[str, int]] = {}
    lost: int = 0
    dead_lettered: int = 0
    unpaired: int = 0
    called: int = 0
    calls_failed: int = 0
    rejected: dict[str, dict[str, int]] = {}
    channels: dict[str, int] = {}
    ports: dict[str, int] = {}
    monitors: dict[str, str] = {}
    usage: tuple[Usage, ...] = ()
    budget: BudgetStatus | None = None
    priced_by: str = ""
    queues: tuple[QueueStatus, ...] = ()


class Answer(msgspec.Struct, omit_defaults=True):
    """One of the things that an answer may say."""

    id: int = 0
    accepted: bool = False
    port: str = ""
    output: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: str = ""
    code: str = ""
    node: str = ""
    settled: bool = False
    status: Status | msgspec.UnsetType = msgspec.UNSET
    worker: str = ""
    activity: Activity | msgspec.UnsetType = msgspec.UNSET
    pid: int | None = None
    channel: str = ""
    msg: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    trace: str = ""
    left_out: int = 0
    reply: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    letter: int = 0
    came_of_it: Settlement | msgspec.UnsetType = msgspec.UNSET
    stuck: tuple[Chain, ...] | msgspec.UnsetType = msgspec.UNSET
    approval: str = ""
    approvals: tuple[PendingApproval, ...] | msgspec.UnsetType = msgspec.UNSET


def write(message: Request | Answer) -> bytes:
    """Return the line, with its end."""
    return one_line(encode_json(message)) + b"\n"


def read_request(line: bytes) -> Request:
    """Read a line of a client. Raises ValueRejected: it is no request."""
    request = _read(line, _request)
    if (request.do in ("send", "tell", "retry")) is (request.msg is msgspec.UNSET):
        got = "neither" if request.msg is msgspec.UNSET else "both"
        raise ValueRejected("$", "either a message or something else to do", got)
    return request


def read_answer(line: bytes) -> Answer:
    """Read a line of a service. Raises ValueRejected: it is no answer."""
    return _read(line, _answer)


_request = msgspec.json.Decoder(Request)
_answer = msgspec.json.Decoder(Answer)


def _read(line: bytes, decoder: msgspec.json.Decoder[_T]) -> _T:
    try:
        return decoder.decode(line)
    except RecursionError:
        raise ValueRejected("$", "one JSON object", "a value nested too deeply") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise ValueRejected("$", "one JSON object", str(error)) from None
