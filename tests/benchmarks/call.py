"""How long ``fabric.call_sync`` takes, beside bare Python on the same machine in the same run.

    python tests/benchmarks/call.py [--rounds 15] [--json] [--profile]

``cold`` is a process that imports fabric, calls once and ends; ``first`` the call in it; ``warm`` a call in a process
that has called before. Rounds alternate between the ways that are compared; each figure is the median of its rounds. A
ratio is that of two medians. ``--profile`` shows instead where the time of warm calls goes, in the engine's thread.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import statistics
import subprocess
import sys
import time
from pathlib import Path

import fabric
from fabric.client.engine import Engine

HELLO = Path(__file__).parents[2] / "compose" / "hello" / "main.plumb"
BARE = [sys.executable, "-c", "pass"]
ONCE = f"""
import time, fabric
began_s = time.perf_counter()
fabric.call_sync({str(HELLO)!r}, "I feel sad today")
print(time.perf_counter() - began_s)
"""


def bare() -> float:
    began_s = time.perf_counter()
    subprocess.run(BARE, check=True)
    return time.perf_counter() - began_s


def cold() -> tuple[float, float]:
    began_s = time.perf_counter()
    first_s = float(subprocess.run([sys.executable, "-c", ONCE], check=True, stdout=subprocess.PIPE).stdout)
    return time.perf_counter() - began_s, first_s


def warm() -> float:
    began_s = time.perf_counter()
    fabric.call_sync(HELLO, "I feel sad today")
    return time.perf_counter() - began_s


def measured(rounds: int) -> dict[str, float]:
    """Return the medians, in seconds."""
    warm()
    found: dict[str, list[float]] = {"bare": [], "cold": [], "first": [], "warm": []}
    for _ in range(rounds):
        found["bare"].append(bare())
        cold_s, first_s = cold()
        found["cold"].append(cold_s)
        found["first"].append(first_s)
        found["warm"].append(warm())
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def table(figures: dict[str, float]) -> str:
    bare_s = figures["bare"]
    return "\n".join(
        f"{name:6} {1000 * seconds:8.1f} ms  {seconds / bare_s:6.1f} × bare" for name, seconds in figures.items()
    )


class Profiled(Engine):
    """An engine whose loop is profiled."""

    def _run(self) -> None:
        self.profile = cProfile.Profile(time.perf_counter)
        self.profile.runcall(super()._run)


def profile(calls: int) -> None:
    from fabric.client import engine

    engine._engine = profiled = Profiled()
    profiled.open()
    for _ in range(calls):
        warm()
    engine.close()
    pstats.Stats(profiled.profile).sort_stats("tottime").print_stats(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    if options.profile:
        profile(50)
        return
    figures = measured(options.rounds)
    print(json.dumps(figures) if options.json else table(figures))


if __name__ == "__main__":
    main()
