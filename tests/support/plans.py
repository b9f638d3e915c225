"""Plans of program texts, without files."""

from __future__ import annotations

from collections.abc import Sequence

from fabric.graph import passes
from fabric.graph.ir import Graph
from fabric.lang.check import check_source
from fabric.lang.source import Source
from fabric.lang.typed import Module
from fabric.plan.make import Surroundings, make_plan
from fabric.plan.plan import Plan


def module_of(text: str) -> Module:
    module, diagnostics = check_source(Source("program.plumb", text))
    assert module is not None, [diagnostic.message for diagnostic in diagnostics]
    return module


def graph_of(text: str) -> Graph:
    return passes.build(module_of(text))


def plan_of(text: str, observed: Sequence[str] = (), *, metered: bool = False) -> Plan:
    module = module_of(text)
    graph = passes.build(module, observed)
    surroundings = Surroundings(python="python", run_directory="RUN", directory=".", metered=metered)
    return make_plan(module, graph, surroundings)
