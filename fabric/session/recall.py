"""What is known of the turns that are under way: what models have answered, which tools were called, what came of it.

    answer of a model           told with the next call of a tool, and recorded with that
    call of a tool              an intent, before it is run; the response, before it goes back
    the worker is gone          its message goes to another process, which gets the answers, makes the same calls,
                                and gets the same responses: no model is paid again, no tool is run again
    an intent that waits        for its approval: it was not run
    an intent, no response      in doubt: it may have been run. Perhaps it still is, then its result is waited for
    the turn is recorded        nothing of this is needed any more

It is fed with the entries of the run's log, when they are read and when they are made. So a process that crashes and a
run that is killed as a whole come to the same.

A worker that does not give its calls the ids that they had before is understood, too: the first recorded call of the
message that has the same tool and arguments, and that this process has not made yet, is the one that it makes.
"""

from __future__ import annotations

__all__ = ["Recall", "RecordedCall"]

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping

import msgspec

from fabric.errors import ValueRejected
from fabric.session.approvals import canonical
from fabric.session.history import Called, History, Intended, Paid
from fabric.session.outbox import Outbox
from fabric.wire.calls import Request
from fabric.wire.payload import encode_json
from fabric.wire.recall import ModelAnswer, read_answers

KEY_CHARS = 32
"""Of a key, which are hexadecimal digits."""


class RecordedCall:
    """A call of a tool that is in the log, or about to be.

    Attributes:
        intent: its entry, the last of them.
        key: by which the tool may know that it gets it once more: the same in every process and every run.
        arguments: in the one text that stands for them, however their keys are ordered.
        written: whether the entry is in the log.
        response: to the caller, JSON text; ``None``: there is none yet.
        made_by: the worker whose process has made it; empty: that is gone.
    """

    __slots__ = ("arguments", "intent", "key", "made_by", "response", "written")

    def __init__(self, intent: Intended, key: str, made_by: str, *, written: bool = False) -> None:
        self.intent = intent
        self.key = key
        self.made_by = made_by
        self.arguments = _one_text(bytes(intent.arguments))
        self.written = written
        self.response: bytes | None = None


class _Turn:
    """A turn that is under way."""

    __slots__ = ("answers", "calls", "paid", "untold", "worker")

    def __init__(self, worker: str) -> None:
        self.worker = worker
        self.paid: Counter[bytes] = Counter()
        self.answers: tuple[ModelAnswer, ...] = ()
        self.untold: tuple[ModelAnswer, ...] = ()
        """Those of the answers that are in no entry yet."""
        self.calls: list[RecordedCall] = []

    def unanswered(self, call: bytes) -> RecordedCall | None:
        """Return the call with this id that has no response."""
        return next((one for one in self.calls if one.response is None and bytes(one.intent.call) == call), None)


class Recall:
    """The turns under way of one durable session.

    Args:
        session: its id, of which the keys of its calls are made.
        nodes: the node that each worker runs.
        record: takes what happens; before all that is commanded behind it.
        out: takes what is noted.
    """

    def __init__(self, session: str, nodes: Mapping[str, str], record: Callable[[History], None], out: Outbox) -> None:
        self._session = session
        self._nodes = nodes
        self._record = record
        self._out = out
        self._turns: dict[tuple[str, str], _Turn] = {}

    # --- what is known ---

    @property
    def under_way(self) -> int:
        """How many turns are under way of which something is known."""
        return len(self._turns)

    def of(self, node: str, message: str) -> tuple[ModelAnswer, ...]:
        """Return what models have answered for a message that is under way, in order."""
        turn = self._turns.get((node, message))
        return turn.answers if turn is not None else ()

    def made(self, worker: str, message: str, call: bytes, tool: str, arguments: bytes) -> RecordedCall | None:
        """A worker calls a tool: return the recorded call that this is, if it is one. From now on it is this one's.

        Args:
            worker: the caller.
            message: the id of what it is at.
            call: its id of the call, JSON text.
            tool: as it was recorded.
            arguments: JSON text.
        """
        turn = self._turns.get((self._nodes[worker], message))
        if turn is None:
            return None
        arguments = _one_text(arguments)
        free = (one for one in turn.calls if not one.made_by)
        alike = [one for one in free if one.intent.tool == tool and one.arguments == arguments]
        found = next((one for one in alike if bytes(one.intent.call) == call), alike[0] if alike else None)
        if found is not None:
            found.made_by = worker
        return found

    @property
    def untold(self) -> tuple[Paid, ...]:
        """What was paid for the answers that are known, as far as no entry tells of it: telemetry has its own way."""
        found = []
        for (_, message), turn in self._turns.items():
            paid = turn.paid.copy()
            for answer in turn.answers:
                paid[bytes(answer.usage)] -= 1
                if paid[bytes(answer.usage)] < 0:
                    found.append(Paid(turn.worker, answer.usage, message))
        return tuple(found)

    @property
    def in_doubt(self) -> tuple[RecordedCall, ...]:
        """Calls without a response whose caller is gone."""
        calls = (one for turn in self._turns.values() for one in turn.calls)
        return tuple(one for one in calls if one.response is None and not (one.made_by or one.intent.waits))

    # --- what happens ---

    def relived(self, entry: History, session: str = "") -> None:
        """Take note of an entry of the log. Who made it is gone.

        Args:
            entry: what has happened.
            session: in whose log it is, if this one has inherited it: then the call is that one's, with its key.
        """
        match entry:
            case Intended(worker, message, call, answer=answer):
                turn = self._turn(worker, message)
                turn.answers = _continued(turn.answers, read_answers(bytes(answer)) or ())
                waited = turn.unanswered(bytes(call))
                if waited is not None and waited.intent.waits:
                    waited.intent = entry
                else:
                    turn.calls.append(RecordedCall(entry, self._key(entry, session or self._session), "", written=True))
            case Called(worker, message, call, response):
                under_way = self._turns.get((self._nodes[worker], message))
                called = under_way.unanswered(bytes(call)) if under_way is not None else None
                if called is not None:
                    called.response = bytes(response)
            case Paid(worker, usage, message) if message:
                self._turn(worker, message).paid[bytes(usage)] += 1
            case _:
                pass

    def over(self, node: str, message: str) -> None:
        """A turn is in the log, or its message is dead: nothing of it is needed any more."""
        self._turns.pop((node, message), None)

    def gone(self, worker: str) -> None:
        """The process of a worker is gone: the next one makes its calls."""
        for turn in self._turns.values():
            for recorded in turn.calls:
                if recorded.made_by == worker:
                    recorded.made_by = ""

    # --- what is recorded ---

    def told(self, worker: str, message: str, answers: bytes) -> None:
        """A worker tells with a call what models have answered: JSON text. It is recorded with the call.

        Args:
            worker: the caller.
            message: the id of that for which it calls.
            answers: what it tells.
        """
        told = read_answers(answers)
        if told:
            turn = self._turn(worker, message)
            turn.untold = (*turn.untold, *told)
            turn.answers = _continued(turn.answers, told)
        elif told is None:
            self._out.note("warning", "recall.misread", worker=worker, detail="these are no answers of a model")

    def planned(self, worker: str, message: str, request: Request) -> RecordedCall:
        """Return a call as it is to be recorded. ``message``: the id of that for which it is made."""
        intent = Intended(worker, message, msgspec.Raw(request.id), request.name, msgspec.Raw(request.arguments))
        return RecordedCall(intent, self._key(intent, self._session), worker)

    def intended(self, call: RecordedCall, *, waits: bool = False) -> None:
        """A call is about to be run; ``waits``: as soon as it is approved."""
        self._record(self._written(call, waits=waits))

    def answered(self, call: RecordedCall, response: bytes) -> None:
        """The response to a call is about to go back. A call that was never run is recorded together with it."""
        call.response = response
        intent = call.intent
        came = Called(intent.worker, intent.message, intent.call, msgspec.Raw(response))
        if not call.written:
            self._record(self._written(call, waits=False))
            self._record(came)
        elif (self._nodes[intent.worker], intent.message) in self._turns:  # else nobody will ever ask for it
            self._record(came)

    def _written(self, call: RecordedCall, *, waits: bool) -> Intended:
        """Return the entry of a call that is being written, with what is to be told with it."""
        intent = call.intent
        turn = self._turn(intent.worker, intent.message)
        if not call.written:
            turn.calls.append(call)
        answer = msgspec.Raw(encode_json(turn.untold) if turn.untold else b"null")
        turn.untold = ()
        call.written = True
        call.intent = msgspec.structs.replace(intent, answer=answer, waits=waits)
        return call.intent

    def _turn(self, worker: str, message: str) -> _Turn:
        return self._turns.setdefault((self._nodes[worker], message), _Turn(worker))

    def _key(self, intent: Intended, session: str) -> str:
        arguments = _one_text(bytes(intent.arguments)).decode()
        said = [
            session,
            self._nodes[intent.worker],
            intent.message,
            bytes(intent.call).decode(),
            intent.tool,
            arguments,
        ]
        named = encode_json(said)
        return hashlib.sha256(named).hexdigest()[:KEY_CHARS]


def _continued(answers: tuple[ModelAnswer, ...], told: tuple[ModelAnswer, ...]) -> tuple[ModelAnswer, ...]:
    """Return all answers. What is told once more was asked once more: what followed from the first is void."""
    return (*(one for one in answers if one.n < told[0].n), *told) if told else answers


def _one_text(arguments: bytes) -> bytes:
    try:
        return canonical(arguments)
    except ValueRejected:
        return arguments
