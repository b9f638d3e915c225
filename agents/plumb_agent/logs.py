"""Lines on stderr: one JSON object each, logs with ``log`` and ``event``, errors with ``error`` and ``code``."""

from __future__ import annotations

__all__ = ["Logger", "stderr_logger"]

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fabric.errors import FabricError
from fabric.wire.payload import encode_json

_STDERR = 2

SECRET_CHARS_MIN = 8
"""No key is shorter, and to replace a word of every line would hide more than it."""


class Logger:
    """Writes log lines and error lines.

    Args:
        write: takes one whole line.
        debug: whether debug lines are written: the conversation and what is known of each call.
        secrets: what no line may have in it. Nobody should write a key; this is the net below those who do.
    """

    def __init__(self, write: Callable[[bytes], object], *, debug: bool = False, secrets: Iterable[str] = ()) -> None:
        self._write_line = write
        self._debug = debug
        self._secrets: tuple[bytes, ...] = ()
        self.hide(secrets)

    @property
    def debug(self) -> bool:
        """Whether debug lines are written."""
        return self._debug

    def hide(self, secrets: Iterable[str]) -> None:
        """Let no further line have these in it."""
        long = [secret for secret in secrets if len(secret) >= SECRET_CHARS_MIN]
        spelled = {text for secret in long for text in (secret.encode(errors="replace"), _in_json(secret))}
        self._secrets += tuple(sorted(spelled, key=len, reverse=True))

    def log(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        """Write a log line."""
        if level != "debug" or self._debug:
            self._write(encode_json({"log": level, "event": event, **fields}) + b"\n")

    def error(self, code: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        """Write an error line."""
        self._write(encode_json({"error": message, "code": code, **(details or {})}) + b"\n")

    def _write(self, line: bytes) -> None:
        for secret in self._secrets:
            line = line.replace(secret, b"[redacted]")
        self._write_line(line)

    def raised(self, error: FabricError) -> None:
        """Write the error line of an exception."""
        self.error(error.code, str(error))

    def diagnosed(self, diagnostic: Any) -> None:
        """Write a ``fabric.lang.diagnostic.Diagnostic``: an error line with its place, or a warning."""
        line, column = diagnostic.source.position(diagnostic.span.start)
        place = {"category": diagnostic.category, "file": diagnostic.source.path, "line": line, "column": column}
        if diagnostic.severity == "error":
            self.error(diagnostic.slug, diagnostic.message, place)
        else:
            self.log("warning", diagnostic.slug, {"message": diagnostic.message, **place})


def stderr_logger(*, debug: bool, secrets: Iterable[str] = ()) -> Logger:
    """Return a logger that writes to the process's stderr, unbuffered, so that the last line survives a kill."""
    return Logger(_write_stderr, debug=debug, secrets=secrets)


def _write_stderr(line: bytes) -> None:
    with contextlib.suppress(OSError):  # nobody reads it: that is no reason to fail
        os.write(_STDERR, line)


def _in_json(text: str) -> bytes:
    """Return how JSON writes a string, without the quotes."""
    return encode_json(text.encode(errors="replace").decode())[1:-1]
