"""What calls of models took, as the agents report it in their telemetry: by worker and model."""

from __future__ import annotations

__all__ = ["MODELS_MAX", "USAGE", "Tally", "Usage", "is_dated", "read_usage"]

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fabric.session.money import RateOf, Tokens, cost, dollars

USAGE = b'"usage"'
"""Is in each event of usage, and hardly in any other: what is without it need not be decoded."""

MODELS_MAX = 100
"""Models of one worker that are counted apart. Their names are of its choice, and must not fill the memory."""

REST = "(other models)"

DATE_DIGITS = 4
"""Of ``gpt-4-0613``; what has fewer is another version."""

TOKENS_MAX = 10**12
"""Of one call: what says more than that is wrong."""

_Count = Annotated[int, Meta(ge=0, le=TOKENS_MAX)]


class Usage(msgspec.Struct, frozen=True):
    """What the calls of one worker of one model took.

    Attributes:
        provider: empty for a worker that does not say it.
        calls: that were answered.
        prompt_tokens: those that were read from a cache or written to it are part of them.
        usd: dollars; ``None``: nobody knows the price.
    """

    worker: str
    provider: str
    model: str
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cache_read_tokens: int = 0
    cache_creation_tokens: int = 0
    usd: float | None = None


class _Event(msgspec.Struct):
    kind: Literal["usage"]
    prompt_tokens: _Count = 0
    completion_tokens: _Count = 0
    cache_read_tokens: _Count = 0
    cache_creation_tokens: _Count = 0
    model: Annotated[str, Meta(max_length=200)] = ""
    recalled: bool = False


_decode = msgspec.json.Decoder(_Event).decode


def read_usage(payload: bytes) -> tuple[str, Tokens] | None:
    """Return the model (empty if it is not said) and the tokens of an event of usage; ``None`` if it is none.

    One that says ``recalled`` is none: it repeats what was told when it was paid for.
    """
    try:
        event = _decode(payload)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    if event.recalled:
        return None
    return event.model, Tokens(
        event.prompt_tokens, event.completion_tokens, event.cache_read_tokens, event.cache_creation_tokens
    )


def is_dated(model: str, asked: str) -> bool:
    """Whether a model is the one that was asked for, and says of when it is: its price is that of the other name."""
    rest = model[len(asked) :]
    digits = rest.replace("-", "")
    return model.startswith(f"{asked}-") and len(digits) >= DATE_DIGITS and digits.isdecimal() and digits.isascii()


class _Row:
    """One worker and model. ``usd``: picos; ``priced`` is false once a call had no price."""

    __slots__ = ("calls", "completion", "created", "priced", "prompt", "read", "usd")

    def __init__(self) -> None:
        self.calls = self.prompt = self.completion = self.read = self.created = self.usd = 0
        self.priced = True


class Tally:
    """Adds up what is reported.

    Args:
        rate_of: what models cost.

    Attributes:
        context_tokens: of the prompt of each worker's last call.
    """

    def __init__(self, rate_of: RateOf) -> None:
        self.context_tokens: dict[str, int] = {}
        self._rate_of = rate_of
        self._rows: dict[tuple[str, str, str], _Row] = {}
        self._models: dict[str, int] = {}

    def add(self, worker: str, provider: str, model: str, tokens: Tokens, asked: str = "") -> None:
        """A call was answered, by this model; ``asked``: the one of the program."""
        row = self._rows.get((worker, provider, model)) or self._begin(worker, provider, model)
        prompt, completion, read, created = tokens
        self.context_tokens[worker] = prompt
        row.calls += 1
        row.prompt += prompt
        row.completion += completion
        row.read += read
        row.created += created
        if row.priced:
            name = asked if asked and is_dated(model, asked) else model
            rate = self._rate_of(provider, name, prompt)
            if rate is None:
                row.priced = False
            elif rate.input or rate.output:
                row.usd += cost(rate, tokens)

    def _begin(self, worker: str, provider: str, model: str) -> _Row:
        """Return the row of a worker and model that has none yet, or that of its other models."""
        count = self._models[worker] = self._models.get(worker, 0) + 1
        return self._rows.setdefault((worker, provider, model if count <= MODELS_MAX else REST), _Row())

    @property
    def rows(self) -> tuple[Usage, ...]:
        """All that was reported, in the order in which it began."""
        return tuple(
            Usage(
                *key,
                row.calls,
                row.prompt,
                row.completion,
                row.read,
                row.created,
                dollars(row.usd) if row.priced else None,
            )
            for key, row in self._rows.items()
        )
