"""A batch under way: a thread with a loop of trio that runs items, and what its caller does with them.

All methods are called by one thread, that of the caller; but for ``_run``, which is the other one.
"""

from __future__ import annotations

__all__ = ["Course", "Given"]

import contextlib
import contextvars
import dataclasses
import logging
import queue
import threading
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import trio
from pydantic import BaseModel

from fabric.errors import ConfigError
from fabric.pipelines.batches.fingerprint import digests_of
from fabric.pipelines.batches.item import item_under_way
from fabric.pipelines.batches.journal import Journal, open_journal
from fabric.pipelines.batches.keeping import Keeping
from fabric.pipelines.remote.packing import Unpackable
from fabric.pipelines.results import FailureState, RunContext, VocabSuggestion
from fabric.pipelines.runs.accounting import Account
from fabric.pipelines.runs.calling import Inline
from fabric.pipelines.runs.digests import digest_of
from fabric.pipelines.runs.dumping import text_of
from fabric.pipelines.runs.engine import Engine, Prepared
from fabric.pipelines.runs.hooks import Hooks
from fabric.pipelines.runs.outputs import DIRECTORY
from fabric.pipelines.runs.run import Options
from fabric.pipelines.spec import Pipeline

THREADS_MIN = 40
"""As many functions as trio calls in threads at once if nobody says anything."""

_log = logging.getLogger("fabric.pipelines.batch")


def _shares_directory(pipeline: Pipeline, options: Options) -> bool:
    """Whether all items have the same directory of outputs; that is warned of."""
    outputs = pipeline.outputs
    if outputs is None or not outputs.dir.constant or options.dry_run:
        return False
    text = "%s: 'outputs.dir' does not depend on the input: the items of a batch replace each other's files"
    _log.warning(text, pipeline.path)
    return True


@dataclass
class Given:
    """An item of a batch.

    Attributes:
        item: the input.
        id: by which the caller knows it.
        place: among the items, from 0.
        key: by which the journal knows it; empty: there is no journal.
        context: what it left; ``None``: it has not ended yet.
        told: whether hooks have been told of it, in an earlier process.
    """

    item: Any
    id: Any
    place: int
    key: str = ""
    context: RunContext | None = None
    told: bool = False


@dataclass(frozen=True)
class _Broken:
    """The loop has ended, and nothing will come of it any more."""

    error: BaseException


Ended: TypeAlias = Given | _Broken


class Course:
    """Runs items. A context manager: leaving it cancels what is under way.

    With a journal, an item that has had effects, or has them just now, is not cancelled but run to its end, and waited
    for: it is in the journal then, and nothing of it is done again.

    Args:
        pipeline: is run.
        overrides: of its models.
        options: of all runs.
        window: items under way, or ended and not taken, at most.
        journal: keeps what was run; ``None``: nothing does.
        resume: whether it goes on with what the journal has.
        retry_failed: whether it runs items again that have failed.
        schemas: classes that the caller has put in place of schemas of the file.
        account: counts what runs take.

    Raises:
        ConfigError: the journal cannot be used.
        PipelineLoadError: an override has a wrong value.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        overrides: Mapping[str, Mapping[str, Any]],
        options: Options,
        window: int,
        *,
        journal: Path | None,
        resume: bool,
        retry_failed: bool,
        schemas: Mapping[str, type[BaseModel]] | None,
        account: Account,
    ) -> None:
        self._engine = Engine(pipeline, Hooks(), schemas, account)
        self._prepared = self._engine.prepared({}, overrides, options)
        self._window = window
        self._journal: Journal | None = None
        self._retries = retry_failed
        self._keeping = Keeping(pipeline, self._prepared.models)
        if journal is not None:
            # Overrides may have a key in them: the journal has what they are known by.
            matters = {"dry_run": options.dry_run, "model_overrides": digest_of(overrides)}
            self._journal = open_journal(journal, pipeline.path, matters, digests_of(pipeline), resume=resume)
        self._seen: Counter[bytes] = Counter()
        self._out = 0
        self._directories: dict[bytes, int] = {}
        self._shares_directory = _shares_directory(pipeline, options)
        self._suggested: dict[int, list[VocabSuggestion]] = {}
        self._finished = False
        self.ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()
        self._begun: Future[trio.lowlevel.TrioToken] = Future()
        self._scope = trio.CancelScope()
        self._send, self._receive = trio.open_memory_channel[Given](window)
        context = contextvars.copy_context()  # of the caller: functions of the user's see what they see in a run
        self._thread = threading.Thread(target=context.run, args=(self._run,), name="fabric-batch", daemon=True)

    # --- what the caller does -----------------------------------------------------------------------------------------

    def __enter__(self) -> Course:
        self._thread.start()
        try:
            self._token = self._begun.result()
        except BaseException:
            self._close_journal()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._post(self._scope.cancel)
        self._thread.join()
        if self._suggested and not self._finished:
            count = sum(map(len, self._suggested.values()))
            _log.warning("the batch was ended early: vocabularies have not grown by %d suggestions", count)
        self.ended.put(_Broken(RuntimeError("the batch has been closed")))  # for a thread that still waits for an item
        self._close_journal()

    @property
    def has_room(self) -> bool:
        """Whether an item may begin."""
        return self._out < self._window

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way, or waits to be taken."""
        return self._out == 0

    def begin(self, given: Given) -> None:
        """Begin an item; one that the journal has has ended already."""
        if self._journal is not None:
            given.key = self._key_of(given)
            if given.key in self._journal and not (self._retries and self._journal.run_of(given.key)["failed"]):
                given.context = self._restored(self._journal, given)
                given.told = self._journal.was_told(given.key)
                self._out += 1
                self.ended.put(given)
                return
        self._out += 1
        self._post(lambda: self._send.send_nowait(given))

    def take(self, ended: Ended) -> Given:
        """Take an item that has ended: there is room for another one.

        Raises:
            BaseException: the loop has ended.
        """
        if isinstance(ended, _Broken):
            raise ended.error
        self._out -= 1
        assert ended.context is not None
        self._check_directory(ended, ended.context)
        suggested = ended.context.summary().vocab_suggestions
        if suggested and not (self._journal is not None and self._journal.has_grown(ended.key)):
            self._suggested[ended.place] = suggested
        return ended

    def _check_directory(self, ended: Given, context: RunContext) -> None:
        """Warn if an item has the directory of outputs of another one."""
        directory = context.metadata.get(DIRECTORY)
        if directory is None or self._shares_directory:
            return
        first = self._directories.setdefault(bytes.fromhex(digest_of(directory)), ended.place)
        if first != ended.place:
            text = "items %d and %d (from 0) have their outputs in %s: those of one are replaced by the other's"
            _log.warning(text, *sorted((first, ended.place)), directory)

    def note_told(self, given: Given) -> None:
        """Note that hooks have been told of an item: they are not told again."""
        if self._journal is not None:
            self._journal.tell(given.key)

    def finish(self) -> None:
        """End the batch when all has been taken: let vocabularies grow, in the order of the items."""
        self._post(self._send.close)
        self._thread.join()
        self._finished = True
        try:
            broken = self.ended.get_nowait()
        except queue.Empty:
            return
        self.take(broken)

    def _restored(self, journal: Journal, given: Given) -> RunContext:
        try:
            return self._keeping.restore(journal.run_of(given.key), given.item)
        except Unpackable as error:
            text = f"what item {given.id!r} left cannot be read from the journal: {error}"
            raise ConfigError(
                f"{text}; if the pipeline has been changed so much, begin anew with another file"
            ) from None

    def _close_journal(self) -> None:
        if self._journal is not None:
            self._journal.close()

    def _key_of(self, given: Given) -> str:
        try:
            digest = digest_of(given.item)
        except ValueError as error:
            raise ConfigError(f"item {given.id!r} cannot be kept in a journal, for it is not JSON: {error}") from None
        packed = bytes.fromhex(digest)
        self._seen[packed] += 1
        return f"{digest}:{self._seen[packed]}"

    def _post(self, function: Any) -> None:
        with contextlib.suppress(trio.RunFinishedError):  # what broke it waits to be taken
            self._token.run_sync_soon(function)

    # --- what the loop does -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:  # noqa: BLE001 - it goes to the caller
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            if not self._begun.done():
                self._begun.set_exception(error)
            self.ended.put(_Broken(error))

    async def _main(self) -> None:
        limiter = trio.to_thread.current_default_thread_limiter()
        limiter.total_tokens = max(THREADS_MIN, self._window)
        with self._scope:
            async with self._engine.kept_open():
                self._begun.set_result(trio.lowlevel.current_trio_token())
                async with trio.open_nursery() as nursery:
                    async for given in self._receive:
                        nursery.start_soon(self._one, given)
                await self._grow()

    async def _one(self, given: Given) -> None:
        item_under_way.set((given.id,))
        with trio.CancelScope() as scope:
            try:
                given.context = await self._engine.run_once(
                    self._prepared_for(given.item, scope), Inline(), inline=False
                )
            except Exception as error:  # noqa: BLE001 - it fails this item
                text = text_of(error)
                _log.error("item %r of the batch failed outside of its steps: %s", given.id, text, exc_info=error)
                given.context = RunContext({}, failed=True, failure_state=FailureState("<batch>", error))
            if self._journal is not None:
                self._journal.write(given.key, self._keeping.keep(given.context))
            self.ended.put(given)

    def _prepared_for(self, item: Any, scope: trio.CancelScope) -> Prepared:
        if not isinstance(item, Mapping):
            raise TypeError(f"an item of a batch is a map: it is 'ctx'; this is {type(item).__name__}")
        if self._journal is None:
            return dataclasses.replace(self._prepared, input=item)

        def shield() -> None:
            # Were it cancelled, the journal would not have it, and its effects would be had again.
            scope.shield = True

        options = dataclasses.replace(self._prepared.options, before_effects=shield)
        return dataclasses.replace(self._prepared, input=item, options=options)

    async def _grow(self) -> None:
        suggestions = [each for _, some in sorted(self._suggested.items()) for each in some]
        if suggestions:
            if self._journal is not None:
                self._journal.begin_growth()
            context = await self._engine.grow(self._prepared, suggestions)
            count = len(context.metadata["attempt_logs"])
            _log.info("vocabularies have grown by %d suggestions; models were asked %d times", len(suggestions), count)
        if self._journal is not None:
            self._journal.end_growth()
