"""What it costs to keep a log: our directories beside SQLite and beside bare fsync, in one run.

    python tests/benchmarks/store.py [--json] [--commits N] [--rounds N] [--directory DIR]

appended   a record is written to the end of one open file, and synced: what the disk gives
sqlite     a row per transaction: journal_mode=WAL, synchronous=FULL
file       a commit is an object of ``file:``: written, synced, linked to its key, its directory synced

A commit there is written at once, by itself. A run that has much to say has many entries in one (group commit).

The ways take turns within each round, in another order each time, so that what else the machine does falls on all of
them. What is told is the rate of each, and by round how the others are to ``file``: the median, and from the least to
the most.

Then a log of as many commits as ``--resume`` says, each of two entries of a run: an input of 200 bytes, and an answer
of 400. What each takes in the log, on the disk and in a snapshot; how fast they are written, snapshots included; and
how long it takes to read all of it from the beginning, as a run that is resumed does: with the snapshots, and without.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from fabric.runtime.bucket_checkup import MOUNTS, file_system
from fabric.session.history import Answer, Entered, Turn, encode_history
from fabric.store.bucket import Bucket
from fabric.store.file import FileStore
from fabric.store.keys import log_key
from fabric.store.record import Commit, encode_commit, entry_of

BODY = json.dumps({"id": 1, "text": "x" * 900}).encode()


def _commits(count: int) -> list[bytes]:
    return [
        encode_commit(Commit(f"{seq:032x}", "handler", seq, 1.7e9 + seq, entries=(entry_of("push", BODY),)))
        for seq in range(count)
    ]


def append(directory: Path, commits: list[bytes]) -> float:
    """Append to a file; return the seconds."""
    descriptor = os.open(directory / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        began = time.perf_counter()
        for commit in commits:
            os.write(descriptor, commit)
            os.fsync(descriptor)
        return time.perf_counter() - began
    finally:
        os.close(descriptor)


def insert(directory: Path, commits: list[bytes]) -> float:
    """Insert rows; return the seconds."""
    with closing(sqlite3.connect(directory / "log.db", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE log (session TEXT, seq INTEGER, body BLOB, PRIMARY KEY (session, seq))")
        began = time.perf_counter()
        for seq, commit in enumerate(commits):
            database.execute("INSERT INTO log VALUES ('s', ?, ?)", (seq, commit))
        return time.perf_counter() - began


def create(directory: Path, commits: list[bytes]) -> float:
    """Create objects; return the seconds."""
    store = FileStore(directory / "bucket")
    began = time.perf_counter()
    for seq, commit in enumerate(commits):
        assert store.create(log_key("s", seq), commit)
    return time.perf_counter() - began


WAYS: dict[str, Callable[[Path, list[bytes]], float]] = {"appended": append, "sqlite": insert, "file": create}


def measure(directory: Path, commits: int, rounds: int) -> dict[str, list[float]]:
    """Return the rates of each way, in commits per second, by round."""
    records = _commits(commits)
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    order = list(WAYS)
    for _ in range(rounds + 1):  # the first one warms up
        random.shuffle(order)
        for way in order:
            with tempfile.TemporaryDirectory(dir=directory) as place:
                rates[way].append(commits / WAYS[way](Path(place), records))
    return {way: of_rounds[1:] for way, of_rounds in rates.items()}


INPUT_BYTES, ANSWER_BYTES = 200, 400

_random = random.Random(1)
_WORDS = ["".join(_random.choices("etaoinshrdlu", k=_random.randint(2, 9))) for _ in range(2000)]
"""So that they can be compressed about as texts can."""


def _text(size_bytes: int) -> bytes:
    words = " ".join(_random.choices(_WORDS, k=size_bytes // 3))
    return json.dumps({"text": words[: size_bytes - len('{"text": ""}')]}).encode()


def _message(number: int) -> tuple[bytes, bytes]:
    answer = Answer("output", msgspec.Raw(_text(ANSWER_BYTES)), f"{number:016x}")
    entered = Entered("input", msgspec.Raw(_text(INPUT_BYTES)), number)
    return encode_history(entered), encode_history(Turn("worker", f"{number:016x}", (answer,)))


def resume(directory: Path, commits: int, rounds: int) -> dict[str, Any]:
    """Return sizes in bytes and times in seconds of a long log."""
    with tempfile.TemporaryDirectory(dir=directory) as place:
        store = FileStore(Path(place) / "bucket")
        log = Bucket(store).start(session="run", program="0" * 64)
        began = time.perf_counter()
        for number in range(commits):
            entered, turn = _message(number)
            log.append([entry_of("input", entered), entry_of("turn", turn)])
        written_s = time.perf_counter() - began
        log.compact()
        last = store.list("sessions/run/snap/")[-1]
        snapshot = store.get(last)
        assert snapshot is not None
        files = [path.stat() for path in (store.root / "sessions/run/log").iterdir()]
        times: dict[str, list[float]] = {"with": [], "without": []}
        bare = FileStore(Path(place) / "bare")
        bare.root.mkdir()
        os.symlink(store.root / "index", bare.root / "index")
        (bare.root / "sessions/run").mkdir(parents=True)
        for name in ("manifest.json", "log"):  # the same objects, but for the snapshots
            os.symlink(store.root / "sessions/run" / name, bare.root / "sessions/run" / name)
        for _ in range(rounds):
            for way, bucket in (("with", store), ("without", bare)):
                began = time.perf_counter()
                assert len(Bucket(bucket).open("run").read()) == commits
                times[way].append(time.perf_counter() - began)
        return {
            "commits": commits,
            "payload_bytes": INPUT_BYTES + ANSWER_BYTES,
            "log_bytes": sum(file.st_size for file in files) / commits,
            "disk_bytes": sum(file.st_blocks * 512 for file in files) / commits,
            "snapshot_bytes": len(snapshot) / commits,
            "written_per_s": commits / written_s,
            "resume_s": times,
        }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--commits", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--resume", type=int, default=10_000, help="commits of the long log")
    parser.add_argument("--directory", type=Path, default=Path.cwd(), help="on the disk that is measured")
    arguments = parser.parse_args()
    found = resume(arguments.directory, arguments.resume, min(arguments.rounds, 5))
    rates = measure(arguments.directory, arguments.commits, arguments.rounds)
    ratios = {
        way: sorted(ours / theirs for ours, theirs in zip(rates["file"], rates[way], strict=True))
        for way in WAYS
        if way != "file"
    }
    mounts = MOUNTS.read_text(errors="surrogateescape") if MOUNTS.exists() else ""
    kind = file_system(Path(os.path.realpath(arguments.directory)), mounts) or "an unknown file system"
    if arguments.json:
        print(json.dumps({"file_system": kind, "rates": rates, "ratios": ratios, "log": found}))
        return
    size = len(_commits(1)[0])
    print(f"{arguments.rounds} rounds of {arguments.commits} commits of {size} bytes, on {kind}")
    for way, of_rounds in rates.items():
        low, high = min(of_rounds), max(of_rounds)
        print(f"{way:<10} {statistics.median(of_rounds):8.0f} commits/s  ({low:.0f} to {high:.0f})")
    for way, by_round in ratios.items():
        print(f"file / {way:<10} {statistics.median(by_round):5.2f}  ({by_round[0]:.2f} to {by_round[-1]:.2f})")
    print(f"\na log of {found['commits']} commits, each of an input and a turn with {found['payload_bytes']} bytes")
    print(f"written at {found['written_per_s']:.0f} commits/s, snapshots included")
    for where in ("log", "disk", "snapshot"):
        print(f"{where:<10} {found[f'{where}_bytes']:8.0f} bytes for each")
    for way, took in found["resume_s"].items():
        name = f"read {way}"
        print(f"{name:<15} {statistics.median(took):6.3f} s  ({min(took):.3f} to {max(took):.3f})")


if __name__ == "__main__":
    main()
