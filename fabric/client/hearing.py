"""What a session tells: to its callers by an exchange, and to whoever keeps logs by :mod:`logging`.

Lines of workers go to ``fabric.workers`` as ``INFO``, notes to ``fabric.session`` at their level. What a failure is
made of is kept for the error that is raised.
"""

from __future__ import annotations

__all__ = ["Hearing"]

import logging
from collections import deque
from collections.abc import Callable, Sequence

from fabric.client.exchange import Ending, Exchange
from fabric.errors import PipelineError, RunError
from fabric.session.events import Answered, Approval, DeadLetter, Finish, Heard, Note, Outcome, Output, Refuse, Seen
from fabric.wire.payload import encode_json

LINES_KEPT = 50
"""Of its workers and of what was told, the last: for the error."""

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

_workers = logging.getLogger("fabric.workers")
_session = logging.getLogger("fabric.session")


class Hearing:
    """Client and report of one session; see :mod:`fabric.runtime.coordinator`.

    Args:
        exchange: where callers are.
        ask: takes calls that wait for approval.
        ask_no_more: takes the ids of those that do not any more.
        overflow: called when more came out than can be kept.
    """

    def __init__(
        self,
        exchange: Exchange,
        ask: Callable[[Approval], None],
        ask_no_more: Callable[[str], None],
        overflow: Callable[[], None],
    ) -> None:
        self._exchange = exchange
        self._ask = ask
        self._ask_no_more = ask_no_more
        self._overflow = overflow
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._first: tuple[str, str] | None = None
        self._denied = ""
        self._letters = 0
        self._dropped = 0

    # --- the client ---

    def opened(self) -> None:
        """Let callers in."""
        self._exchange.open()

    def delivered(self, outputs: Sequence[Output]) -> None:
        """Give them to those who wait for them, or who read."""
        if not self._exchange.deliver(outputs):
            self._overflow()

    def refused(self, refusal: Refuse) -> None:
        """Tell whoever waits for it. The program ends of the first; readers are told then, behind what comes before."""
        if refusal.code == "dead_lettered":  # it was buried, and so told of
            return
        detail = refusal.detail + (f" (at {refusal.node})" if refusal.node else "")
        if self._first is None and refusal.code != "input_closed":
            self._first = detail, refusal.code
        self._exchange.refuse(refusal, PipelineError(detail, 1, self.stderr, refusal.code))

    def buried(self, letter: DeadLetter) -> None:
        """Tell whoever waits for it, else whoever reads: the program goes on, and nobody keeps it here."""
        detail = f"worker '{letter.worker}': a dead letter: {letter.detail}"
        self._letters += 1
        self._first = self._first or (detail, "dead_lettered")
        self._exchange.refuse(letter, PipelineError(detail, 0, self.stderr, "dead_lettered"), tell=True)

    def answered(self, answer: Answered) -> None:
        """What was decided of an approval counts, or comes too late."""

    def asked(self, approval: Approval) -> None:
        """Ask whoever approves."""
        self._ask(approval)

    def asked_no_more(self, approval: str, outcome: Outcome) -> None:
        """Whoever approves need not answer any more."""
        self._ask_no_more(approval)

    def tapped(self, messages: Sequence[Seen]) -> None:
        """Nobody looks at channels here."""

    def observed(self, heard: Sequence[Heard]) -> None:
        """Keep it for those who want to hear it, as far as there is room."""
        dropped = self._exchange.hear(heard)
        if dropped and not self._dropped:
            _session.warning("side.dropped: nobody reads what workers tell of their work; the oldest is dropped")
        self._dropped += dropped

    def settled(self, tickets: Sequence[int]) -> None:
        """Those who wait for all that comes of a message have it."""
        self._exchange.settle(tickets)

    # --- the report ---

    def noted(self, note: Note) -> None:
        """Log it."""
        if note.event == "tool.denied" and not self._denied and note.fields.get("by") not in ("answer", "always"):
            self._denied = str(note.fields.get("reason") or note.fields.get("tool") or "")
        level = LEVELS[note.level]
        if note.event == "session.failed":  # the error that is raised says so
            level = logging.DEBUG
        elif note.level == "error":
            self._lines.append(_words(note))
        if _session.isEnabledFor(level):
            _session.log(level, "%s", _words(note))

    def worker_wrote(self, worker: str, line: str) -> None:
        """Log it."""
        self._lines.append(line)
        _workers.info("%s: %s", worker, line)

    # --- the end ---

    @property
    def stderr(self) -> str:
        """The last lines."""
        return "\n".join(self._lines)

    def ending(self, finish: Finish, cause: BaseException | None = None) -> Ending:
        """Return how it ended, for its callers. What the caller himself has denied is no failure.

        Args:
            finish: what the session says.
            cause: what the caller's function raised that was asked for approval.
        """
        code = finish.exit_code
        if self._dropped:
            _session.warning("side.dropped: %d in all", self._dropped)
        if code == 0 or (code == 6 and finish.error is None and not self._denied and cause is None):
            return Ending(code)
        failure = self._failure(finish, cause)
        if not self._exchange.opened:
            error = RunError(failure[0], code)
            error.code = failure[1]
            return Ending(code, failure, self.stderr, error)
        lost, letters = finish.losses.lost, finish.losses.dead_lettered
        told = code == 5 and not lost and letters == self._letters
        return Ending(code, failure, self.stderr, cause=cause, told_one_by_one=told)

    def _failure(self, finish: Finish, cause: BaseException | None) -> tuple[str, str]:
        if finish.error is not None:
            word, message = finish.error
            return message, word
        if self._first is not None and finish.exit_code != 6:
            return self._first
        if finish.exit_code == 6:
            why = self._denied
            if cause is not None:
                why = f"the function that was asked raised {type(cause).__name__}: {cause}"
            return f"a call of a tool was not approved: {why}", "not_approved"
        lost, dead = finish.losses.lost, finish.losses.dead_lettered
        return f"not everything came out: {lost} messages lost, {dead} dead letters", "lost"


def _words(note: Note) -> str:
    fields = {
        key: value.decode(errors="replace") if isinstance(value, bytes) else value for key, value in note.fields.items()
    }
    return f"{note.event} {encode_json(fields).decode()}" if fields else note.event
