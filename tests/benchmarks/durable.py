"""What it costs to keep a run in a bucket, and how long it takes to come back.

.venv/bin/python tests/benchmarks/durable.py                   # 10,000 messages through one function
.venv/bin/python tests/benchmarks/durable.py --messages 1000

``fabric run`` of the same program on the same messages, with and without ``--session``, one after the other; the time
of a run with one message is taken off, so that what is left is that of the messages. Then the log: its bytes for each
message, and the time in which it is read and relived, from its commits one by one and from a snapshot.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fabric.compiler import compile_file
from fabric.plan.plan import Plan
from fabric.runtime.keeping import read_history
from fabric.session.session import Session, Settings
from fabric.store.bucket import Bucket
from fabric.store.keys import snapshots_prefix
from fabric.store.log import Log
from fabric.store.opening import open_store

PROGRAM = """
let double : !int -> !int = python { call: "numbers_:double" }
let main : !int -> !int = plumb(number, done) { number ; double ; done }
"""


def run_s(folder: Path, messages: int, session: str) -> float:
    """Run the program on so many messages, kept as a session if it has a name; return how long that took."""
    (folder / "input.jsonl").write_text("".join(f"{number}\n" for number in range(messages)))
    words = ["--session", session, "-b", f"file://{folder}/bucket"] if session else []
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PLUMB_", "FABRIC_"))}
    began_s = time.perf_counter()
    with (folder / "input.jsonl").open("rb") as source, (folder / "out").open("wb") as out:
        subprocess.run(
            [sys.executable, "-P", "-m", "fabric.cli", "run", *words, "main.plumb"],
            cwd=folder,
            env=ours | {"XDG_STATE_HOME": str(folder / "state")},
            stdin=source,
            stdout=out,
            check=True,
        )
    took_s = time.perf_counter() - began_s
    assert (folder / "out").read_bytes().count(b"\n") == messages
    return took_s


def resume_s(folder: Path, plan: Plan) -> tuple[float, float, int]:
    """Return how long it takes to read the log and to relive it, and how many entries that are."""
    began_s = time.perf_counter()
    history = read_history(open_log(folder))
    read_s = time.perf_counter() - began_s
    began_s = time.perf_counter()
    Session(plan, Settings(), random.Random(1), durable="kept").relive(history)
    return read_s, time.perf_counter() - began_s, len(history)


def open_log(folder: Path) -> Log:
    return Bucket(open_store(f"file://{folder}/bucket")).open("kept")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000)
    messages = parser.parse_args().messages
    with tempfile.TemporaryDirectory(prefix="fabric-durable-") as place:
        folder = Path(place)
        (folder / "main.plumb").write_text(PROGRAM)
        (folder / "numbers_.py").write_text("def double(number):\n    return 2 * number\n")
        for session in ("", "kept"):
            start_s = run_s(folder, 1, session and "one")
            took_s = run_s(folder, messages, session) - start_s
            how = "kept in a bucket, file:" if session else "not kept"
            print(f"{how:24} {messages / took_s:8.0f} messages/s   ({start_s:.2f} s to start and end)")
        log = open_log(folder)
        commits, store = log.read(), open_store(f"file://{folder}/bucket")
        files = [path for path in (folder / "bucket" / "sessions" / "kept").rglob("*/log/*") if path.is_file()]
        size_bytes = sum(path.stat().st_size for path in files or (folder / "bucket").rglob("log/*.json"))
        print(f"{len(commits)} commits, {size_bytes / messages:.0f} bytes of log for each message")
        plan, _ = compile_file(folder / "main.plumb", run_directory=place)
        for key in store.list(snapshots_prefix("kept")):
            store.delete(key)
        for how in ("from its commits", "from a snapshot"):
            read_s, relive_s, entries = resume_s(folder, plan)
            print(f"back {how:18} {read_s:.2f} s to read, {relive_s:.2f} s to relive {entries} entries")
            log.compact()


if __name__ == "__main__":
    main()
