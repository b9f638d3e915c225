"""What a model has answered while a message was under way, as an agent tells it and is told it again.

An agent whose spec says ``durable`` puts into each call of a tool what models have answered for its message since its
last call, each as an object of this kind. When the message comes to another process, that asks for them
(``fabric.recall``, :mod:`fabric.wire.calls`), and does not ask the model again as long as it would ask the same.
"""

from __future__ import annotations

__all__ = ["ANSWERS_MAX", "ModelAnswer", "read_answers"]

from typing import Annotated

import msgspec
from msgspec import Meta

ANSWERS_MAX = 1_000
"""Of one call. An agent that asks its model more often between two calls of tools does not end."""


class ModelAnswer(msgspec.Struct, frozen=True):
    """One answer of a model.

    Attributes:
        n: counts the answers for this message, from 1.
        digest: of what the model was asked, as the agent computes it: to another question this is no answer.
        usage: the event of telemetry that told what it took: JSON text.
        reply: what it said: JSON text that nobody but the agent reads.
    """

    n: Annotated[int, Meta(ge=1)]
    digest: Annotated[str, Meta(max_length=128)]
    usage: msgspec.Raw
    reply: msgspec.Raw


_decode = msgspec.json.Decoder(Annotated[tuple[ModelAnswer, ...], Meta(max_length=ANSWERS_MAX)] | None).decode


def read_answers(text: bytes) -> tuple[ModelAnswer, ...] | None:
    """Return what a call tells; ``None``: it cannot be read."""
    try:
        return _decode(text) or ()
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
