"""Ray: A and B are actors, source and sink are the driver. The second argument says how they are called.

``compiled``: a compiled graph, whose channels are set up once. Chosen: 32 executions in flight (tried: 8, 16 and 24 are
slower, 128 is much slower, and each needs a buffer in every channel), buffers of 4 KiB, results taken in order.
``actors``: ordinary calls. Chosen: the reference that A's call returns is an argument of B's, so that the value does
not come back to the driver in between; 1,000 messages in flight (tried: 64 and 256 are slower); results fetched many
at a time.

Either way: one node, on the loopback interface, an object store of 200 MiB, no dashboard.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import version
from itertools import islice
from operator import itemgetter
from tempfile import TemporaryDirectory
from typing import Any

# With a token of this run's own, Ray writes none into the home directory.
os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_TOKEN=secrets.token_hex())

import ray
from ray.dag import InputNode, MultiOutputNode
from workload import (
    Figures,
    Tally,
    Task,
    decode,
    encode,
    join,
    message,
    print_figures,
    read_task,
    text_through_a,
    text_through_b,
)

OBJECT_STORE_BYTES = 200 * 1024 * 1024
EXECUTIONS_MAX = 32
BUFFER_BYTES = 4096
CALLS_MAX = 1_000
FETCHED_AT_ONCE = 250


@ray.remote(num_cpus=0)
class A:
    def work(self, text: bytes) -> bytes:
        return text_through_a(text)


@ray.remote(num_cpus=0)
class B:
    def work(self, text: bytes) -> bytes:
        return text_through_b(text)


def joined(texts: list[bytes]) -> bytes:
    from_a, from_b = texts
    return encode(join(decode(from_a), decode(from_b)))


class Way(ABC):
    """A way to call the actors."""

    def __init__(self) -> None:
        self.a, self.b = A.remote(), B.remote()

    @abstractmethod
    def pipeline(self, count: int) -> Tally: ...

    @abstractmethod
    def fan(self, count: int) -> Tally: ...

    @abstractmethod
    def change_to_fan(self) -> None:
        """Get ready for :meth:`fan`; no :meth:`pipeline` follows."""

    @abstractmethod
    def close(self) -> None:
        """Release what Ray does not release by itself."""


class Compiled(Way):
    def __init__(self) -> None:
        super().__init__()
        with InputNode() as source:
            self._graph = self._compile(self.b.work.bind(self.a.work.bind(source)))

    def change_to_fan(self) -> None:
        self._graph.teardown()
        with InputNode() as source:
            self._graph = self._compile(MultiOutputNode([self.a.work.bind(source), self.b.work.bind(source)]))

    def close(self) -> None:
        self._graph.teardown()

    @staticmethod
    def _compile(node: Any) -> Any:
        return node.experimental_compile(
            _max_inflight_executions=EXECUTIONS_MAX,
            _buffer_size_bytes=BUFFER_BYTES,
        )

    def pipeline(self, count: int) -> Tally:
        return self._carry(count, lambda text: text)

    def fan(self, count: int) -> Tally:
        return self._carry(count, joined)

    def _carry(self, count: int, finish: Any) -> Tally:
        tally, running = Tally(count), deque[Any]()
        for number in range(count):
            if len(running) == EXECUTIONS_MAX:
                tally.take(finish(ray.get(running.popleft())))
            running.append(self._graph.execute(message(number)))
        for reference in running:
            tally.take(finish(ray.get(reference)))
        return tally


class Actors(Way):
    def change_to_fan(self) -> None:
        pass

    def close(self) -> None:
        pass

    def pipeline(self, count: int) -> Tally:
        return self._carry(count, lambda text: [self.b.work.remote(self.a.work.remote(text))], itemgetter(0))

    def fan(self, count: int) -> Tally:
        return self._carry(count, lambda text: [self.a.work.remote(text), self.b.work.remote(text)], joined)

    def _carry(self, count: int, call: Callable[[bytes], list[Any]], finish: Callable[[list[bytes]], bytes]) -> Tally:
        tally, running = Tally(count), deque[list[Any]]()

        def fetch() -> None:
            calls = [running.popleft() for _ in range(min(FETCHED_AT_ONCE, len(running)))]
            texts = iter(ray.get([result for results in calls for result in results]))
            for results in calls:
                tally.take(finish(list(islice(texts, len(results)))))

        for number in range(count):
            if len(running) == CALLS_MAX:
                fetch()
            running.append(call(message(number)))
        while running:
            fetch()
        return tally


def measure(task: Task, way: Way) -> Figures:
    figures = Figures(versions={"ray": version("ray")})
    way.pipeline(1)
    figures.started(task)
    way.pipeline(task.warm_up)
    figures.pipeline(way.pipeline(task.messages))
    seconds = []
    for _ in range(task.alone):
        began_s = time.perf_counter()
        way.pipeline(1)
        seconds.append(time.perf_counter() - began_s)
    figures.alone(seconds)
    way.change_to_fan()
    way.fan(task.warm_up)
    figures.fan(way.fan(task.messages))
    return figures


def main() -> None:
    task = read_task(sys.argv[1])
    with TemporaryDirectory(prefix="ray") as directory:
        ray.init(
            num_cpus=2,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            configure_logging=False,
            _node_ip_address="127.0.0.1",
            log_to_driver=False,
            _temp_dir=directory,
        )
        try:
            with closing({"compiled": Compiled, "actors": Actors}[sys.argv[2]]()) as way:
                print_figures(measure(task, way))
        finally:
            ray.shutdown()


main()
