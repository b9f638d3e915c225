"""A budget over all that call models: reserved before each attempt, settled after it.

    reserve   granted, granted less, refused, or to wait until others have settled
    settle    what was used counts from now on; the rest comes back, and those who wait are looked at again, in order
    gone      what a worker had reserved counts in full: nobody knows what it used
    close     nothing is granted any more, to nobody

What is reserved never exceeds what is left. So no limit is exceeded as long as no call uses more than was reserved for
it: an attempt is one call, a provider keeps to ``max_tokens``, and a prompt is estimated too high rather than too low.
If one does use more, it counts.

Who waits, waits in one row. A small reservation does not overtake a large one, which might else wait for ever. Nobody
waits unless something is reserved, and everything that is reserved is settled by its worker or by that one's end; so
each is answered. The first that could not be granted even a small reply if all others gave back what they have ends the
budget: it is *exhausted*, and refuses everything that comes later. Those who wait already came earlier, and what
they wait for may still come back: they are granted or refused as if nothing had happened.
"""

from __future__ import annotations

__all__ = [
    "MAX_TOKENS_LEAST",
    "RESERVATIONS_MAX",
    "Answer",
    "Budget",
    "BudgetStatus",
    "Granted",
    "Limits",
    "Refused",
    "Reserve",
]

from collections import deque
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from fabric.session.money import Rate, RateOf, Tokens, cost, cost_at_most, dollars, pico, show_usd

MAX_TOKENS_LEAST = 256
"""An answer that may have fewer tokens, of one that wants more, is not worth its prompt."""

RESERVATIONS_MAX = 64
"""Of one worker at a time: so many calls of a model nobody makes at once."""

Kind: TypeAlias = Literal["calls", "tokens", "usd"]


class Limits(msgspec.Struct, frozen=True):
    """What a session may use. ``None``: as much as it wants.

    Attributes:
        calls: attempts to call a model, those that failed as well.
        tokens: of prompts, cached ones too, and of replies.
        usd: dollars.
        wall_s: from the moment when every worker is ready.
    """

    usd: float | None = None
    tokens: int | None = None
    calls: int | None = None
    wall_s: float | None = None

    @property
    def metered(self) -> bool:
        """Whether each call of a model has to be asked for."""
        return (self.usd, self.tokens, self.calls) != (None, None, None)


class Reserve(msgspec.Struct, frozen=True):
    """A worker wants to call a model.

    Attributes:
        id: of the worker's choice; the answer repeats it.
        prompt_tokens: estimated, rather too high than too low.
        max_tokens: of the reply, at most.
        thinking_tokens: of these, that are none of the answer.
    """

    worker: str
    id: bytes
    provider: str
    model: str
    prompt_tokens: int
    max_tokens: int
    thinking_tokens: int = 0

    @property
    def least(self) -> int:
        """Fewer tokens of the reply than that are of no use."""
        return min(self.thinking_tokens + MAX_TOKENS_LEAST, self.max_tokens)


class Granted(msgspec.Struct, frozen=True):
    """It may, with so many tokens of the reply at most: perhaps fewer than it wanted."""

    worker: str
    id: bytes
    max_tokens: int


class Refused(msgspec.Struct, frozen=True):
    """It may not, now or later; ``error`` says why."""

    worker: str
    id: bytes
    error: str


Answer: TypeAlias = Granted | Refused


class BudgetStatus(msgspec.Struct, frozen=True):
    """How a budget stands.

    Attributes:
        limits: as they were set.
        calls, tokens, usd: that have been used.
        reserved_calls, reserved_tokens, reserved_usd: that are reserved and not settled.
        waiting: workers that wait for others to settle, in order.
        exhausted: why nothing is granted any more, in words; empty if it is not so.
    """

    limits: Limits
    calls: int = 0
    tokens: int = 0
    usd: float = 0.0
    reserved_calls: int = 0
    reserved_tokens: int = 0
    reserved_usd: float = 0.0
    waiting: tuple[str, ...] = ()
    exhausted: str = ""


class _Amount(NamedTuple):
    """What a call uses, or may use."""

    calls: int
    tokens: int
    usd: int

    def plus(self, other: _Amount, sign: int = 1) -> _Amount:
        return _Amount(self.calls + sign * other.calls, self.tokens + sign * other.tokens, self.usd + sign * other.usd)


_NOTHING = _Amount(0, 0, 0)


class _Least(NamedTuple):
    """Which limit leaves the least room for a reply, and how much; ``None``: as much as one wants."""

    kind: Kind
    tokens: int


class Budget:
    """What a session may use, and who uses it.

    Args:
        limits: ``wall_s`` is not looked at.
        rate_of: what models cost.

    Attributes:
        exhausted: why nothing is granted any more, in words; empty if it is not so.
    """

    def __init__(self, limits: Limits, rate_of: RateOf) -> None:
        self.exhausted = ""
        self._limits = limits
        self._limit = {
            "calls": limits.calls,
            "tokens": limits.tokens,
            "usd": None if limits.usd is None else pico(limits.usd),
        }
        self._rate_of = rate_of
        self._used = self._reserved = _NOTHING
        self._open: dict[tuple[str, bytes], tuple[Reserve, _Amount]] = {}
        self._waiting: deque[Reserve] = deque()
        self._used_by: dict[str, _Amount] = {}
        self._closed = False

    # --- how it stands ---

    def waits(self, worker: str) -> bool:
        """Whether a worker waits for others to settle."""
        return any(asked.worker == worker for asked in self._waiting)

    @property
    def status(self) -> BudgetStatus:
        """How it stands, as data."""
        used, reserved = self._used, self._reserved
        return BudgetStatus(
            self._limits,
            used.calls,
            used.tokens,
            dollars(used.usd),
            reserved.calls,
            reserved.tokens,
            dollars(reserved.usd),
            tuple(asked.worker for asked in self._waiting),
            self.exhausted,
        )

    # --- what workers say ---

    def reserve(self, asked: Reserve) -> list[Answer]:
        """A worker wants to call a model. No answer: it waits."""
        wrong = self._wrong(asked)
        if wrong is not None:
            return [Refused(asked.worker, asked.id, wrong)]
        answer = self._judge(asked, behind=len(self._waiting) > 0)
        if answer is None:
            self._waiting.append(asked)
        return [answer] if answer is not None else []

    def settle(self, worker: str, id_: bytes, used: Tokens | Literal["all"] | None) -> list[Answer] | None:
        """An attempt is over; return what others are granted because of it, or ``None`` if nothing was reserved.

        Args:
            worker: whose.
            id_: of the reservation.
            used: ``None``: nothing but the attempt; ``all``: nobody knows.
        """
        found = self._open.pop((worker, id_), None)
        if found is None:
            return None
        asked, reserved = found
        self._count(asked, reserved, used)
        return self._go_on()

    def gone(self, worker: str) -> list[Answer]:
        """A worker is gone: nobody knows what it used, and it waits for nothing."""
        for key in [key for key in self._open if key[0] == worker]:
            asked, reserved = self._open.pop(key)
            self._count(asked, reserved, "all")
        return self.deaf(worker)

    def deaf(self, worker: str) -> list[Answer]:
        """A worker hears no answers any more: it waits for none."""
        self._waiting = deque(asked for asked in self._waiting if asked.worker != worker)
        return self._go_on()

    def close(self, why: str) -> list[Answer]:
        """Grant nothing any more, not even to those who wait."""
        self.exhausted = self.exhausted or why
        self._closed = True
        return self._go_on()

    def forget(self) -> None:
        """Nobody waits any more: the session has failed."""
        self._waiting.clear()

    def used_before(self, worker: str, provider: str, model: str, used: Tokens) -> None:
        """A call was made in an earlier run of the session. What has no price now counts as tokens alone."""
        rate = self._rate_of(provider, model, used.prompt)
        amount = _Amount(1, used.prompt + used.completion, 0 if rate is None else cost(rate, used))
        self._used = self._used.plus(amount)
        self._used_by[worker] = self._used_by.get(worker, _NOTHING).plus(amount)

    # --- deciding ---

    def _wrong(self, asked: Reserve) -> str | None:
        """Say why a reservation cannot be taken, if it cannot."""
        if self.exhausted:
            return self.exhausted
        if self._limit["usd"] is not None and self._rate(asked) is None:
            return (
                f"there is no price for the model {asked.model!r} of {asked.provider!r}, and a budget in dollars is set"
            )
        own = [asked.id for worker, _ in self._open if worker == asked.worker]
        own += [one.id for one in self._waiting if one.worker == asked.worker]
        if len(own) >= RESERVATIONS_MAX:
            return f"{RESERVATIONS_MAX} of your reservations are not settled: settle one of them"
        taken = (asked.worker, asked.id) in self._open or any(
            (one.worker, one.id) == (asked.worker, asked.id) for one in self._waiting
        )
        return f"a reservation {asked.id.decode()} is not settled: give each one of its own" if taken else None

    def _judge(self, asked: Reserve, *, behind: bool) -> Answer | None:
        """Grant, refuse for good, or let it wait: also ``behind`` others, for it came later."""
        if self._closed:
            return Refused(asked.worker, asked.id, self.exhausted)
        now, then = self._room(asked, self._reserved), self._room(asked, _Amount(self._reserved.calls, 0, 0))
        if then is not None and then.tokens < asked.least:
            self.exhausted = self.exhausted or self._why(asked, then.kind)
            return Refused(asked.worker, asked.id, self.exhausted)
        if behind:
            return None
        if now is None or now.tokens >= asked.max_tokens:
            return self._grant(asked, asked.max_tokens)
        return None if self._open else self._grant(asked, now.tokens)

    def _room(self, asked: Reserve, reserved: _Amount) -> _Least | None:
        """Return how many tokens a reply may have if so much is reserved by others."""
        found = []
        taken = self._used.plus(reserved)
        calls, tokens, usd = self._limit["calls"], self._limit["tokens"], self._limit["usd"]
        if calls is not None:
            found.append(_Least("calls", -1 if taken.calls >= calls else asked.max_tokens))
        if tokens is not None:
            found.append(_Least("tokens", tokens - taken.tokens - asked.prompt_tokens))
        if usd is not None:
            rate = self._rate(asked)
            assert rate is not None, "it was refused"
            left = usd - taken.usd - cost_at_most(rate, asked.prompt_tokens, 0)
            enough = asked.max_tokens if left >= 0 else -1
            found.append(_Least("usd", left // rate.output if rate.output else enough))
        return min(found, key=lambda least: least.tokens, default=None)

    def _grant(self, asked: Reserve, max_tokens: int) -> Granted:
        rate = self._rate(asked)
        usd = 0 if rate is None else cost_at_most(rate, asked.prompt_tokens, max_tokens)
        amount = _Amount(1, asked.prompt_tokens + max_tokens, usd)
        self._reserved = self._reserved.plus(amount)
        self._open[asked.worker, asked.id] = asked, amount
        return Granted(asked.worker, asked.id, max_tokens)

    def _count(self, asked: Reserve, reserved: _Amount, used: Tokens | Literal["all"] | None) -> None:
        amount = reserved
        if used is None:
            amount = _Amount(1, 0, 0)
        elif used != "all":
            rate = self._rate_of(asked.provider, asked.model, used.prompt)
            usd = reserved.usd if rate is None else cost(rate, used)
            amount = _Amount(1, used.prompt + used.completion, usd)
        self._reserved = self._reserved.plus(reserved, -1)
        self._used = self._used.plus(amount)
        self._used_by[asked.worker] = self._used_by.get(asked.worker, _NOTHING).plus(amount)

    def _go_on(self) -> list[Answer]:
        """Look at those who wait again, the first first."""
        answers: list[Answer] = []
        while self._waiting and (answer := self._judge(self._waiting[0], behind=False)) is not None:
            self._waiting.popleft()
            answers.append(answer)
        return answers

    def _rate(self, asked: Reserve) -> Rate | None:
        return self._rate_of(asked.provider, asked.model, asked.prompt_tokens)

    # --- words ---

    def _why(self, asked: Reserve, kind: Kind) -> str:
        """Say which limit is reached, how much was used, by whom most, and what was asked for in vain."""
        used, limit = getattr(self._used, kind), self._limit[kind]
        by = {worker: getattr(amount, kind) for worker, amount in self._used_by.items()}
        most = max(by, key=lambda worker: by[worker], default="")
        whom = f", most of it by '{most}' ({_show(kind, by[most])})" if most and by[most] else ""
        budget, used_words = f"the budget of {_show(kind, limit or 0)}", f"{_show(kind, used)} used{whom}"
        if kind == "calls":
            out = self._reserved.calls
            return f"{budget} is used up: {used_words}" + (f", {out} under way" if out else "")
        wanted = asked.prompt_tokens + asked.least
        if kind == "usd":
            rate = self._rate(asked)
            assert rate is not None
            wanted = cost_at_most(rate, asked.prompt_tokens, asked.least)
        return f"{budget} has no room for the next call: {used_words}; '{asked.worker}' asked for {_show(kind, wanted)}"


def _show(kind: Kind, amount: int) -> str:
    if kind == "usd":
        return show_usd(dollars(amount))
    return f"{amount:,} {kind if amount != 1 else kind.removesuffix('s')}".replace(",", " ")
