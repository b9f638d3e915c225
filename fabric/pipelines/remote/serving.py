"""The workers' side of ``place: fabric``: a worker reads the pipeline's file itself, and performs what it is sent.

*What is done again, and what is not.* A worker that dies takes its answer along, so the fabric gives the message to the
next process. For functions that are ``transform`` or ``validate``, for requests that only read and for questions to
models that is right: they may be done again. ``io`` and other requests have effects, and nobody can see whether a
process that died has had them. So they come in two messages. The first one leaves the work with the process, the
second one has it carried out. A process that is told to carry out what was not left with it took the place of one that
died: it says so, nothing is done, and the step fails with that. It was done once or not at all, never twice.
"""

from __future__ import annotations

__all__ = ["File", "Serving"]

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec

from fabric.errors import FabricError
from fabric.pipelines.errors import SchemaRefError, StepExecutionError
from fabric.pipelines.loading.pipeline import load_pipeline
from fabric.pipelines.loading.references import Importer
from fabric.pipelines.remote.envelope import Envelopes, write_failure
from fabric.pipelines.results import AttemptLog
from fabric.pipelines.runs.digests import digest_of_file
from fabric.pipelines.runs.local import open_local
from fabric.pipelines.spec import Pipeline
from fabric.pipelines.work import Performer, Work
from fabric.worker import telemetry


class File(msgspec.Struct, frozen=True):
    """Which pipeline a message is of.

    Attributes:
        path: of its file, absolute.
        digest: of what is in it.
        schemas: classes that the caller has put in place of schemas of the file: step and ``module:class``.
    """

    path: str
    digest: str
    schemas: tuple[tuple[str, str], ...] = ()


class Serving:
    """What each worker calls. It does one thing at a time; what it opens stays open until it is closed.

    Args:
        load: reads a file.
        open_performer: opens what performs.
    """

    def __init__(
        self,
        load: Callable[[File], Pipeline] | None = None,
        open_performer: Callable[[Pipeline], AbstractAsyncContextManager[Performer]] | None = None,
    ) -> None:
        self._load = load or _load
        self._open = open_performer or _open
        self._opened = AsyncExitStack()
        self._served: dict[File, tuple[Envelopes, Performer]] = {}
        self._left: tuple[int, Work] | None = None

    async def __call__(self, message: Any) -> dict[str, Any]:
        """Answer a message of :class:`fabric.pipelines.remote.performer.Remote`, which knows them."""
        try:
            envelopes, performer = await self._serve(msgspec.convert(message["file"], File))
        except (FabricError, OSError) as error:
            return {"done": write_failure(error)}
        if message["do"] == "carry_out":
            left, self._left = self._left, None
            if left is None or left[0] != message["number"]:
                return {"died": True}
            work = left[1]
        else:
            try:
                work = envelopes.read_work(message["work"])
            except StepExecutionError as error:
                return {"done": write_failure(error)}
        if message["do"] == "leave":
            self._left = (message["number"], work)
            return {"left": True}
        done = await performer.perform(work)
        for log in done.attempts:
            _tell(log)
        return {"done": envelopes.write_done(done, work.step)}

    async def _serve(self, file: File) -> tuple[Envelopes, Performer]:
        if file not in self._served:
            pipeline = self._load(file)
            performer = await self._opened.enter_async_context(self._open(pipeline))
            self._served[file] = Envelopes(pipeline), performer
        return self._served[file]

    async def close(self) -> None:
        """Close what it has opened."""
        await self._opened.aclose()


def _load(file: File) -> Pipeline:
    path = Path(file.path)
    if digest_of_file(path) != file.digest:
        raise StepExecutionError(
            f"{path} is not what it was when the workers were started: it was changed, or this is another host's"
        )
    importer = Importer(path.parent)
    return load_pipeline(path, {step: importer.find(name, SchemaRefError) for step, name in file.schemas})


def _open(pipeline: Pipeline) -> AbstractAsyncContextManager[Performer]:
    return open_local(pipeline)


def _tell(log: AttemptLog) -> None:
    """Tell what a question took, as agents do: so it is counted, and shown, like theirs."""
    if log.tokens is not None and not log.cached:
        used = {name: log.tokens.get(name, 0) for name in ("prompt_tokens", "completion_tokens")}
        telemetry("usage", model=log.model[:200], step=log.step, **used)
