"""LangGraph: a compiled state graph in one process.

Chosen: ``invoke``, since its asynchronous twin is slower where nothing waits, and ``batch`` puts threads around it; no
checkpointer; tracing off. The message is decoded once and encoded once.
"""

from __future__ import annotations

import os
import sys
import time
from copy import copy
from importlib.metadata import version
from typing import Any, TypedDict

from workload import Figures, Message, Tally, decode, encode, join, message, print_figures, read_task, stage_a, stage_b

os.environ.update(LANGSMITH_TRACING="false", LANGCHAIN_TRACING_V2="false")

from langgraph.graph import END, START, StateGraph


class Passing(TypedDict):
    message: Message


class Copied(TypedDict):
    message: Message
    from_a: Message
    from_b: Message


def pipeline() -> Any:
    graph = StateGraph(Passing)
    graph.add_node("a", lambda state: {"message": stage_a(state["message"])})
    graph.add_node("b", lambda state: {"message": stage_b(state["message"])})
    graph.add_edge(START, "a")
    graph.add_edge("a", "b")
    graph.add_edge("b", END)
    return graph.compile()


def fan() -> Any:
    """Two nodes that run side by side may not write one key, hence three."""
    graph = StateGraph(Copied)
    graph.add_node("a", lambda state: {"from_a": stage_a(copy(state["message"]))})
    graph.add_node("b", lambda state: {"from_b": stage_b(copy(state["message"]))})
    graph.add_node("join", lambda state: {"message": join(state["from_a"], state["from_b"])})
    graph.add_edge(START, "a")
    graph.add_edge(START, "b")
    graph.add_edge(["a", "b"], "join")
    graph.add_edge("join", END)
    return graph.compile()


def carry(count: int, graph: Any) -> tuple[Tally, list[float]]:
    """Invoke a graph again and again; return what came, and how long each took."""
    tally, seconds = Tally(count), []
    for number in range(count):
        began_s = time.perf_counter()
        tally.take(encode(graph.invoke({"message": decode(message(number))})["message"]))
        seconds.append(time.perf_counter() - began_s)
    return tally, seconds


def main() -> None:
    task = read_task(sys.argv[1])
    figures = Figures(versions={"langgraph": version("langgraph")})
    graph = pipeline()
    carry(1, graph)
    figures.started(task)
    carry(task.warm_up, graph)
    figures.pipeline(carry(task.messages, graph)[0])
    figures.alone(carry(task.alone, graph)[1])
    graph = fan()
    carry(task.warm_up, graph)
    figures.fan(carry(task.messages, graph)[0])
    print_figures(figures)


main()
