"""What of a kept session's output somebody has got already, when it is run again.

A regular file tells by its length: output goes on behind it, in the middle of a line if need be, and each line is there
once. Through a pipe nobody can tell; output goes on behind what was last written down, so some of it may come twice.

What is written down is (count, length of the file then, which file). A file may have been emptied since, by ``>`` of a
shell: then it gets what it got before, too. So the newest place counts at which the file was no longer than it is now.
"""

from __future__ import annotations

__all__ = ["Due", "Has", "Sink", "due_of", "reading", "sink_of"]

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeAlias

from fabric.session.history import Emitted

Has: TypeAlias = Callable[[int, bytes], bool]


class Sink(NamedTuple):
    """Where output goes.

    Attributes:
        file: device and inode, if it is a regular file.
        size_bytes: how long that is.
    """

    file: str = ""
    size_bytes: int = 0


class Due(NamedTuple):
    """What is to be written.

    Attributes:
        first: index of the first output that is not written whole.
        written_bytes: of its line that are.
        place: what to write down before anything else is written.
    """

    first: int
    written_bytes: int
    place: Emitted


def sink_of(descriptor: int) -> Sink:
    """Return what a descriptor is; of a regular file writing goes on at its end."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        return Sink()
    os.lseek(descriptor, 0, os.SEEK_END)
    return Sink(f"{status.st_dev:x}:{status.st_ino}", status.st_size)


def due_of(told: Sequence[Emitted], sink: Sink, line: Callable[[int], bytes], count: int, has: Has) -> Due:
    """Return what a sink has not got.

    Args:
        told: what was written down so far, in order.
        sink: where output goes.
        line: gives the line of an output.
        count: how many outputs there are.
        has: whether the file has these bytes at this place, as far as that can be known.
    """
    if sink.file:
        for place in reversed(told):
            if place.file == sink.file and place.size_bytes <= sink.size_bytes:
                due = _behind(place, sink, line, count, has)
                if due is not None:
                    return due
    first = min(told[-1].count if told else 0, count)
    return Due(first, 0, Emitted(first, sink.size_bytes, sink.file))


def _behind(place: Emitted, sink: Sink, line: Callable[[int], bytes], count: int, has: Has) -> Due | None:
    """Return what is due if a file is what it was and has grown by our output; ``None``: it has not."""
    index, at_bytes = place.count, place.size_bytes
    while index < count and at_bytes < sink.size_bytes:
        written = line(index)[: sink.size_bytes - at_bytes]
        if not has(at_bytes, written):
            return None
        if len(written) < len(line(index)):
            return Due(index, len(written), Emitted(index, at_bytes, sink.file))
        index, at_bytes = index + 1, at_bytes + len(written)
    if at_bytes < sink.size_bytes:  # somebody else has written, too
        return None
    return Due(index, 0, Emitted(index, at_bytes, sink.file))


@contextmanager
def reading(descriptor: int) -> Iterator[Has]:
    """Give what tells whether the file of a descriptor has some bytes at a place. One that cannot be read has them."""
    try:
        again = os.open(f"/dev/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield lambda at_bytes, wanted: True
        return
    try:
        yield lambda at_bytes, wanted: os.pread(again, len(wanted), at_bytes) == wanted
    finally:
        os.close(again)
