"""The leaves of a pipeline: a function to call, a request to make, a model to ask. Who performs them decides nothing.

``runner`` makes them, with all expressions evaluated and all templates rendered; ``local`` performs them in this
process, ``remote`` in workers of a fabric. Both give the same for the same work.
"""

from __future__ import annotations

__all__ = ["Done", "FunctionWork", "HttpWork", "LlmWork", "Performer", "Work"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from fabric.pipelines.results import AttemptLog, VocabSuggestion
from fabric.pipelines.spec import FunctionStep, HttpStep, LlmStep, ModelSpec
from fabric.pipelines.vocab import Vocabulary


@dataclass(frozen=True)
class FunctionWork:
    """A function to call.

    Attributes:
        alone: whether nothing else of the run is ever under way together with it: it is called in the caller's own
            thread then.
    """

    step: FunctionStep
    inputs: Mapping[str, Any]
    alone: bool = False


@dataclass(frozen=True)
class HttpWork:
    """A request to make: ``url``, ``headers``, ``params`` and ``body``, with all expressions evaluated."""

    step: HttpStep
    request: Mapping[str, Any]


@dataclass(frozen=True)
class LlmWork:
    """A model to ask.

    Attributes:
        model: with what the run overrides.
        messages: ``role`` and ``content``, the system prompt first.
        variables: of ``error_template``.
        vocabularies: as they are in this run.
        reply_number: how many answers of a mock have been played in this run before: it goes on from there.
        use_cache, refresh_cache: whether kept answers are taken, and whether they are replaced.
        budget_usd: what the run may spend; ``None``: there is no limit.
        spent_usd: what it has spent before.
        asked: is told of each question when it has been answered: a conversation that is cancelled leaves no ``Done``,
            and has taken something all the same. Workers of a fabric tell nobody.
    """

    step: LlmStep
    model: ModelSpec
    messages: Sequence[Mapping[str, str]]
    variables: Mapping[str, Any] = field(default_factory=dict)
    vocabularies: Mapping[str, Vocabulary] = field(default_factory=dict)
    reply_number: int = 0
    use_cache: bool = True
    refresh_cache: bool = False
    budget_usd: float | None = None
    spent_usd: float = 0.0
    asked: list[AttemptLog] = field(default_factory=list, compare=False, repr=False)


Work: TypeAlias = FunctionWork | HttpWork | LlmWork


@dataclass(frozen=True)
class Done:
    """What came of a piece of work.

    Attributes:
        value: ``None`` if there is an error.
        error: what it raised, itself; ``None``: nothing.
        attempts: all questions, in order, also if there is an error.
        suggestions: of vocabularies, of the value.
        warnings: what was let pass, a line each.
        cache_hits, cache_misses: of a model that has a cache.
        replies: how many answers of a mock were played.
    """

    value: Any = None
    error: Exception | None = None
    attempts: Sequence[AttemptLog] = ()
    suggestions: Sequence[VocabSuggestion] = ()
    warnings: Sequence[str] = ()
    cache_hits: int = 0
    cache_misses: int = 0
    replies: int = 0


class Performer(Protocol):
    """Who performs work."""

    async def perform(self, work: Work) -> Done:
        """Perform it. Raises nothing for what it does: that is the ``error`` of what is returned."""
        ...
