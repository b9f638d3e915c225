"""Calls of a worker's function as spans, ``call FUNCTION``: parts of what the coordinator tells of each message."""

from __future__ import annotations

__all__ = ["FunctionCalls"]

import os
import time
from collections.abc import Callable

from fabric.tracing.span import Attributes, Span
from fabric.wire.frame import Data, Provenance
from fabric.wire.spec import WorkerSpec
from fabric.wire.tracing import derived


class FunctionCalls:
    """Tells of one worker's calls, one at a time.

    Args:
        spec: of the worker.
        tell: takes the spans.
        clock: seconds since 1970, UTC.
        new_id: makes span ids of so many bytes.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        tell: Callable[[Span], None],
        clock: Callable[[], float] = time.time,
        new_id: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._worker = spec.name
        self._name = str(spec.config.get("call") or spec.config.get("builtin") or spec.name)
        self._tell = tell
        self._clock = clock
        self._new_id = new_id
        self._origin: Provenance | None = None
        self._began_s = 0.0

    def begun(self, message: Data) -> None:
        """The function is called with a message."""
        self._origin, self._began_s = message.provenance, self._clock()

    def over(self, error: str | None = None) -> None:
        """It has returned, or failed."""
        origin, self._origin = self._origin, None
        if origin is None:  # bare: nobody knows what it is a part of
            return
        attributes: Attributes = {"code.function.name": self._name, "fabric.worker": self._worker}
        if error is not None:
            attributes["error.type"] = "_OTHER"
        self._tell(
            Span(
                f"call {self._name}",
                origin.trace_id,
                self._new_id(8),
                derived(origin.span_id, self._worker),
                self._began_s,
                self._clock(),
                attributes=attributes,
                error=error,
            )
        )
