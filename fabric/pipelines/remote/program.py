"""The program behind ``place: fabric``: a worker for each name that steps give, all of them of the same function.

A worker does one thing at a time, so as many things are done at once as there are replicas (``[workers.NAME]`` of
``fabric.toml``), and a worker that dies has one of them in hand. What has effects goes to a worker of its own, which
has no replicas: see ``serving``.
"""

from __future__ import annotations

__all__ = ["FUNCTION", "Route", "route_of", "routes_of", "write_program"]

import re
from collections.abc import Iterable, Sequence

import msgspec

from fabric.lang.words import RESERVED
from fabric.pipelines.errors import StepConfigError
from fabric.pipelines.remote.envelope import Leaf, leaves
from fabric.pipelines.spec import Pipeline, has_effects

FUNCTION = "fabric.pipelines.remote.serving:Serving"
"""What each of the workers calls."""

EFFECTS = "_effects"
"""Stands behind the name of a worker in the name of the one that does what has effects."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")


class Route(msgspec.Struct, frozen=True):
    """Where a step's work goes.

    Attributes:
        worker: name of the worker; its messages go to the input ``to_NAME``.
        once: whether the work has effects, and must not be done twice.
    """

    worker: str
    once: bool

    @property
    def port(self) -> str:
        """The input of the program."""
        return f"to_{self.worker}"


def route_of(step: Leaf) -> Route:
    """Return where its work goes."""
    once = has_effects(step)
    return Route(step.worker + EFFECTS if once else step.worker, once)


def routes_of(pipeline: Pipeline) -> tuple[Route, ...]:
    """Return the routes of all steps that are carried out in workers, each once, in the order of the steps.

    Raises:
        StepConfigError: a worker cannot be called that.
    """
    found: dict[str, Route] = {}
    for step in leaves(pipeline):
        if (step.place or pipeline.execution.place) != "fabric":
            continue
        if not _NAME.fullmatch(step.worker) or step.worker in RESERVED or step.worker in ("main", "json"):
            raise StepConfigError(
                f"a worker cannot be called {step.worker!r}: expected small letters, digits and _",
                step.mark.file,
                step.mark.line,
                step.mark.column,
                f"{step.mark.key_path}.worker",
            )
        route = route_of(step)
        taken = found.setdefault(route.worker, route)
        if taken.once != route.once:
            raise StepConfigError(
                f"the name of worker {route.worker!r} is that of one for steps with effects: call it something else",
                step.mark.file,
                step.mark.line,
                step.mark.column,
                f"{step.mark.key_path}.worker",
            )
    return tuple(found.values())


def write_program(routes: Sequence[Route], variables: Iterable[str], function: str = FUNCTION) -> str:
    """Return the text of the program.

    Args:
        routes: at least one.
        variables: names of the environment that the workers are given.
        function: what they call.
    """
    names = [route.worker for route in routes]
    given = ", ".join(f'"{name}"' for name in variables)
    lines = [f'let {name} : !json -> (!json, !json) = python {{ call: "{function}" env: [{given}] }}' for name in names]
    ends = [_ports(names), _ports(names)]
    ports = ", ".join([*(f"to_{name}" for name in names), *(f"from_{name}" for name in names)])
    lines.append(f"let main : {ends[0]} -> {ends[1]} = plumb({ports}) {{")
    lines += [f"  to_{name} ; {name} ; from_{name}" for name in names]
    return "\n".join([*lines, "}", ""])


def _ports(names: Sequence[str]) -> str:
    return "!json" if len(names) == 1 else f"({', '.join('!json' for _ in names)})"
