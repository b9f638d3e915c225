"""Run pushers, runners and collectors over one bucket in which all goes wrong, and look whether the log keeps its word.

.venv/bin/python tests/simulation/commits.py --seeds 0..10000
.venv/bin/python tests/simulation/commits.py --seed 1234              # one of them again, with every operation
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from commit_runs import KINDS, SHARE, Outcome, Run, run_commits

BATCH = 50


def run_batch(seeds: list[int], share: float) -> list[Outcome]:
    """Run some seeds."""
    return [run_commits(seed, share) for seed in seeds]


def batches(first: int, last: int) -> Iterator[list[int]]:
    for start in range(first, last, BATCH):
        yield list(range(start, min(start + BATCH, last)))


def show(seed: int, share: float) -> bool:
    """Run one seed and print all of it; return whether it failed."""
    run = Run(seed, share)
    run.store.watch = print
    outcome = run.go()
    print(*(outcome.wrong or ["as expected"]), sep="\n")
    return bool(outcome.wrong)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0..1000", help="A..B: from A, before B")
    parser.add_argument("--seed", type=int, help="one seed, shown")
    parser.add_argument("--share", type=float, default=SHARE, help="of operations that go wrong")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args()
    if options.seed is not None:
        return show(options.seed, options.share)
    first, last = map(int, options.seeds.split(".."))
    start = time.perf_counter()
    failed, hit = 0, Counter[str]()
    with ProcessPoolExecutor(options.jobs) as pool:
        for outcomes in pool.map(partial(run_batch, share=options.share), batches(first, last)):
            for outcome in outcomes:
                hit += outcome.hit
                if outcome.wrong:
                    failed += 1
                    told = outcome.wrong[0].strip().rpartition("\n")[2][:200]
                    print(f"python tests/simulation/commits.py --share {options.share} --seed {outcome.seed}  # {told}")
                    sys.stdout.flush()
    took_s = time.perf_counter() - start
    print(f"{last - first} runs, {failed} failed; {took_s:.0f} s, {1000 * took_s / (last - first):.1f} ms each")
    for kind in KINDS:
        print(f"{hit[kind]:8}  {kind}")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
