"""What an invocation has decided: what is committed, and what is waited for."""

from __future__ import annotations

__all__ = ["Decision", "Wait", "decide"]

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fabric.errors import HandlerFailed
from fabric.handlers.durations import sleep_s
from fabric.handlers.records import Output, media_type
from fabric.store.record import PAUSE_TYPE


class Wait(msgspec.Struct, frozen=True):
    """A handler has nothing to do until something comes.

    Attributes:
        reason: as it was written: text, by convention.
        metadata: as it was written.
        after_s: how long from the commit on; ``None``: not by time.
    """

    reason: bytes = b""
    metadata: Mapping[str, Any] = {}
    after_s: float | None = None


class Decision(msgspec.Struct, frozen=True):
    """One commit.

    Attributes:
        outputs: in order, without pauses.
        wait: ``None``: its own output is a new event, and it runs again. If there is no output either, it has seen
            everything and is idle.
    """

    outputs: tuple[Output, ...] = ()
    wait: Wait | None = None


def decide(outputs: Sequence[Output]) -> Decision:
    """Return what was decided by all that an invocation wrote. A pause acts at its end; of several, the last one.

    Raises:
        HandlerFailed: one of them cannot be meant.
    """
    kept: list[Output] = []
    wait: Wait | None = None
    for output in outputs:
        if media_type(output.content_type) == PAUSE_TYPE:
            wait = _wait(output)
        else:
            kept.append(output)
    return Decision(tuple(kept), wait)


def _wait(output: Output) -> Wait:
    if output.data is None or output.fork or output.session:
        where = "by uri" if output.data is None else "with fork" if output.fork else f"for session {output.session!r}"
        raise HandlerFailed(f"a pause came {where}: it is said by a handler of its own session, as an inline record")
    duration = output.metadata.get("duration")
    if duration is None:
        return Wait(output.data, output.metadata)
    if not isinstance(duration, str):
        raise HandlerFailed(f'a sleep has duration {duration!r}: expected a string, such as "1.50s"')
    return Wait(output.data, output.metadata, sleep_s(duration))
