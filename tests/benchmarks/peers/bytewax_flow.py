"""Bytewax: a dataflow in one process and one worker thread.

Chosen: batches of 1,000 from the source, since Bytewax passes a batch on as a whole; no recovery store, whose
snapshots would cost. The message is decoded once and encoded once.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from copy import copy
from importlib.metadata import version

import bytewax.operators as op
from bytewax.dataflow import Dataflow, Stream
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main
from workload import Figures, Message, Tally, decode, encode, join, message, print_figures, read_task, stage_a, stage_b

BATCH = 1_000


class Partition(StatelessSourcePartition[bytes]):
    """Gives the messages in batches; the next batch when all before it is at the sink, if they are to be alone."""

    def __init__(self, tally: Tally, batch: int, sent: list[float] | None) -> None:
        self._tally, self._batch, self._sent, self._next = tally, batch, sent, 0

    def next_batch(self) -> list[bytes]:
        if self._next >= self._tally.expected:
            raise StopIteration
        if self._sent is not None:
            if self._tally.received < self._next:
                return []
            self._sent.append(time.perf_counter())
        first, self._next = self._next, min(self._next + self._batch, self._tally.expected)
        return [message(number) for number in range(first, self._next)]


class Source(DynamicSource[bytes]):
    def __init__(self, tally: Tally, batch: int, sent: list[float] | None) -> None:
        self._arguments = tally, batch, sent

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Partition:
        return Partition(*self._arguments)


class SinkPartition(StatelessSinkPartition[bytes]):
    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take

    def write_batch(self, items: list[bytes]) -> None:
        for item in items:
            self._take(item)


class Sink(DynamicSink[bytes]):
    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take

    def build(self, step_id: str, worker_index: int, worker_count: int) -> SinkPartition:
        return SinkPartition(self._take)


def pipeline(messages: Stream[Message]) -> Stream[Message]:
    return op.map("b", op.map("a", messages, stage_a), stage_b)


def fan(messages: Stream[Message]) -> Stream[Message]:
    from_a = op.map("a", messages, lambda given: stage_a(copy(given)))
    from_b = op.map("b", messages, lambda given: stage_b(copy(given)))
    joined = op.join(
        "barrier",
        op.key_on("key_a", from_a, lambda given: str(given.id)),
        op.key_on("key_b", from_b, lambda given: str(given.id)),
    )
    return op.map("join", joined, lambda keyed: join(*keyed[1]))


def carry(
    count: int, body: Callable[[Stream[Message]], Stream[Message]], batch: int = BATCH, alone: bool = False
) -> tuple[Tally, list[float]]:
    """Run a dataflow to its end; return what came, and how long each took if they were alone."""
    tally = Tally(count)
    sent: list[float] = []
    came: list[float] = []

    def take(payload: bytes) -> None:
        tally.take(payload)
        if alone:
            came.append(time.perf_counter())

    flow = Dataflow("benchmark")
    texts = op.input("source", flow, Source(tally, batch, sent if alone else None))
    op.output("sink", op.map("encode", body(op.map("decode", texts, decode)), encode), Sink(take))
    run_main(flow)
    return tally, [to - at for at, to in zip(sent, came, strict=True)]


def main() -> None:
    task = read_task(sys.argv[1])
    figures = Figures(versions={"bytewax": version("bytewax")})
    carry(1, pipeline)
    figures.started(task)
    carry(task.warm_up, pipeline)
    figures.pipeline(carry(task.messages, pipeline)[0])
    figures.alone(carry(task.alone, pipeline, 1, alone=True)[1])
    carry(task.warm_up, fan)
    figures.fan(carry(task.messages, fan)[0])
    print_figures(figures)


main()
