"""Celery with Redis: A and B are workers of a queue each, source and sink are one process. Also the app's module.

Chosen: a chain, so that A's worker calls B's by itself; for the fan a group, joined by the caller, which is faster than
a chord; workers without a pool (``solo``), since one task at a time needs no second process, without gossip, mingling
and heartbeats, and with 128 tasks fetched ahead; hiredis; no rate limits, no events, and no result kept that nobody
reads. A task is acknowledged before it runs, Celery's default. Redis writes nothing to disk.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import deque
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

from celery import Celery, chain, group
from servers import redis_server
from workload import Figures, Pairs, Tally, Task, message, print_figures, read_task, text_through_a, text_through_b

REDIS = "BENCHMARK_REDIS"
WINDOW = 256

app = Celery("celery_tasks", broker=os.environ.get(REDIS), backend=os.environ.get(REDIS))
app.conf.update(
    task_routes={"a": {"queue": "a"}, "b": {"queue": "b"}},
    task_serializer="json",
    result_serializer="json",
    worker_prefetch_multiplier=128,
    worker_disable_rate_limits=True,
    broker_connection_retry_on_startup=True,
)


@app.task(name="a")
def a(text: str) -> str:
    return text_through_a(text.encode()).decode()


@app.task(name="b")
def b(text: str) -> str:
    return text_through_b(text.encode()).decode()


def pipeline(text: str) -> Any:
    return chain(a.s(text).set(ignore_result=True), b.s()).apply_async()


def fan(text: str) -> Any:
    return group(a.s(text), b.s(text)).apply_async()


def carry(count: int, send: Any) -> Tally:
    tally, running = Tally(count), deque[Any]()

    def take() -> None:
        result = running.popleft()
        if send is pipeline:
            tally.take(result.get().encode())
        else:
            pairs = Pairs()
            from_a, from_b = result.get()
            pairs.take(from_a.encode(), from_a=True)
            joined = pairs.take(from_b.encode(), from_a=False)
            assert joined is not None
            tally.take(joined)
        result.forget()

    for number in range(count):
        if len(running) == WINDOW:
            take()
        running.append(send(message(number).decode()))
    while running:
        take()
    return tally


def measure(task: Task) -> Figures:
    figures = Figures(
        versions={"celery": version("celery"), "redis": app.backend.client.info("server")["redis_version"]}
    )
    carry(1, pipeline)
    figures.started(task)
    carry(task.warm_up, pipeline)
    figures.pipeline(carry(task.messages, pipeline))
    seconds = []
    for _ in range(task.alone):
        began_s = time.perf_counter()
        carry(1, pipeline)
        seconds.append(time.perf_counter() - began_s)
    figures.alone(seconds)
    carry(task.warm_up, fan)
    figures.fan(carry(task.messages, fan))
    return figures


def worker(queue: str, address: str) -> subprocess.Popen[bytes]:
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=ERROR"]
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "celery",
            "--quiet",
            "-A",
            "celery_tasks",
            "worker",
            "-P",
            "solo",
            "-Q",
            queue,
            "-n",
            queue,
            *quiet,
        ],
        cwd=Path(__file__).parent,
        env=os.environ | {REDIS: address},
        stdout=sys.stderr,
    )


def main() -> None:
    task = read_task(sys.argv[1])
    with ExitStack() as stack:
        address = stack.enter_context(redis_server())
        app.conf.update(broker_url=address, result_backend=address)
        for process in [worker(queue, address) for queue in "ab"]:
            stack.callback(process.wait)
            stack.callback(process.kill)
        print_figures(measure(task))


if __name__ == "__main__":
    main()
