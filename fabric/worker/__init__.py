"""What a user writes a worker of his own with, in plain Python.

A function is enough; nothing of this module is needed for it. The program names it,
``python { call: "package.module:function" }``, and it is called with each message as plain Python values (dict, list,
str, int, float, bool, None), or as what its annotation says: a dataclass, a msgspec struct, a TypedDict, a pydantic
model. It

* returns one value, which is the output, or ``None`` for no output (a ``unit`` output type takes the ``None``); or
* yields any number of outputs, as a generator or an async generator; or
* is ``async`` and does either, under trio.

A class with ``__call__`` may stand for a function, and so may a method: one instance is made at the start, without
arguments, and its ``close()``, if it has one, is called at the end.

While a function works it may say something of the message that it is at: :func:`message`, :func:`log`,
:func:`telemetry`, :func:`fail`. Outside of a worker, as in a test of the function, they do no harm. :func:`serve` makes
a program of its own of a function.

A function that is not async runs inline: while it works nothing else of the data side does. Control has a thread and
sockets of its own, so a busy function does not keep it from being acknowledged.
"""

from __future__ import annotations

__all__ = ["Message", "MessageFailed", "fail", "log", "message", "serve", "telemetry"]

from collections.abc import Callable
from typing import Any

from fabric.worker.context import Message, MessageFailed, fail, log, message, telemetry


def serve(function: Callable[[Any], Any]) -> None:
    """Be the worker that the environment describes, in a program of one's own: ``worker { command: ["./mine.py"] }``.

    On the sockets of a fabric if it gave any; else on stdin and stdout, a JSON value a line, as with
    ``transport: "stdio"`` or by hand at a terminal. What the function prints goes to stderr.

    Args:
        function: what answers, as in ``python { call: ... }``; or a class with ``__call__``.

    Raises:
        SystemExit: something failed, and was told on stderr. The status is that of ``fabric.worker``.
    """
    from fabric.worker.program import serve_function  # the loop and the sockets, which a test of a function needs not

    status = serve_function(function)
    if status:
        raise SystemExit(status)
