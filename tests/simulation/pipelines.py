"""Run random pipelines one step after the other, several steps at once, and in workers, and compare what they tell.

.venv/bin/python tests/simulation/pipelines.py --seeds 0..200
.venv/bin/python tests/simulation/pipelines.py --seeds 0..200 --place fabric   # in worker processes, too: 2 s each
.venv/bin/python tests/simulation/pipelines.py --seed 12                       # one of them, with its file
"""

from __future__ import annotations

import argparse
import difflib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from random_pipelines import Folder, Way, open_folder, out_of_order

BATCH = 5
SHOWN_LINES = 40


def differences(folder: Folder, seed: int, ways: list[Way]) -> dict[Way, str]:
    """Run one pipeline in all ways; return how those differ from one step after the other, that do."""
    pipeline = folder.write(seed)
    plain = folder.run(pipeline, "sequential")
    first = plain.splitlines()
    found: dict[Way, str] = {}
    if wrong := out_of_order(pipeline, plain):
        found["sequential"] = "\n".join(["not in the order of the file:", *wrong])
    for way in ways:
        told = folder.run(pipeline, way).splitlines()
        if told != first:
            found[way] = "\n".join(difflib.unified_diff(first, told, "sequential", way, lineterm="", n=2))
    return found


def run_batch(seeds: list[int], ways: list[Way]) -> list[tuple[int, dict[Way, str]]]:
    """Run some seeds, in a folder of their own."""
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as path:
        os.chdir(path)
        with open_folder(Path(path)) as folder:
            found = [(seed, differences(folder, seed, ways)) for seed in seeds]
        os.chdir("/")
    return found


def batches(first: int, last: int) -> Iterator[list[int]]:
    for start in range(first, last, BATCH):
        yield list(range(start, min(start + BATCH, last)))


def show(seed: int, ways: list[Way]) -> bool:
    """Print one pipeline and how its runs differ; return whether they do."""
    with tempfile.TemporaryDirectory() as path:
        os.chdir(path)
        with open_folder(Path(path)) as folder:
            found = differences(folder, seed, ways)
            print((folder.path / "pipeline.yaml").read_text())
        os.chdir("/")
    print(*(found.values() or ["the same in all ways"]), sep="\n")
    return bool(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0..200", help="A..B: from A, before B")
    parser.add_argument("--seed", type=int, help="one seed, shown")
    parser.add_argument("--place", choices=("local", "fabric"), default="local", help="fabric: in workers, too")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args()
    ways: list[Way] = ["dataflow", "fabric"] if options.place == "fabric" else ["dataflow"]
    if options.seed is not None:
        return show(options.seed, ways)
    first, last = map(int, options.seeds.split(".."))
    start = time.perf_counter()
    failed = 0
    with ProcessPoolExecutor(options.jobs) as pool:
        for found in pool.map(partial(run_batch, ways=ways), batches(first, last)):
            for seed, wrong in found:
                failed += bool(wrong)
                for way, text in wrong.items():
                    print(f"python tests/simulation/pipelines.py --place {options.place} --seed {seed}  # {way}")
                    print(*text.splitlines()[:SHOWN_LINES], sep="\n", flush=True)
    took_s = time.perf_counter() - start
    print(f"{last - first} pipelines, sequential and {' and '.join(ways)}: {failed} differ; {took_s:.0f} s")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
