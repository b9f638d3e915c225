"""The answers of the model for one input: those that are known from before, and those that are to be told.

An agent of a durable run may be at an input that a process before it has begun. That one told with its calls of tools
what the model had answered (:mod:`fabric.wire.recall`). As long as the model would be asked the same, it is not asked
again. The first question that differs ends that: behind it everything is new.

What counts as the same is what was said within the input, the system prompt, the tools and the output's type. What was
said before it does not: of that a new process knows what the coordinator does. Nor does the model: an answer that was
paid for is an answer.
"""

from __future__ import annotations

__all__ = ["Answers", "digest_of", "read_recalled"]

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from fabric.wire.payload import encode_json
from fabric.wire.recall import ModelAnswer
from plumb_agent.messages import Message, Reply, SystemBlock, Tool

DIGEST_CHARS = 32
"""Of a digest, which are hexadecimal digits."""

_decode_reply = msgspec.json.Decoder(Reply).decode


def read_recalled(content: Any) -> tuple[ModelAnswer, ...]:
    """Return the answers that the coordinator knows; none, if it says something else.

    Args:
        content: of its response, a plain JSON value.
    """
    try:
        return msgspec.json.decode(encode_json(content), type=tuple[ModelAnswer, ...])
    except msgspec.ValidationError:
        return ()


def digest_of(
    system: Sequence[SystemBlock], tools: Sequence[Tool], schema: dict[str, Any], messages: Iterable[Message]
) -> str:
    """Return a digest of what the model is asked. ``messages``: those of the input, with the rounds so far."""
    asked = encode_json([system, tools, schema, list(messages)])
    return hashlib.sha256(asked).hexdigest()[:DIGEST_CHARS]


class Answers:
    """The answers for one input, in order.

    Attributes:
        count: how many there were so far, known ones and new ones.
        unused: how many known ones were of no use, because the model was asked something else.
    """

    def __init__(self) -> None:
        self.count = self.unused = 0
        self._known: list[ModelAnswer] = []
        self._untold: list[ModelAnswer] = []

    def know(self, answers: Iterable[ModelAnswer]) -> None:
        """These were told by a process before this one."""
        self._known = list(answers)

    def next(self, digest: str) -> Reply | None:
        """Return the known answer to this question, if there is one; it counts."""
        reply = self._reply_to(digest)
        if reply is None:
            self.unused += len(self._known)
            self._known = []
        else:
            self.count += 1
            del self._known[0]
        return reply

    def _reply_to(self, digest: str) -> Reply | None:
        if not self._known or (self._known[0].n, self._known[0].digest) != (self.count + 1, digest):
            return None
        try:
            return _decode_reply(self._known[0].reply)
        except msgspec.DecodeError:  # of another version, which knew other blocks
            return None

    def came(self, digest: str, reply: Reply, usage: dict[str, Any]) -> None:
        """The model has answered. ``usage``: the event of telemetry that tells what it took."""
        self.count += 1
        told = (msgspec.Raw(encode_json(part)) for part in (usage, reply))
        self._untold.append(ModelAnswer(self.count, digest, *told))

    def take_untold(self) -> tuple[ModelAnswer, ...]:
        """Return what nobody was told yet; it is told now."""
        untold, self._untold = tuple(self._untold), []
        return untold
