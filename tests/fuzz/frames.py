"""Read damaged frames in every way that frames of others are read. See tests/support/any_frames.py.

.venv/bin/python tests/fuzz/frames.py --frames 10000000 --seed 1 --jobs 2
.venv/bin/python tests/fuzz/frames.py --seed 1 --only 4711      # one frame again, with its bytes
.venv/bin/python tests/fuzz/frames.py --live 100000             # through real processes: live_frames.py

It fails if anything is raised but what is documented, if one frame takes 50 ms of the processor, if fewer than 30 of a
hundred get past the header, or if the memory grows by more than 16 MiB behind the first hundred thousand.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from any_frames import BLOCK, described, examine, frames
from live_frames import examine as examine_session
from live_frames import live

SLOW_S = 0.05
PAST_MIN = 0.3
GROWTH_MAX_BYTES = 16 * 1024 * 1024
WARM_BLOCKS = 50
"""Of each process: caches fill."""

_blocks = 0
_warm_bytes = 0


class Block(NamedTuple):
    """What came of some frames: how many got past the header, failures, the slowest, and how much memory was added."""

    count: int
    past: int
    failures: list[tuple[int, str]]
    slowest: tuple[float, int]
    growth_bytes: int


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def run(seed: int, count: int, first: int) -> Block:
    global _blocks, _warm_bytes
    past, failures, slowest, done = 0, [], (0.0, 0), 0
    for number, raw in frames(seed, first, min(BLOCK, count - first)):
        start = time.thread_time()
        try:
            past += examine(raw)
        except Exception:  # noqa: BLE001 - any exception is what is looked for
            failures.append((number, traceback.format_exc(limit=-3)))
        slowest = max(slowest, (time.thread_time() - start, number))
        done += 1
    _blocks += 1
    if _blocks == WARM_BLOCKS:
        _warm_bytes = resident_bytes()
    return Block(done, past, failures, slowest, resident_bytes() - _warm_bytes if _blocks > WARM_BLOCKS else 0)


def run_live(count: int, seed: int) -> None:
    before_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        lived = live(Path(folder), count, seed)
    took_s = time.perf_counter() - start
    sent = sum(worker["frames"] for worker in lived.expected.values())
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before_bytes
    print(
        f"{sent} damaged frames in {took_s:.0f} s; {lived.noted} lines logged; memory grew by {growth / 2**20:.1f} MiB"
    )
    print(f"exit code {lived.finish.exit_code}, {lived.finish.losses}")
    examine_session(lived)
    print("each became what it had to; the other worker's answers are complete and in order")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100_000, help="how many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--only", type=int, help="the number of one frame")
    parser.add_argument("--live", type=int, help="how many each of two hostile workers sends to a coordinator")
    options = parser.parse_args()
    if options.live:
        run_live(options.live, options.seed)
        return
    if options.only is not None:
        ((_, raw),) = frames(options.seed, options.only, 1)
        print(described(raw))
        print(f"gets past the header: {examine(raw)}")
        return
    start = time.perf_counter()
    done = past = failed = growth = 0
    slowest = (0.0, 0)
    with ProcessPoolExecutor(options.jobs) as pool:
        firsts = range(0, options.frames, BLOCK)
        for block in pool.map(partial(run, options.seed, options.frames), firsts, chunksize=10):
            done, past, growth = done + block.count, past + block.past, max(growth, block.growth_bytes)
            slowest = max(slowest, block.slowest)
            failed += len(block.failures)
            for number, trace in block.failures[:3]:
                print(f"\n{trace}again: {sys.executable} {sys.argv[0]} --seed {options.seed} --only {number}")
    took_s = time.perf_counter() - start
    print(f"{done} frames in {took_s:.0f} s, {done / took_s:.0f} a second; {failed} failures")
    print(f"{100 * past / done:.1f} % get past the header")
    print(f"slowest: {slowest[0] * 1000:.1f} ms, frame {slowest[1]}; memory grew by {growth / 2**20:.1f} MiB")
    sys.exit(bool(failed) or slowest[0] > SLOW_S or past < PAST_MIN * done or growth > GROWTH_MAX_BYTES)


if __name__ == "__main__":
    main()
