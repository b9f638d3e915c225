"""A pipeline made by hand, and workers for it that need no file: what ``place: fabric`` is tried with."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from fabric.pipelines.expressions.expression import bind
from fabric.pipelines.remote.serving import File, Serving
from fabric.pipelines.results import AttemptLog
from fabric.pipelines.spec import FunctionStep, HttpStep, LlmStep, Mark, ModelSpec, ParallelStep, Pipeline, Reference
from fabric.pipelines.work import Done, FunctionWork, LlmWork, Work


class Strange(Exception):
    """What a function raises."""


class Note(BaseModel):
    """What a function gives."""

    text: str
    pages: list[int]


def shout(text: Any = None) -> Any:
    """Give it back, and who did it."""
    return {"said": text, "by": os.getpid(), "token": os.environ.get("TOKEN")}


def strange(text: str) -> None:
    """Raise."""
    raise Strange(text)


def bag() -> set[int]:
    """Give what cannot be sent."""
    return {1}


def note(text: str) -> Note:
    """Give a model."""
    return Note(text=text, pages=[1])


def dies_once(mark: str) -> str:
    """Die the first time, with a mark left for the second."""
    with open(mark, "a") as file:
        file.write("x")
    if Path(mark).stat().st_size == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def dies_always(mark: str) -> None:
    """Die each time."""
    dies_once(mark)
    os.kill(os.getpid(), signal.SIGKILL)


def waits(begun: str, go: str) -> int:
    """Say that it has begun, and wait to be let go."""
    Path(begun).touch()
    while not Path(go).exists():
        time.sleep(0.005)
    return os.getpid()


def _step(name: str, kind: str, function: Callable[..., Any], **more: Any) -> FunctionStep:
    mark = Mark("made.yaml", 1, 1, f"steps({name})")
    return FunctionStep(name=name, mark=mark, kind=kind, function=Reference(name, function), **more)  # type: ignore[arg-type]


STEPS = {
    step.name: step
    for step in (
        _step("shout", "transform", shout),
        _step("strange", "transform", strange),
        _step("bag", "transform", bag),
        _step("note", "transform", note),
        _step("dies_once", "transform", dies_once),
        _step("dies_always", "transform", dies_always),
        _step("io_dies_once", "io", dies_once),
        _step("io_shout", "io", shout),
        _step("waits", "transform", waits),
        _step("waits_too", "transform", waits, worker="others"),
        LlmStep(name="ask", mark=Mark("made.yaml", 2, 1, "steps(ask)"), model="m"),
    )
}
POST = HttpStep(
    name="post", mark=Mark("made.yaml", 3, 1, "steps(post)"), method="POST", request=bind({"url": "http://x"})
)
ENVIRONMENT = {"TOKEN": "tok-123456", "PRIVATE": "nothing to you"}
MODELS = {
    "m": ModelSpec(name="m", model="gpt-x", api_key="tok-123456", block={"api_key": "tok-123456", "model": "gpt-x"}),
}


def made(path: Path, *names: str) -> Pipeline:
    """Return a pipeline of some of the steps, in workers."""
    from fabric.pipelines.spec import Execution

    steps = tuple(STEPS[name] for name in names or STEPS)
    outer = ParallelStep(name="outer", mark=Mark("made.yaml", 4, 1, "steps(outer)"), steps=(POST,))
    return Pipeline(
        path=path,
        models=MODELS,
        steps=(*steps, outer),
        execution=Execution(place="fabric"),
        environment=ENVIRONMENT,
        env={"TOKEN": ENVIRONMENT["TOKEN"]},
    )


class CallsFunctions:
    """Performs, without models and servers."""

    async def perform(self, work: Work) -> Done:
        """Call the function; say what is known of the question."""
        if isinstance(work, LlmWork):
            tokens = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
            log = AttemptLog(work.step.name, 1, "success", raw_output=repr(work.messages), tokens=tokens, model="gpt-x")
            return Done(
                value=[work.model.api_key, dict(work.model.block), work.reply_number], attempts=[log], replies=1
            )
        if not isinstance(work, FunctionWork) or work.step.function is None:
            return Done(value=dict(getattr(work, "request", {})))
        try:
            return Done(value=work.step.function.function(**work.inputs))
        except Exception as error:  # noqa: BLE001 - it is what came of it
            return Done(error=error)


@asynccontextmanager
async def open_calls(pipeline: Pipeline) -> AsyncIterator[CallsFunctions]:
    """Open what performs."""
    yield CallsFunctions()


def load(file: File) -> Pipeline:
    """Return the pipeline of whatever file."""
    return made(Path(file.path))


class Workers(Serving):
    """What the workers of the tests call."""

    def __init__(self) -> None:
        super().__init__(load, open_calls)
