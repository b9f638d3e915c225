"""A run relived by two programs, or answered by a worker once more: where the two first differ, and how.

    consumed   the program gives a worker another message than it took then
    output     another message leaves the graph, or it leaves at another entry; one more, or none
    unfit      an entry has no place in the program
    answer     a worker that was really asked says something else

What an entry says is compared as JSON: the order of keys and blanks are no difference.
"""

from __future__ import annotations

__all__ = ["Difference", "Replayed", "Took", "compare", "compare_answers", "differences_in", "relive_watched"]

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any, Literal

import msgspec

from fabric.session.ancestry import Witness
from fabric.session.delivery import Message
from fabric.session.events import Output
from fabric.session.history import Answer, History, Released, Turn, bytes_of
from fabric.session.reliving import Inherited, Skipped
from fabric.session.session import Session


class Took(msgspec.Struct, frozen=True):
    """A worker has taken a message: by which entry it was done with it, or had said something of it."""

    entry: int
    node: str
    message: str
    payload: bytes


class Left(msgspec.Struct, frozen=True):
    """A message has left the graph, by an entry."""

    entry: int
    output: Output


class Replayed(msgspec.Struct, frozen=True):
    """What a program has made of a history.

    Attributes:
        outputs: what left the graph, in order.
        took: what workers took, in order.
        skipped: entries that had no place in it.
    """

    outputs: tuple[Left, ...]
    took: tuple[Took, ...]
    skipped: tuple[Skipped, ...] = ()


class Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is not as it was recorded.

    Attributes:
        entry: the number of the entry, from 0.
        what: see above.
        at: the worker, or the port of the boundary.
        id: of the message, as it was recorded.
        recorded, now: JSON text; ``None``: there was, or is, none.
        why: in words, where there is no message to show.
    """

    entry: int
    what: Literal["consumed", "output", "unfit", "answer"]
    at: str
    id: str = ""
    recorded: msgspec.Raw | None = None
    now: msgspec.Raw | None = None
    why: str = ""


def relive_watched(
    session: Session,
    history: Sequence[History],
    witness: Witness,
    *,
    allow_changed: bool = False,
    inherited: Sequence[Inherited] = (),
) -> Replayed:
    """Relive a history in a session whose messages the witness makes, and see what its workers took.

    Raises:
        HistoryUnfit: an entry has no place in the program, and that is not allowed.
    """
    took: list[Took] = []

    def watch(number: int, message: Message | None) -> None:
        witness.entry, entry = number, history[number]
        if message is not None and isinstance(entry, Turn | Released):
            took.append(Took(number, entry.node, entry.message, message.payload))

    relived = session.relive(history, allow_changed=allow_changed, inherited=inherited, before=watch)
    outputs = tuple(Left(witness.entry_of(output.span_id), output) for output in relived.outputs)
    return Replayed(outputs, tuple(took), relived.skipped)


def compare(recorded: Replayed, now: Replayed) -> list[Difference]:
    """Return where a program makes something else of a history than the one that it was recorded of, in order."""
    found = [Difference(skipped.number, "unfit", "", why=skipped.why) for skipped in now.skipped]
    taken = {took.entry: took for took in now.took}
    for then in recorded.took:
        again = taken.get(then.entry)
        if again is not None and not _same(then.payload, again.payload):
            texts = msgspec.Raw(then.payload), msgspec.Raw(again.payload)
            found.append(Difference(then.entry, "consumed", then.node, then.message, *texts))
    for port in dict.fromkeys(left.output.port for left in (*recorded.outputs, *now.outputs)):
        before, after = ([left for left in one.outputs if left.output.port == port] for one in (recorded, now))
        found += [
            _other_output(port, left, again) for left, again in zip_longest(before, after) if _differ(left, again)
        ]
    return sorted(found, key=lambda difference: difference.entry)


def _differ(before: Left | None, after: Left | None) -> bool:
    if before is None or after is None:
        return True
    return before.entry != after.entry or not _same(before.output.payload, after.output.payload)


def _other_output(port: str, before: Left | None, after: Left | None) -> Difference:
    entry = min(left.entry for left in (before, after) if left is not None)
    why = ""
    if before is not None and after is not None and before.entry != after.entry:
        why = f"it left by entry {before.entry}, and leaves by entry {after.entry}"
    return Difference(
        entry,
        "output",
        port,
        "" if before is None else before.output.span_id.hex(),
        None if before is None else msgspec.Raw(before.output.payload),
        None if after is None else msgspec.Raw(after.output.payload),
        why,
    )


def compare_answers(entry: int, turn: Turn, now: Sequence[tuple[str, bytes]]) -> list[Difference]:
    """Return where a worker that is asked again says something else than it did then.

    Args:
        entry: the number of its turn.
        turn: as it was recorded.
        now: what it says, each with its port.
    """
    found = []
    for then, again in zip_longest([(one.port, _payload(one)) for one in turn.outputs], now):
        if then is None or again is None or then[0] != again[0] or not _same(then[1], again[1]):
            recorded, said = (None if one is None else msgspec.Raw(one[1]) for one in (then, again))
            found.append(Difference(entry, "answer", turn.node, turn.message, recorded, said))
    return found


def _payload(answer: Answer) -> bytes:
    return bytes_of(answer.payload, answer.garbled)


def _same(one: bytes, other: bytes) -> bool:
    return one == other or not next(differences_in(one, other), "")


def differences_in(recorded: bytes, now: bytes) -> Iterator[str]:
    """Yield where two JSON texts differ, each place in a line: ``$.round: 1, now 2``."""
    try:
        pair = msgspec.json.decode(recorded), msgspec.json.decode(now)
    except msgspec.DecodeError:
        if recorded != now:
            yield f"$: {recorded!r}, now {now!r}"
        return
    yield from _unlike("$", *pair)


_ABSENT = object()


def _unlike(path: str, then: Any, now: Any) -> Iterator[str]:
    if isinstance(then, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*then, *now]):
            yield from _unlike(f"{path}.{key}", then.get(key, _ABSENT), now.get(key, _ABSENT))
    elif isinstance(then, list) and isinstance(now, list):
        for number, (one, other) in enumerate(zip_longest(then, now, fillvalue=_ABSENT)):
            yield from _unlike(f"{path}[{number}]", one, other)
    elif then != now or isinstance(then, bool) != isinstance(now, bool):
        yield f"{path}: {_shown(then)}, now {_shown(now)}"


def _shown(value: Any) -> str:
    return "nothing" if value is _ABSENT else msgspec.json.encode(value).decode()
