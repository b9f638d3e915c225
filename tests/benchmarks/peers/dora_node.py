"""The nodes of the dora dataflow: ``a``, ``b``, and ``ends``, which is source and sink and measures."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from dora import Node
from workload import (
    GIVE_UP_S,
    Figures,
    Pairs,
    Tally,
    encode,
    memory_mib,
    message,
    read_task,
    text_through_a,
    text_through_b,
)

WINDOW = 256
"""Messages on their way. Tried: 64 and 1,000 are slower."""


def text(event: dict) -> bytes:
    return event["value"].to_numpy().tobytes()


def serve(name: str) -> None:
    node, work = Node(), {"a": text_through_a, "b": text_through_b}[name]
    for event in node:
        if event["type"] == "INPUT":
            node.send_output("done", work(text(event)))
        elif event["type"] == "STOP":
            return


class Ends:
    """Source and sink.

    Attributes:
        lost: messages that never came.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.lost = 0
        self._pairs = Pairs()

    def carry(self, count: int) -> Tally:
        tally, sent, written_off = Tally(count), 0, 0
        while tally.received + written_off < count:
            while sent < count and sent - tally.received - written_off < WINDOW:
                self._node.send_output("sent", message(sent))
                sent += 1
            event = self._node.next(timeout=GIVE_UP_S)
            if event is None or event["type"] == "ERROR":
                written_off = sent - tally.received
                self._pairs = Pairs()
            elif event["type"] == "INPUT":
                self._take(event, tally)
            else:
                sys.exit(f"the dataflow ended early: {event['type']}")
        if not tally.complete:
            tally.give_up()
        self.lost += tally.lost
        return tally

    def _take(self, event: dict, tally: Tally) -> None:
        if event["id"] == "sink":
            tally.take(text(event))
            return
        joined = self._pairs.take(text(event), from_a=event["id"] == "a")
        if joined is not None:
            tally.take(joined)


def measure() -> Figures:
    task, figures = read_task(os.environ["BENCHMARK_TASK"]), Figures()
    node = Node()
    ends = Ends(node)
    ends.carry(1)
    figures.started(task)
    ends.carry(task.warm_up)
    if "sink" not in node.node_config()["inputs"]:
        figures.fan(ends.carry(task.messages))
        figures.lost = ends.lost
        return figures
    figures.pipeline(ends.carry(task.messages))
    figures.memory_mib = memory_mib(int(os.environ["BENCHMARK_ROOT"]))
    seconds = []
    for _ in range(task.alone):
        began_s = time.perf_counter()
        ends.carry(1)
        seconds.append(time.perf_counter() - began_s)
    figures.alone(seconds)
    figures.lost = ends.lost
    return figures


if __name__ == "__main__":
    if sys.argv[1] == "ends":
        Path(os.environ["BENCHMARK_RESULT"]).write_bytes(encode(measure()))
    else:
        serve(sys.argv[1])
