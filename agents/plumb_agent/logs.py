"""Lines on stderr: one JSON object each, logs with ``log`` and ``event``, errors with ``error`` and ``code``."""

from __future__ import annotations

__all__ = ["Logger", "stderr_logger"]

import os
from collections.abc import Callable, Mapping
from typing import Any

from fabric.errors import FabricError
from fabric.wire.payload import encode_json

_STDERR = 2


class Logger:
    """Writes log lines and error lines.

    Args:
        write: takes one whole line.
        debug: whether debug lines are written: the conversation and what is known of each call.
    """

    def __init__(self, write: Callable[[bytes], object], *, debug: bool = False) -> None:
        self._write = write
        self._debug = debug

    def log(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        """Write a log line."""
        if level != "debug" or self._debug:
            self._write(encode_json({"log": level, "event": event, **fields}) + b"\n")

    def error(self, code: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        """Write an error line."""
        self._write(encode_json({"error": message, "code": code, **(details or {})}) + b"\n")

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


def stderr_logger(*, debug: bool) -> Logger:
    """Return a logger that writes to the process's stderr, unbuffered, so that the last line survives a kill."""
    return Logger(lambda line: os.write(_STDERR, line), debug=debug)
