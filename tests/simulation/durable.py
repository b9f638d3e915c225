"""Run random graphs as durable sessions, kill all of it at random commands, bring it back; see that nothing shows.

.venv/bin/python tests/simulation/durable.py --seeds 0..10000
.venv/bin/python tests/simulation/durable.py --seeds 1234..1235    # one of them again
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from crash_runs import GRAPHS
from durable_runs import Outcome, run_case

BATCH = 50


def judged(seed: int) -> Outcome:
    """Run one seed; whatever is raised is a failure of it."""
    try:
        return run_case(seed)
    except (Exception, BaseExceptionGroup):  # noqa: BLE001 - any exception is what is looked for
        return Outcome(seed, seed % GRAPHS, [traceback.format_exc(limit=-3)], Counter())


def run_batch(seeds: range) -> list[Outcome]:
    return [judged(seed) for seed in seeds]


def batches(first: int, last: int) -> Iterator[range]:
    for start in range(first, last, BATCH):
        yield range(start, min(last, start + BATCH))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0..1000", help="A..B: from A, before B")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args()
    first, last = map(int, options.seeds.split(".."))
    start = time.perf_counter()
    failed, hit = 0, Counter[str]()
    with ProcessPoolExecutor(options.jobs) as pool:
        for outcomes in pool.map(run_batch, batches(first, last)):
            for outcome in outcomes:
                hit += outcome.hit
                if outcome.wrong:
                    failed += 1
                    again = f"python tests/simulation/durable.py --seeds {outcome.seed}..{outcome.seed + 1}"
                    print(f"{again}  # {outcome.wrong[0]}", flush=True)
    took_s = time.perf_counter() - start
    print(f"{last - first} runs, {failed} failed; {1000 * took_s / (last - first):.1f} ms each")
    for what, count in sorted(hit.items()):
        print(f"{count:8}  {what}")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
