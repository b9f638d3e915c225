"""Calls of tools with effects, which wait until somebody approves them.

    asked       decided for good already: that; nobody to ask: denied; too many wait: refused; else: it waits
    decided     granted or denied, this call, or all of this tool by this worker from now on
    hurry       the session is to end: from now on "in time" is soon
    late        nobody has decided in time: denied
    withdrawn   nobody waits for the call any more

A call that is in doubt may have been run already, by a run that was stopped. It waits, too, whatever was decided about
its tool beforehand: that was not about doing it twice.

An approval is of one call: a worker, a tool, and its arguments, which are what the tool then gets: the text that is
shown is made of the text that is run. Its id is never used again, in this session or another: a part of it is drawn by
chance, so that a decision that comes late meets nothing else.
"""

from __future__ import annotations

__all__ = [
    "ARGUMENTS_CHARS_MAX",
    "PENDING_MAX",
    "TIMER",
    "Approvals",
    "Denied",
    "Granted",
    "Verdict",
    "Waits",
    "canonical",
    "describe",
]

import hashlib
import json
import random
from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from fabric.session.deadlines import Deadlines
from fabric.session.events import Approval, ApprovalOver, AskApproval, Level, Outcome
from fabric.session.outbox import Outbox
from fabric.session.settings import Settings
from fabric.wire.payload import decode_json, encode_json

PENDING_MAX = 16
"""Calls of one worker that may wait for approval. Nobody reads more than that with care."""

ARGUMENTS_CHARS_MAX = 2_000
"""Of arguments that are shown: what fits on a screen. Of longer ones both ends are, and how much is left out."""

OUTCOMES_KEPT = 1_000
"""Decisions that are remembered, to tell a second answer from a wrong id."""

ANSWERS = {"y": (True, False), "yes": (True, False), "n": (False, False), "no": (False, False)}
ANSWERS |= {"a": (True, True), "always": (True, True)}
"""What a person may say: whether a call may be run, and whether that holds for all calls of its tool by its worker."""

TIMER = ("calls", "approval")


class Granted(msgspec.Struct, frozen=True):
    """A call may be run."""

    call: int


class Denied(msgspec.Struct, frozen=True):
    """A call may not be run; ``why`` is for the caller."""

    call: int
    why: str


class Waits(msgspec.Struct, frozen=True):
    """Nobody has decided yet."""


Verdict: TypeAlias = Granted | Denied


class Approvals:
    """The approvals of one session.

    Args:
        settings: who is asked, and for how long.
        rng: source of a part of the ids.
        out: takes what is commanded and noted.

    Attributes:
        denied: calls that were refused for lack of approval.
    """

    def __init__(self, settings: Settings, rng: random.Random, out: Outbox) -> None:
        self.denied = 0
        self._policy = settings.approval
        self._policy_in_doubt = settings.in_doubt
        self._timeout_s = settings.approval_timeout_s
        self._rng = rng
        self._out = out
        self._count = 0
        self._pending: dict[str, tuple[int, Approval]] = {}
        self._always: dict[tuple[str, str], tuple[bool, str]] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._told: set[tuple[str, str, str]] = set()
        self._deadlines = Deadlines(TIMER, settings.approval_timeout_s)

    @property
    def pending(self) -> tuple[Approval, ...]:
        """What waits, the oldest first."""
        return tuple(approval for _, approval in self._pending.values())

    @property
    def asks(self) -> bool:
        """Whether a call needs more than to be noticed."""
        return self._policy != "grant"

    def asked(
        self, call: int, worker: str, tool: str, arguments: bytes, now_s: float, *, in_doubt: bool = False
    ) -> Verdict | Waits:
        """A worker calls a tool with effects.

        Args:
            call: its number.
            worker, tool: who calls what.
            arguments: as :func:`canonical` gives them.
            now_s: by the session's clock.
            in_doubt: whether it may have been run already.
        """
        if (worker, tool) in self._always and not (in_doubt and self._always[worker, tool][0]):
            granted, reason = self._always[worker, tool]
            return self._verdict(call, worker, tool, granted=granted, reason=reason, by="always")
        policy, flag = (self._policy_in_doubt, "--approve-in-doubt") if in_doubt else (self._policy, "--auto-approve")
        if policy == "grant":
            return self._verdict(call, worker, tool, granted=True, reason="", by="settings")
        if policy == "refuse":
            why = f"there is nobody to approve it; who runs this can allow it with {flag}"
            return self._refuse(call, worker, tool, why, by="nobody", in_doubt=in_doubt)
        if sum(approval.worker == worker for approval in self.pending) >= PENDING_MAX:
            return Denied(call, f"{PENDING_MAX} of your calls wait for approval: call {tool} again when one is decided")
        approval = self._approval(worker, tool, arguments, now_s, in_doubt=in_doubt)
        self._pending[approval.id] = call, approval
        fields = {"worker": worker, "tool": tool, "id": approval.id, "digest": approval.digest}
        self._out.note("info", "tool.approval_requested", **fields, expires_s=self._timeout_s)
        self._out.do(AskApproval(approval), *self._deadlines.begin(call, now_s))
        return Waits()

    def _approval(self, worker: str, tool: str, arguments: bytes, now_s: float, *, in_doubt: bool) -> Approval:
        self._count += 1
        return Approval(
            id=f"{self._count}-{self._rng.getrandbits(24):06x}",
            worker=worker,
            tool=tool,
            arguments=_shown(arguments.decode()),
            size_bytes=len(arguments),
            digest=hashlib.sha256(encode_json([worker, tool]) + arguments).hexdigest(),
            asked_s=now_s,
            expires_s=now_s + self._timeout_s,
            in_doubt=in_doubt,
        )

    def decided(self, id_: str, *, granted: bool, always: bool, reason: str) -> list[Verdict] | tuple[str, str]:
        """Somebody has decided. Return what follows for which calls; or why it does not count, and a code for that."""
        if id_ not in self._pending:
            if id_ in self._outcomes:
                return f"approval {id_} is already answered: {_WORDS[self._outcomes[id_]]}", "already_answered"
            return f"there is no approval {id_}; fabric approve lists what waits", "unknown_approval"
        _, approval = self._pending[id_]
        who = approval.worker, approval.tool
        ids = [id_]
        if always:
            self._always[who] = granted, reason
            alike = [other for other, (_, found) in self._pending.items() if (found.worker, found.tool) == who]
            ids = [other for other in alike if other == id_ or not (granted and self._pending[other][1].in_doubt)]
        verdicts = []
        for other in ids:
            doubtful = self._pending[other][1].in_doubt
            call = self._over(other, "granted" if granted else "denied")
            by = "always" if always else "answer"
            verdicts.append(
                self._verdict(call, *who, granted=granted, reason=reason, by=by, id_=other, in_doubt=doubtful)
            )
        return verdicts

    def hurry(self, timeout_s: float, now_s: float) -> None:
        """The session is to end: nobody waits for decisions any longer than this."""
        self._timeout_s = min(self._timeout_s, timeout_s)
        for id_, (call, approval) in self._pending.items():
            expires_s = min(approval.expires_s, now_s + timeout_s)
            self._pending[id_] = call, msgspec.structs.replace(approval, expires_s=expires_s)
        self._out.do(*self._deadlines.shorten(timeout_s, now_s))

    def timer(self, now_s: float) -> list[Verdict]:
        """The time asked for is over: what has waited for too long is denied."""
        calls, commands = self._deadlines.timer(now_s)
        late = [approval for call, approval in self._pending.values() if call in calls]
        why = f"nobody decided within {self._timeout_s:g} s"
        verdicts: list[Verdict] = [
            self._refuse(
                self._over(found.id, "expired"),
                found.worker,
                found.tool,
                why,
                by="time",
                id_=found.id,
                in_doubt=found.in_doubt,
            )
            for found in late
        ]
        self._out.do(*commands)
        return verdicts

    def withdrawn(self, calls: Iterable[int]) -> None:
        """Nobody waits for these calls any more."""
        gone = set(calls)
        for id_ in [id_ for id_, (call, _) in self._pending.items() if call in gone]:
            self._over(id_, "withdrawn")

    def _verdict(
        self,
        call: int,
        worker: str,
        tool: str,
        *,
        granted: bool,
        reason: str,
        by: str,
        id_: str = "",
        in_doubt: bool = False,
    ) -> Verdict:
        if not granted:
            why = f"it was denied{f': {reason}' if reason else ''}"
            return self._refuse(call, worker, tool, why, by=by, id_=id_, in_doubt=in_doubt)
        self._out.note("info", "tool.approved", worker=worker, tool=tool, id=id_, by=by)
        return Granted(call)

    def _refuse(
        self, call: int, worker: str, tool: str, why: str, *, by: str, id_: str = "", in_doubt: bool = False
    ) -> Denied:
        self.denied += 1
        told = (worker, tool, by) in self._told  # a model may try again and again
        self._told.add((worker, tool, by))
        level: Level = "debug" if told and not id_ else "warning"
        self._out.note(level, "tool.denied", worker=worker, tool=tool, id=id_, by=by, reason=why)
        what = "is in doubt (it may have been run already) and was" if in_doubt else "has effects and was"
        return Denied(call, f"{tool} {what} not approved: {why}")

    def _over(self, id_: str, outcome: Outcome) -> int:
        """An approval does not wait any more; return its call."""
        call, _ = self._pending.pop(id_)
        self._deadlines.done(call)
        self._outcomes[id_] = outcome
        if len(self._outcomes) > OUTCOMES_KEPT:
            del self._outcomes[next(iter(self._outcomes))]
        self._out.do(ApprovalOver(id_, outcome))
        return call


_WORDS: dict[Outcome, str] = {
    "granted": "it was granted",
    "denied": "it was denied",
    "expired": "nobody decided in time",
    "withdrawn": "its worker does not wait for it any more",
}


def describe(approval: Approval) -> str:
    """Say what is asked for, in one line."""
    asks = "asks to call once more, though it may have been run already," if approval.in_doubt else "asks to call"
    return f"approval {approval.id}: worker '{approval.worker}' {asks} {approval.tool} with {approval.arguments}"


def canonical(arguments: bytes) -> bytes:
    """Return arguments as the one JSON text that stands for them: no space, keys in order, none twice.

    Raises:
        ValueRejected: they are no JSON.
    """
    return _encode_sorted(decode_json(arguments))


_encode_sorted = msgspec.json.Encoder(order="sorted").encode


def _shown(arguments: str) -> str:
    """Return JSON text that a terminal shows as it is: what cannot be seen, or turns text around, is escaped."""
    text = "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in arguments)
    left_out = len(text) - ARGUMENTS_CHARS_MAX
    if left_out <= 0:
        return text
    half = ARGUMENTS_CHARS_MAX // 2
    return f"{text[:half]} [... {left_out} characters left out ...] {text[-half:]}"
