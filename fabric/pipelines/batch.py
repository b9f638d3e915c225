"""A pipeline for many inputs: so many at once, each result as soon as it is there, in memory that does not grow.

One thread of ours has a loop of trio with connections and workers for all items. The thread of the caller takes items
from whatever it was given, one for each that has ended: an item begins when the caller has taken an earlier result. So
a caller who is slow slows the batch down, and at most ``max_workers`` items are under way or wait to be taken.

What depends on the order in which items end is their own order of results, and nothing else: all of them see the
vocabularies as they were at the start, which grow at the end, in the order of the items.
"""

from __future__ import annotations

__all__ = ["BatchResult", "BatchRunner", "BatchSummary"]

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, overload

import trio
from pydantic import BaseModel

from fabric.errors import ConfigError
from fabric.pipelines.batches.course import Course, Given
from fabric.pipelines.batches.progress import Progress
from fabric.pipelines.loading.pipeline import load_pipeline
from fabric.pipelines.results import RunContext
from fabric.pipelines.runs.accounting import Account, account_of
from fabric.pipelines.runs.calling import loop_here
from fabric.pipelines.runs.hooks import attempt, expect_hook
from fabric.pipelines.runs.run import Options
from fabric.pipelines.spec import Place

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class BatchSummary:
    """A batch in numbers.

    Attributes:
        total: items.
        succeeded, failed: how many of them.
        error_rate: from 0 to 1.
        failed_ids: in the order of the results.
    """

    total: int
    succeeded: int
    failed: int
    error_rate: float
    failed_ids: list[Any] = field(default_factory=list)


class BatchResult:
    """All results of a batch, in the order in which the items ended: pairs of an id and a RunContext."""

    def __init__(self, items: list[tuple[Any, RunContext]]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[tuple[Any, RunContext]]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> tuple[Any, RunContext]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[Any, RunContext]]: ...
    def __getitem__(self, index: int | slice) -> tuple[Any, RunContext] | list[tuple[Any, RunContext]]:
        return self._items[index]

    @property
    def successes(self) -> list[tuple[Any, RunContext]]:
        """Those that did not fail."""
        return [(item_id, context) for item_id, context in self._items if not context.failed]

    @property
    def failures(self) -> list[tuple[Any, RunContext]]:
        """Those that failed."""
        return [(item_id, context) for item_id, context in self._items if context.failed]

    @property
    def error_rate(self) -> float:
        """How many failed, from 0 to 1; 0 if there is none."""
        return len(self.failures) / len(self) if self._items else 0.0

    def summary(self) -> BatchSummary:
        """Return the batch in numbers."""
        failed = [item_id for item_id, _ in self.failures]
        return BatchSummary(len(self), len(self) - len(failed), len(failed), self.error_rate, failed)


class BatchRunner:
    """Runs a pipeline for many inputs.

    Args:
        path: of the pipeline's file.
        max_workers: items at once.
        progress: whether tqdm shows how many have ended; ``None``: if it is installed and a terminal is there.
        schemas: models of pydantic by the name of a step, over what the file says.
        journal: file that keeps what has been run, for ``resume``. Items have to be JSON then.
        place: where steps are carried out that do not say it; ``None``: where the file says.

    Raises:
        PipelineLoadError: something is wrong with the files; ``problems`` has all of it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        max_workers: int = 4,
        progress: bool | None = None,
        schemas: Mapping[str, type[BaseModel]] | None = None,
        *,
        journal: str | os.PathLike[str] | None = None,
        place: Place | None = None,
    ) -> None:
        if max_workers < 1:
            raise ConfigError(f"'max_workers' is {max_workers}, and should be 1 or more")
        self._pipeline = load_pipeline(path, schemas).at(place)
        self._max_workers = max_workers
        self._progress = progress
        self._schemas = schemas
        self._journal = None if journal is None else Path(journal)
        self._hooks: list[Callable[[Any, RunContext], Any]] = []
        self._account = account_of(self._pipeline)

    @property
    def account(self) -> Account:
        """What its runs took so far: ``fabric.metrics.Page(batch.account.samples)`` writes it for Prometheus."""
        return self._account

    def on_batch_item_end(self, hook: F) -> F:
        """Call a function with the id and the RunContext of each item, in the thread of the caller. Decorates, too."""
        expect_hook("on_batch_item_end", hook)
        self._hooks.append(hook)
        return hook

    def run(
        self,
        items: Iterable[Mapping[str, Any]],
        key: str = "id",
        model_overrides: Mapping[str, Mapping[str, Any]] | None = None,
        use_cache: bool = True,
        refresh_cache: bool = False,
        dry_run: bool = False,
        *,
        resume: bool = False,
        retry_failed: bool = False,
    ) -> Generator[tuple[Any, RunContext], None, None]:
        """Run it for each item; return the id and what was left of each, as they end.

        Items are taken as there is room for them, so they may be more than fit into memory. Whoever stops before the
        end cancels what is under way. With a journal, that waits for items that have had effects (``io`` steps, and
        requests that do more than read), for they would have them again.

        Args:
            items: inputs.
            key: of an item, which has its id; an item without it has its place as id, counted from 0.
            model_overrides: keys of models, by their names, over those of the file.
            use_cache: whether answers that were kept are taken.
            refresh_cache: whether models are asked again, and the answers that were kept replaced.
            dry_run: whether models, requests and ``io`` steps are left out.
            resume: whether items that the journal has are not run again; what they left comes from there.
            retry_failed: whether those of them are run again that failed. It goes with ``resume``.

        Raises:
            ConfigError: the journal cannot be used.
            PipelineLoadError: an override has a wrong value.
        """
        options = Options(use_cache=use_cache, refresh_cache=refresh_cache, dry_run=dry_run, grow=False)
        begun = self._begin(model_overrides, options, resume, retry_failed)
        with begun as course, Progress(self._progress, items) as progress:
            feed = _Feed(items, key)
            while True:
                feed.fill(course)
                if course.is_idle:
                    break
                ended = course.take(course.ended.get())
                feed.fill(course)  # its place is taken while the caller is busy with it
                progress.count()
                yield self._told(course, ended)
            feed.raise_failure()
            course.finish()

    def run_all(self, items: Iterable[Mapping[str, Any]], key: str = "id", **options: Any) -> BatchResult:
        """Do the same, and return all results at once: they have to fit into memory."""
        return BatchResult(list(self.run(items, key, **options)))

    async def arun(
        self,
        items: Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]],
        key: str = "id",
        model_overrides: Mapping[str, Mapping[str, Any]] | None = None,
        use_cache: bool = True,
        refresh_cache: bool = False,
        dry_run: bool = False,
        *,
        resume: bool = False,
        retry_failed: bool = False,
    ) -> AsyncIterator[tuple[Any, RunContext]]:
        """Do the same in a task of trio or asyncio, which goes on meanwhile. Close it if you stop before its end."""
        options = Options(use_cache=use_cache, refresh_cache=refresh_cache, dry_run=dry_run, grow=False)
        begun = self._begin(model_overrides, options, resume, retry_failed)
        with begun as course, Progress(self._progress, items) as progress:
            feed = _Feed(items, key)
            while True:
                await feed.fill_waiting(course)
                if course.is_idle:
                    break
                ended = course.take(await _in_thread(course.ended.get))
                await feed.fill_waiting(course)
                progress.count()
                yield self._told(course, ended)
            feed.raise_failure()
            await _in_thread(course.finish)

    def _begin(
        self, overrides: Mapping[str, Mapping[str, Any]] | None, options: Options, resume: bool, retry_failed: bool
    ) -> Course:
        if retry_failed and not resume:
            raise ConfigError("retry_failed=True goes with resume=True: what failed is in the journal")
        if resume and self._journal is None:
            raise ConfigError(
                "resume=True needs a journal, which says what has been run: BatchRunner(..., journal=FILE)"
            )
        return Course(
            self._pipeline,
            overrides or {},
            options,
            self._max_workers,
            journal=self._journal,
            resume=resume,
            retry_failed=retry_failed,
            schemas=self._schemas,
            account=self._account,
        )

    def _told(self, course: Course, ended: Given) -> tuple[Any, RunContext]:
        assert ended.context is not None
        if not ended.told:
            for hook in self._hooks:
                attempt("a hook of on_batch_item_end", hook, ended.id, ended.context)
            if self._hooks:
                course.note_told(ended)
        return ended.id, ended.context


class _Feed:
    """Gives items to a batch as long as there is room. What fails here is raised when all that had begun has ended."""

    def __init__(self, items: Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]], key: str) -> None:
        self._items = aiter(items) if isinstance(items, AsyncIterable) else iter(items)
        self._key = key
        self._count = 0
        self._over = False
        self._failure: Exception | None = None

    def fill(self, course: Course) -> None:
        """Begin items that are there."""
        assert isinstance(self._items, Iterator)
        while course.has_room and not self._over:
            with self._guarded():
                course.begin(self._given(next(self._items)))

    async def fill_waiting(self, course: Course) -> None:
        """Begin items that may have to be waited for."""
        if isinstance(self._items, Iterator):
            self.fill(course)
            return
        while course.has_room and not self._over:
            with self._guarded():
                course.begin(self._given(await anext(self._items)))

    def raise_failure(self) -> None:
        """Raise why there were no more items, if that was no end."""
        if self._failure is not None:
            raise self._failure

    def _given(self, item: Any) -> Given:
        place, self._count = self._count, self._count + 1
        known = isinstance(item, Mapping) and self._key in item
        return Given(item, item[self._key] if known else place, place)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """No items come after those whose source ends or fails here."""
        try:
            yield
        except (StopIteration, StopAsyncIteration):
            self._over = True
        except Exception as error:  # noqa: BLE001 - raised by raise_failure
            self._over, self._failure = True, error


T = TypeVar("T")


async def _in_thread(function: Callable[[], T]) -> T:
    if loop_here() == "asyncio":
        return await asyncio.to_thread(function)
    return await trio.to_thread.run_sync(function, abandon_on_cancel=True)
