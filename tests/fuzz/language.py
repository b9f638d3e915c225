"""Feed the language anything, and look whether what should hold of every text does. See tests/support/any_text.py.

.venv/bin/python tests/fuzz/language.py --inputs 1000000 --seed 1 --jobs 2
.venv/bin/python tests/fuzz/language.py --seed 1 --only 4711      # one input again, with its text
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from any_text import KINDS, examine, text_of, texts

BATCH = 500
SLOWEST = 5


class Slow(NamedTuple):
    """How long an input took, in seconds of the processor; its number, kind and length."""

    seconds: float
    number: int
    kind: str
    length: int


class Batch(NamedTuple):
    """What came of some inputs: how many checked, the failures as number and traceback, and the slowest."""

    count: int
    checked: int
    failures: list[tuple[int, str]]
    slowest: list[Slow]


def run(seed: int, count: int, first: int) -> Batch:
    checked, failures, slowest = 0, [], []
    for number, kind, text in texts(seed, first, min(BATCH, count - first)):
        start = time.process_time()
        try:
            checked += examine(text)
        except Exception:  # noqa: BLE001 - any exception is what is looked for
            failures.append((number, traceback.format_exc(limit=-3)))
        slowest.append(Slow(time.process_time() - start, number, kind, len(text)))
    return Batch(len(slowest), checked, failures, sorted(slowest)[-SLOWEST:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000, help="how many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--only", type=int, help="the number of one input")
    options = parser.parse_args()
    if options.only is not None:
        kind, text = text_of(options.seed, options.only)
        print(f"{kind}, {len(text)} characters: {text!r}")
        print(f"checks: {examine(text)}")
        return
    start = time.perf_counter()
    done, checked, slowest, failed = 0, 0, [], False
    with ProcessPoolExecutor(options.jobs) as pool:
        for batch in pool.map(partial(run, options.seed, options.inputs), range(0, options.inputs, BATCH)):
            done, checked = done + batch.count, checked + batch.checked
            slowest = sorted(slowest + batch.slowest)[-SLOWEST:]
            for number, trace in batch.failures:
                failed = True
                print(
                    f"\n{trace}again: {sys.executable} {sys.argv[0]} --seed {options.seed} --only {number}", flush=True
                )
    rate = done / (time.perf_counter() - start)
    print(f"{done} inputs of {len(KINDS)} kinds, {checked} of them programs that check; {rate:.0f} a second")
    for slow in reversed(slowest):
        print(f"  {slow.seconds * 1000:.0f} ms: input {slow.number}, {slow.kind}, {slow.length} characters")
    sys.exit(failed)


if __name__ == "__main__":
    main()
