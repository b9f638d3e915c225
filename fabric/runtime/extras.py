"""Files of what is heard on observed ports: lines ``worker TAB json``.

They are written by threads of their own, so a slow disk or a reader that sleeps delays no message. What a file does not
take, because it is too slow or full, is dropped and counted; the session goes on and ends as without it.
"""

from __future__ import annotations

__all__ = ["Extras", "open_extras"]

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TypeAlias

import trio

from fabric.errors import ConfigError
from fabric.runtime.gateway import write_all
from fabric.session.events import Heard
from fabric.wire.lines import one_line

UNWRITTEN_BYTES_MAX = 4 * 1024 * 1024
"""Beyond that lines are dropped; as much as of the output may be unwritten."""

FLUSH_S = 5.0
"""How long the end of a session waits for a file that takes nothing, such as a pipe whose reader sleeps."""

STDERR = "-"

_Report: TypeAlias = Callable[[str, str, Mapping[str, object]], None]


class _Extra:
    """One file.

    Args:
        label: name of the observed ports.
        name: of the file, for messages.
        descriptor: open for writing.
    """

    def __init__(self, label: str, name: str, descriptor: int) -> None:
        self.label = label
        self.name = name
        self._descriptor = descriptor
        self._waiting: list[bytes] = []
        self._writing: list[bytes] = []
        self._size_bytes = 0
        self._dropped = 0
        self._failure = ""
        self._stirred = trio.Event()
        self._ended = False

    def put(self, heard: Heard) -> None:
        """Queue a line, if there is room."""
        line = heard.topic.encode() + b"\t" + one_line(heard.payload) + b"\n"
        if self._failure or self._size_bytes + len(line) > UNWRITTEN_BYTES_MAX:
            self._dropped += 1
            return
        self._waiting.append(line)
        self._size_bytes += len(line)
        self._stirred.set()

    def end(self) -> None:
        """Let :meth:`write` return when everything is written."""
        self._ended = True
        self._stirred.set()

    async def write(self) -> None:
        """Write lines until :meth:`end`, or until the file takes no more."""
        while self._waiting or not self._ended:
            await self._stirred.wait()
            self._stirred = trio.Event()
            self._writing, self._waiting = self._waiting, []
            try:
                data = b"".join(self._writing)
                await trio.to_thread.run_sync(write_all, self._descriptor, data, abandon_on_cancel=True)
            except OSError as error:
                self._failure = error.strerror or str(error)
                return
            self._writing.clear()
            self._size_bytes -= len(data)

    def missing(self) -> tuple[int, str]:
        """Return how many lines are not in the file, now that nothing more is written, and why."""
        left = len(self._writing) + len(self._waiting)
        why = self._failure or (f"it took nothing for {FLUSH_S:g} s" if left else "it was too slow")
        return self._dropped + left, why


class Extras:
    """The files of one session. See :func:`open_extras`."""

    def __init__(self, extras: Sequence[_Extra], report: _Report) -> None:
        self._extras = extras
        self._report = report

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the ports to observe."""
        return tuple(extra.label for extra in self._extras)

    def hear(self, heard: Sequence[Heard]) -> None:
        """Queue what was heard, each for its file."""
        for extra in self._extras:
            for one in heard:
                if one.label == extra.label:
                    extra.put(one)

    async def write(self) -> None:
        """Write until :meth:`finish`."""
        async with trio.open_nursery() as nursery:
            for extra in self._extras:
                nursery.start_soon(extra.write)

    def finish(self) -> None:
        """Let :meth:`write` return when everything is written."""
        for extra in self._extras:
            extra.end()

    def report(self) -> None:
        """Say what could not be written."""
        for extra in self._extras:
            lines, why = extra.missing()
            if lines:
                text = f"{lines} lines of {extra.label} are not in {extra.name}: {why}"
                self._report(text, "extra_dropped", {"extra": extra.label, "dropped": lines})


@contextmanager
def open_extras(files: Mapping[str, str], report: _Report) -> Iterator[Extras]:
    """Open the files of observed ports, anew.

    Args:
        files: name of the port to name of the file; ``-`` is stderr.
        report: takes errors: message, code, and more fields.

    Raises:
        ConfigError: one cannot be written.
    """
    with ExitStack() as stack:
        extras = []
        for label, name in files.items():
            descriptor = 2 if name == STDERR else _open(label, name)
            if name != STDERR:
                stack.callback(os.close, descriptor)
            extras.append(_Extra(label, "stderr" if name == STDERR else name, descriptor))
        yield Extras(extras, report)


def _open(label: str, name: str) -> int:
    # Without waiting: a named pipe that nobody reads would keep us here for ever.
    try:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.ftruncate(descriptor, 0)
    except OSError as error:
        raise ConfigError(f"--extra {label}={name}: cannot write it: {error.strerror}") from None
    return descriptor
