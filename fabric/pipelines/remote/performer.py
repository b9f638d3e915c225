"""``place: fabric``: work is done by workers of a fabric, reached over ZeroMQ. Results are those of ``local``.

Everything that is decided is decided in this process, which evaluates expressions, renders prompts and commits results.
What is sent are leaves; ``envelope`` says how, ``program`` by which program, ``serving`` what becomes of a worker that
dies.
"""

from __future__ import annotations

__all__ = ["Remote", "open_remote"]

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import trio

from fabric import client
from fabric.errors import ConfigError, PipelineError
from fabric.lang.source import Source
from fabric.pipelines.errors import SchemaRefError, StepExecutionError
from fabric.pipelines.loading.references import package_of
from fabric.pipelines.remote.envelope import Envelopes, Leaf
from fabric.pipelines.remote.packing import Packing
from fabric.pipelines.remote.program import FUNCTION, Route, route_of, routes_of, write_program
from fabric.pipelines.remote.serving import File
from fabric.pipelines.runs.digests import digest_of_file
from fabric.pipelines.spec import Pipeline
from fabric.pipelines.work import Done, Work
from fabric.settings import read_settings, user_file

# Where servers and their keys are, if a model does not say its own: see ``hosted``.
_KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "OPENAI_API_KEY", "OPENAI_BASE_URL", "PLUMB_ENDPOINT")

Hear = Callable[[client.Telemetry], None]


class Remote:
    """Performs work in workers. Made by :func:`open_remote`, for one trio loop.

    Each message is ``{"do", "file", ...}``: ``perform`` with the ``work``, or for what has effects ``leave`` with the
    ``work`` and a ``number``, then ``carry_out`` with that ``number``. The answer is ``{"done"}``, ``{"left"}`` or
    ``{"died"}``.

    Args:
        running: the program of the workers.
        envelopes: write work.
        file: that the workers read.
        routes: of the pipeline's steps.
    """

    def __init__(self, running: client.Pipeline, envelopes: Envelopes, file: File, routes: tuple[Route, ...]) -> None:
        self._running = running
        self._envelopes = envelopes
        self._file = msgspec.to_builtins(file)
        self._routes = {route.worker: route for route in routes}
        self._other = msgspec.structs.replace(routes[0], once=False)  # for questions of no step: of vocabularies
        self._numbers = count(1)
        # One at a time: what waits behind one with effects was not begun when its worker dies, and can be done.
        self._turns = {route.worker: trio.Lock() for route in routes if route.once}

    async def perform(self, work: Work) -> Done:
        """Perform it in a worker. Raises nothing for what it does."""
        route = self._routes.get(route_of(work.step).worker, self._other)
        try:
            written = self._envelopes.write_work(work)
            if route.once:
                async with self._turns[route.worker]:
                    answer = await self._once(route, written)
            else:
                answer = await self._ask(route, {"do": "perform", "work": written})
            if "died" in answer:
                return _failed(
                    work.step,
                    f"worker {route.worker!r} died while it had this in hand. It has effects: they may have come about"
                    " or not, and it is not done again",
                )
            return self._envelopes.read_done(answer["done"])
        except StepExecutionError as error:
            return Done(error=error)
        except PipelineError as error:
            return _failed(work.step, f"worker {route.worker!r}: {error.detail}", error)

    async def _once(self, route: Route, written: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        answer = await self._ask(route, {"do": "leave", "number": number, "work": written})
        if "left" in answer:
            answer = await self._ask(route, {"do": "carry_out", "number": number})
        return answer

    async def _ask(self, route: Route, message: dict[str, Any]) -> dict[str, Any]:
        outputs = await self._running.call({**message, "file": self._file}, route.port)
        (output,) = outputs
        found = output.data if isinstance(output, client.Output) else output
        assert isinstance(found, dict)
        return found


def _failed(step: Leaf, text: str, cause: Exception | None = None) -> Done:
    error = StepExecutionError(f"step {step.name!r}: {text}")
    error.__cause__ = cause
    return Done(error=error)


@asynccontextmanager
async def open_remote(
    pipeline: Pipeline,
    *,
    schemas: Mapping[str, type] | None = None,
    hear: Hear | None = None,
    function: str = FUNCTION,
) -> AsyncIterator[Remote]:
    """Start the workers of a pipeline's steps; they end with this. For any number of runs, also at once.

    Workers are started as ``fabric run`` starts those of a program in the working directory: ``[workers.NAME]`` of
    ``fabric.toml`` says how many replicas they have, on which host they are, and so on.

    Args:
        pipeline: some step of it is carried out in workers. They are given the variables that its files name.
        schemas: classes that the caller has put in place of schemas of the file, by step.
        hear: takes the telemetry of the workers: what questions to models took, and what functions tell.
        function: what the workers call.

    Raises:
        StepConfigError: a worker cannot be called what the file says.
        SchemaRefError: a class of ``schemas`` cannot be found by workers.
        ConfigError: a worker for steps with effects has replicas.
        RunError: they could not be started.
    """
    routes = routes_of(pipeline)
    if not routes:
        raise ConfigError(f"{pipeline.path}: no step says place: fabric")
    await trio.to_thread.run_sync(_expect_no_replicas, routes)
    given = {**{name: held for name in _KEYS if (held := pipeline.environment.get(name))}, **pipeline.env}
    path = pipeline.path.resolve()
    digest = await trio.to_thread.run_sync(digest_of_file, path)
    file = File(str(path), digest, _names(schemas or {}, package_of(path.parent)))
    text = write_program(routes, given, function)
    source = Source(str(Path.cwd() / f"{path.stem} (place: fabric)"), text)
    async with (
        await client.run(source, verbose=hear is not None, env=given) as running,
        trio.open_nursery() as nursery,
    ):
        if hear is not None:
            nursery.start_soon(_hear, running, hear)
        yield Remote(running, Envelopes(pipeline), file, routes)
        nursery.cancel_scope.cancel()


async def _hear(running: client.Pipeline, hear: Hear) -> None:
    while (told := await running.recv_telemetry()) is not None:
        hear(told)


def _names(schemas: Mapping[str, type], package: str) -> tuple[tuple[str, str], ...]:
    packing = Packing({}, {}, package)
    names = [(step, packing.class_name(class_), class_) for step, class_ in schemas.items()]
    for step, name, class_ in names:
        if name is None:
            raise SchemaRefError(
                f"step {step!r}: workers cannot find {class_.__qualname__} of {class_.__module__}: put it at the top of"
                " a module, or say place: local"
            )
    return tuple((step, name) for step, name, _ in names if name is not None)


def _expect_no_replicas(routes: tuple[Route, ...]) -> None:
    """Refuse several workers where the second message of a piece of work has to reach the one that has the first."""
    workers = read_settings(Path.cwd(), user_file(os.environ)).workers
    for route in routes:
        said = workers.get(route.worker)
        if route.once and said is not None and (said.replicas or 1) > 1:
            raise ConfigError(
                f"{said.place}: [workers.{route.worker}] replicas: this worker carries out steps with effects, one"
                " after the other, and cannot have replicas; steps that say another worker: have one of their own"
            )
