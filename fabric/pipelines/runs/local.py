"""Work performed in this process: functions in the caller's thread or beside it, requests and questions in the loop."""

from __future__ import annotations

__all__ = ["Local", "open_local", "own"]

import contextvars
import inspect
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any

import trio

from fabric.pipelines.asking.clients import Clients
from fabric.pipelines.asking.models import Models, open_models
from fabric.pipelines.errors import StepExecutionError
from fabric.pipelines.runs.calling import Caller
from fabric.pipelines.runs.http import HttpPerformer
from fabric.pipelines.spec import FunctionStep, Pipeline
from fabric.pipelines.work import Done, FunctionWork, HttpWork, LlmWork, Work


@asynccontextmanager
async def open_local(
    pipeline: Pipeline, clients: Clients | None = None, caller: Caller | None = None
) -> AsyncIterator[Local]:
    """Return who performs the work of a pipeline in this process, for this trio loop and any number of runs.

    Args:
        pipeline: whose work it is.
        clients: of registered providers, if they outlive this.
        caller: see :class:`Local`.
    """
    async with open_models(clients, environment=pipeline.environment) as models, aclosing(HttpPerformer()) as http:
        yield Local(models, http, caller)


class Local:
    """Performs work in this process.

    Args:
        models: asks them.
        http: makes requests.
        caller: calls functions that have the run for themselves, in a thread that has no loop of ours; ``None``:
            threads of ours call all of them, for the caller's own thread has other things to do.
    """

    def __init__(self, models: Models, http: HttpPerformer, caller: Caller | None) -> None:
        self._models = models
        self._http = http
        self._caller = caller
        # A run knows how many functions it has under way. One that was abandoned is under way in none, and must not
        # keep others waiting, as it would with trio's own limit.
        self._threads = trio.CapacityLimiter(math.inf)

    async def perform(self, work: Work) -> Done:
        """Perform it. See :class:`fabric.pipelines.work.Performer`."""
        match work:
            case LlmWork():
                return await self._models.perform(work)
            case HttpWork():
                return await self._http.perform(work)
            case FunctionWork():
                return _lasting(work, await self._call(work))

    async def _call(self, work: FunctionWork) -> Done:
        function = partial(_call_of_user, work.step, work.inputs)
        if work.alone and self._caller is not None:
            done: Done = await self._caller.call(partial(contextvars.copy_context().run, function))
            return done
        # A function that is cancelled, because its step is not due after all or the run was ended, cannot be stopped.
        # One with effects is waited for: whoever ended the run may begin it anew. Any other runs to its end in its
        # thread, and what it gives goes nowhere.
        abandoned = work.step.kind == "transform"
        return await trio.to_thread.run_sync(function, abandon_on_cancel=abandoned, limiter=self._threads)


def own(value: Any) -> Any:
    """Return a value with lists and dicts of its own, at any depth; what else is in them is the same.

    So a function may change what it is given: no other step sees that, whether it is called sooner or later, in this
    process or in another. What refers to itself, or stands in it twice, does so in the copy.
    """
    copies: dict[int, Any] = {}
    open_ones: list[tuple[Any, Any]] = []  # with the copy, which is to be filled

    def copy_of(each: Any) -> Any:
        if type(each) is not dict and type(each) is not list:
            return each
        if id(each) not in copies:
            copies[id(each)] = type(each)()
            open_ones.append((each, copies[id(each)]))
        return copies[id(each)]

    result = copy_of(value)
    while open_ones:
        each, copy = open_ones.pop()
        if type(each) is dict:
            copy.update((key, copy_of(inner)) for key, inner in each.items())
        else:
            copy.extend(map(copy_of, each))
    return result


def _call_of_user(step: FunctionStep, inputs: Mapping[str, Any]) -> Done:
    assert step.function is not None, "a step without a function is no work"
    try:
        # To change it is an effect, and those of ``io`` steps have an order: they get what the others see.
        given = inputs if step.kind == "io" else own(inputs)
        return Done(step.function.function(**given))
    except Exception as error:  # noqa: BLE001 - whatever a function of the user's raises
        return Done(error=error)
    except (SystemExit, GeneratorExit) as error:  # of a script that is called as a function: it ends the step alone
        failure = StepExecutionError(f"its function would end the process: {error!r}")
        failure.__cause__ = error
        return Done(error=failure)


def _lasting(work: FunctionWork, done: Done) -> Done:
    """Refuse what has to be awaited or gone through by somebody: as the value of a step it is nothing yet."""
    if (
        not inspect.isawaitable(done.value)
        and not inspect.isgenerator(done.value)
        and not inspect.isasyncgen(done.value)
    ):
        return done
    if inspect.iscoroutine(done.value):
        done.value.close()  # nobody awaits it
    assert work.step.function is not None, "it gave something"
    return Done(
        error=StepExecutionError(
            f"step {work.step.name!r}: {work.step.function.text} gave a {type(done.value).__name__}, which is no value"
            " yet: let it return what comes of that, list(...) for one"
        )
    )
