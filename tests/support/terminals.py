"""A program at a terminal of its own, and somebody who types."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

CTRL_A, CTRL_C, CTRL_D, CTRL_E, CTRL_R, UP = "\x01", "\x03", "\x04", "\x05", "\x12", "\x1b[A"

TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)
"""Only the leader of a session can take a terminal, and only with one does Ctrl-C become a signal."""


class Terminal:
    """What a person sees and types.

    Attributes:
        process: the program.
        seen: all that was ever shown.
    """

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process = process
        self.seen = ""
        self._descriptor = descriptor
        self._looked_at = 0

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def expect(self, text: str) -> str:
        """Wait until it is shown behind what was expected before; return what was shown up to it."""
        while (found := self.seen.find(text, self._looked_at)) < 0:
            assert self._read(), f"{text!r} is not shown: {self.seen[self._looked_at :]!r}"
        shown, self._looked_at = self.seen[self._looked_at : found], found + len(text)
        return shown

    def end(self) -> int:
        """Read on until the program has ended; return its exit code."""
        while self._read():
            pass
        return self.process.wait(60)

    def _read(self) -> bool:
        assert select.select([self._descriptor], [], [], 60)[0], f"nothing more is shown: {self.seen!r}"
        try:
            data = os.read(self._descriptor, 65536)
        except OSError:  # nobody has the other side open
            return False
        self.seen += data.decode(errors="replace")
        return bool(data)


@contextmanager
def terminal(
    command: list[str], cwd: Path, environment: Mapping[str, str], **files: int
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start a program at a terminal; ``files`` may give it another stdout or stderr. Give it, and the other side."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, 400))  # nothing wraps
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE_TERMINAL, *command],
        stdin=theirs,
        stdout=files.get("stdout", theirs),
        stderr=files.get("stderr", theirs),
        cwd=cwd,
        env={**environment, "TERM": "xterm", "LC_ALL": "C.UTF-8", "INPUTRC": "/dev/null"},
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield process, ours
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        os.close(ours)
