"""How a worker says why it ends."""

from __future__ import annotations

__all__ = ["FunctionFailed", "tell"]

import sys

from fabric.errors import FabricError
from fabric.wire.payload import encode_json


class FunctionFailed(FabricError):
    """The user's function raised, gave up, or returned what its output type does not admit.

    Args:
        text: what is told.
        span_id: of the message that it was given; empty if that had none.
        code: a word for it.
    """

    code = "python_error"

    def __init__(self, text: str, span_id: bytes = b"", code: str = code) -> None:
        super().__init__(text)
        self.code = code
        self.span_id = span_id


def tell(error: FabricError) -> int:
    """Write it to stderr as the last line; return the exit status."""
    said = {"error": str(error), "code": error.code}
    if isinstance(error, FunctionFailed) and error.span_id:
        said["span"] = error.span_id.hex()  # which of the messages that the worker has is to blame
    sys.stderr.write(encode_json(said).decode() + "\n")
    return error.exit_code
