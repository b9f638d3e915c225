"""Run random graphs in which workers die, and look whether each output comes exactly once, in order, all the same.

.venv/bin/python tests/simulation/runs.py --seeds 0..10000
.venv/bin/python tests/simulation/runs.py --seeds 0..10000 --replicas   # workers without memory, several of each
.venv/bin/python tests/simulation/runs.py --seed 1234              # one of them again, with all that happens in it
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from crash_runs import FAULT_KINDS, GRAPHS, Digest, Outcome, faults_of, prepared, run_case

from fabric.session.events import Command, Event
from fabric.testing.transcript import written

BATCH = 50
HANG_S = 60
"""A run that takes so long in real time goes round without a step of its clock."""


class Hung(Exception):
    """A run that does not end."""


def hung(signum: int, frame: object) -> None:
    raise Hung(f"has not ended after {HANG_S} s of real time")


def judged(seed: int, crashes: int, graph_seed: int | None, *, shared: bool) -> Outcome:
    """Run one seed; whatever is raised is a failure of it."""
    signal.signal(signal.SIGALRM, hung)
    signal.alarm(HANG_S)
    try:
        return run_case(seed, crashes, graph_seed, shared=shared)
    except (Exception, BaseExceptionGroup):  # noqa: BLE001 - any exception is what is looked for
        return Outcome(seed, seed % GRAPHS, [traceback.format_exc(limit=-3)], Counter())
    finally:
        signal.alarm(0)


def run_batch(seeds: list[int], crashes: int, graph_seed: int | None, *, shared: bool) -> list[Outcome]:
    """Run some seeds; those of one graph come one after the other."""
    return [judged(seed, crashes, graph_seed, shared=shared) for seed in seeds]


def batches(first: int, last: int) -> Iterator[list[int]]:
    """Yield the seeds in such an order that seeds of one graph are together, and their reference is computed once."""
    seeds = sorted(range(first, last), key=lambda seed: (seed % GRAPHS, seed))
    for start in range(0, len(seeds), BATCH):
        yield seeds[start : start + BATCH]


def show(seed: int, crashes: int, graph_seed: int | None, *, shared: bool) -> bool:
    """Run one seed and print all of it; return whether it failed."""
    of = seed % GRAPHS if graph_seed is None else graph_seed
    digest = Digest()

    def watch(now_s: float, event: Event, commands: list[Command]) -> None:
        digest(now_s, event, commands)
        print(written(now_s, event, commands))

    graph, _ = prepared(of)
    print(f"{graph.text()}\n\n{' '.join(f'{port}:{id_}' for port, id_ in graph.inputs)}\n")
    faults = faults_of(seed, crashes, of, shared=shared)
    print(*faults.crashes, *faults.stalls, *faults.slow, *faults.restarts, f"delays up to {faults.delay_s} s", sep="\n")
    print()
    outcome = run_case(seed, crashes, of, watch, shared=shared)
    print(f"\nseed {seed}, graph {of}, digest {digest}")
    print(*(outcome.wrong or ["as expected"]), sep="\n")
    return bool(outcome.wrong)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0..1000", help="A..B: from A, before B")
    parser.add_argument("--seed", type=int, help="one seed, shown")
    parser.add_argument("--crashes", type=int, default=3, help="in one run, at most")
    parser.add_argument("--graph-seed", type=int, help="always this graph")
    parser.add_argument("--replicas", action="store_true", help="of workers that may have some")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args()
    if options.seed is not None:
        return show(options.seed, options.crashes, options.graph_seed, shared=options.replicas)
    first, last = map(int, options.seeds.split(".."))
    run = partial(run_batch, crashes=options.crashes, graph_seed=options.graph_seed, shared=options.replicas)
    again = f"--crashes {options.crashes}" + (f" --graph-seed {options.graph_seed}" if options.graph_seed else "")
    again += " --replicas" * options.replicas
    start = time.perf_counter()
    failed, graphs, hit = 0, set(), Counter[str]()
    with ProcessPoolExecutor(options.jobs) as pool:
        for outcomes in pool.map(run, batches(first, last)):
            for outcome in outcomes:
                graphs.add(outcome.graph_seed)
                hit += outcome.hit
                if outcome.wrong:
                    failed += 1
                    print(f"python tests/simulation/runs.py --seed {outcome.seed} {again}  # {outcome.wrong[0]}")
                    sys.stdout.flush()
    took_s = time.perf_counter() - start
    runs = last - first
    print(f"{runs} runs of {len(graphs)} graphs, {failed} failed; {1000 * took_s / runs:.1f} ms each")
    given = sorted(kind for kind in hit if kind.startswith("given"))
    for kind in (*FAULT_KINDS, *given):
        print(f"{hit[kind]:8}  {kind}")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
