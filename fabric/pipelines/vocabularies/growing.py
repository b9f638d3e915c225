"""Lets vocabularies grow after a run: asks models, and writes files. What is decided is decided in ``growth``."""

from __future__ import annotations

__all__ = ["Ask", "grow_after_run", "persist"]

import fcntl
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import trio

from fabric.errors import ConfigError
from fabric.pipelines.results import VocabSuggestion
from fabric.pipelines.vocab import Vocabulary
from fabric.pipelines.vocabularies.files import read_vocabulary, write_vocabulary
from fabric.pipelines.vocabularies.growth import Growth, GrowthQuestion, grow, growth_questions, is_yes

# Asks a model, and returns what it says, word for word; whatever it raises counts as a no.
Ask: TypeAlias = Callable[[GrowthQuestion], Awaitable[str]]


async def grow_after_run(
    suggestions: Sequence[VocabSuggestion], vocabularies: Mapping[str, Vocabulary], directory: Path, ask: Ask
) -> Growth:
    """Let the vocabularies of a pipeline grow by what a run suggested, and write those that are to be written.

    Nothing that goes wrong here makes a run fail: it is in ``problems``, for the caller to log.

    Args:
        suggestions: of a run, in its order; of several, in the order of their inputs.
        vocabularies: of the pipeline, by name.
        directory: of the pipeline.
        ask: asks a model; one question at a time.
    """
    accepted: list[tuple[str, str]] = []
    problems: list[str] = []
    for question in growth_questions(suggestions, vocabularies):
        try:
            if is_yes(await ask(question)):
                accepted.append((question.vocabulary, question.suggestion.raw_value))
        except Exception as error:  # noqa: BLE001 - no answer is a no
            value = question.suggestion.raw_value
            problems.append(f"vocabulary {question.vocabulary!r}: no model decided about {value!r:.80}: {error}")
    growth = grow(suggestions, vocabularies, accepted)
    growth.problems[:0] = problems
    if growth.seen:
        # Another process may be writing, and a disk may be slow: others of this loop do not wait for it.
        await trio.to_thread.run_sync(persist, growth, vocabularies, directory)
    return growth


def persist(growth: Growth, vocabularies: Mapping[str, Vocabulary], directory: Path) -> Sequence[Path]:
    """Write vocabularies of which something was suggested; return the files. What cannot be written is a problem.

    A file says what it says now, with what has come: what others have written meanwhile stays.

    Args:
        growth: what has come.
        vocabularies: of the pipeline, by name.
        directory: of the pipeline.
    """
    written: list[Path] = []
    for name in growth.seen:
        try:
            path = _file(vocabularies[name], name in growth.queued, directory)
            if path is not None:
                _write(vocabularies[name], path, growth.added.get(name, ()), growth.queued.get(name, ()))
                written.append(path)
        except (OSError, ConfigError) as error:
            growth.problems.append(f"vocabulary {name!r} is not written: {error}")
    return written


def _file(vocabulary: Vocabulary, queued: bool, directory: Path) -> Path | None:
    """Return the file that a vocabulary is written to; ``None``: none.

    What waits for a person is written unless the file says ``persist: false``: it would never be seen otherwise.
    """
    if vocabulary.persist is None:
        return vocabulary.path if queued else None
    if not vocabulary.persist:
        return None
    if vocabulary.persist is not True:
        return directory / vocabulary.persist
    if vocabulary.path is not None:
        return vocabulary.path
    if Path(vocabulary.label).name != vocabulary.label:
        raise ConfigError(f"its label {vocabulary.label!r} is no name of a file: say 'persist: FILE'")
    return directory / "vocabularies" / f"{vocabulary.label}.yaml"


def _write(vocabulary: Vocabulary, path: Path, added: Iterable[str], queued: Sequence[VocabSuggestion]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path.parent):
        if not path.exists():
            write_vocabulary(vocabulary, path)
            return
        now = read_vocabulary(path)
        now.add_terms([term for term in added if not now.denies(term)])
        now.queue(one for one in queued if not (now.denies(one.raw_value) or now.knows(one.raw_value)))
        write_vocabulary(now, path)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep other processes from writing vocabularies of a directory; the system lets go when a process dies."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
