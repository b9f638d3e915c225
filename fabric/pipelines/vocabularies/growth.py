"""How vocabularies grow after a run, by what it suggested. Pure: who asks models and writes files is ``growing``.

What a run suggested is taken in the order of the run, so the same runs in the same order leave the same vocabularies. A
value that was nearly a term is never added by itself: it would be a term the next time, and the same input would give
another output.
"""

from __future__ import annotations

__all__ = ["Growth", "GrowthQuestion", "grow", "growth_questions", "is_yes"]

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fabric.pipelines.results import VocabSuggestion
from fabric.pipelines.vocab import Vocabulary


@dataclass(frozen=True)
class GrowthQuestion:
    """Whether a model thinks that a value should become a term.

    Attributes:
        vocabulary: its name.
        suggestion: which value.
        model: a key of ``models``; ``None``: the first one.
        prompt: what it is asked; it answers yes or no.
    """

    vocabulary: str
    suggestion: VocabSuggestion
    model: str | None
    prompt: str


@dataclass(frozen=True)
class Growth:
    """What became of suggestions.

    Attributes:
        added: terms, by name of the vocabulary, in the order in which they came.
        queued: what waits for a review, by name of the vocabulary.
        refused: what a model or a function did not want, by name of the vocabulary.
        seen: names of vocabularies of which something was suggested.
        problems: what went wrong, a line each.
    """

    added: dict[str, dict[str, None]] = field(default_factory=dict)
    queued: dict[str, list[VocabSuggestion]] = field(default_factory=dict)
    refused: dict[str, dict[str, None]] = field(default_factory=dict)
    seen: dict[str, None] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def growth_questions(
    suggestions: Sequence[VocabSuggestion], vocabularies: Mapping[str, Vocabulary]
) -> Sequence[GrowthQuestion]:
    """Return what models have to be asked before :func:`grow`: each novel value once, in order.

    Args:
        suggestions: of a run, in its order.
        vocabularies: of the pipeline, by name.
    """
    asked: dict[tuple[str, str], GrowthQuestion] = {}
    for name, vocabulary, suggestion in _open(suggestions, vocabularies):
        if vocabulary.growth_policy == "llm" and suggestion.match_type == "novel":
            model = vocabulary.growth_policy_model
            question = GrowthQuestion(name, suggestion, model, _prompt(vocabulary, suggestion))
            asked.setdefault((name, suggestion.raw_value), question)
    return tuple(asked.values())


def is_yes(answer: str) -> bool:
    """Whether an answer is a yes: its first word is."""
    found = re.search(r"[^\W\d_]+", answer)
    return found is not None and found[0].casefold() in ("yes", "y", "true")


def grow(
    suggestions: Sequence[VocabSuggestion],
    vocabularies: Mapping[str, Vocabulary],
    accepted: Collection[tuple[str, str]] = (),
) -> Growth:
    """Let vocabularies grow, and return what became of each suggestion. Snapshots of them stay as they are.

    Args:
        suggestions: of a run, in its order; of several, in the order of their inputs.
        vocabularies: of the pipeline, by name.
        accepted: values that models want: name of the vocabulary, and the value.
    """
    growth = Growth()
    for name, vocabulary, suggestion in _open(suggestions, vocabularies):
        growth.seen[name] = None
        value = suggestion.raw_value
        if vocabulary.growth_policy == "human":
            growth.queued.setdefault(name, []).append(suggestion)
        elif value in growth.added.get(name, {}):
            continue
        elif _wanted(vocabulary, suggestion, (name, value) in accepted, growth):
            growth.added.setdefault(name, {})[value] = None
        elif vocabulary.growth_policy != "auto":
            growth.refused.setdefault(name, {})[value] = None
    # At once: each change of a vocabulary makes its terms be indexed anew.
    for name, added in growth.added.items():
        vocabularies[name].add_terms(added)
    for name, queued in growth.queued.items():
        vocabularies[name].queue(queued)
    return growth


def _open(
    suggestions: Sequence[VocabSuggestion], vocabularies: Mapping[str, Vocabulary]
) -> Iterator[tuple[str, Vocabulary, VocabSuggestion]]:
    """Return suggestions about which nothing has been decided, each with its vocabulary."""
    for suggestion in suggestions:
        name = suggestion.vocabulary or suggestion.vocab_label or ""
        vocabulary = vocabularies.get(name)
        if vocabulary is None or suggestion.match_type == "exact":
            continue
        if not vocabulary.denies(suggestion.raw_value) and not vocabulary.knows(suggestion.raw_value):
            yield name, vocabulary, suggestion


def _wanted(vocabulary: Vocabulary, suggestion: VocabSuggestion, accepted: bool, growth: Growth) -> bool:
    """Whether a value becomes a term."""
    policy = vocabulary.growth_policy
    if not callable(policy):
        return suggestion.match_type == "novel" and (policy == "auto" or accepted)
    try:
        return bool(policy(suggestion))
    except Exception as error:  # noqa: BLE001 - a function of the user's: it decides nothing, and the run stands
        what = f"{type(error).__name__}: {error}"
        growth.problems.append(f"growth_policy of {vocabulary.label!r} on {suggestion.raw_value!r:.80}: {what}")
        return False


def _prompt(vocabulary: Vocabulary, suggestion: VocabSuggestion) -> str:
    lines = [
        f"Somebody keeps a controlled vocabulary called {vocabulary.label!r}.",
        *([f"What it is for: {vocabulary.description}"] if vocabulary.description else []),
        f"Its terms: {', '.join(sorted(vocabulary.known))}",
        *([f"Excluded: {', '.join(sorted(vocabulary.denied))}"] if vocabulary.denied else []),
        f"A text says {suggestion.raw_value!r}, which is none of them.",
        *([f"Whoever read the text would rather say {suggestion.ideal_value!r}."] if suggestion.ideal_value else []),
        f"Should {suggestion.raw_value!r} become a term of this vocabulary? Reply yes or no.",
    ]
    return "\n".join(lines)
