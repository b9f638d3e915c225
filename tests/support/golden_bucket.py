"""Writes a bucket that has one of everything, as this version writes it; and lists what is in one, as people see it.

.venv/bin/python tests/support/golden_bucket.py tests/store/golden/v2     # of a new format, never of an old one
"""

from __future__ import annotations

import itertools
import json
import random
import sys
from pathlib import Path

from fabric.errors import SessionNotFound
from fabric.store.bucket import Bucket
from fabric.store.file import FileStore
from fabric.store.keys import text_of
from fabric.store.log import Log
from fabric.store.memory_names import MemoryNames
from fabric.store.objects import ObjectStore
from fabric.store.record import INLINE_BYTES_MAX, Attempt, Commit, Pause, digest
from fabric.store.replay import Placed

# As some version of these libraries has packed them; another one may do it otherwise.
GZIP = bytes.fromhex("1f8b08000000000002032b484cce4e4d5128183e1400d3eae2a7d2000000")
ZSTD = b"\x28\xb5\x2f\xfd\x20\x8c\x61\x04\x00" + b"packed " * 20

LISTING = "listing.json"
NOW = 1_700_000_000.0


def write(root: Path) -> None:
    """Write the bucket; nothing is there yet."""
    clock, ids = itertools.count(int(NOW)), itertools.count(1)
    store = FileStore(root)
    store.url = "file:///golden"
    bucket = Bucket(store, lambda: float(next(clock)), lambda: f"id{next(ids)}", lambda text: None)
    bucket.start(session="run/judge", agent="other")
    log = bucket.start(session="golden", agent="reviewer", metadata={"team": "blue", "é": "✓"})
    log.share("agents")
    rng = random.Random(3)
    noise = rng.randbytes(INLINE_BYTES_MAX + 5)
    for name, body, encoding in (
        ("text", "plain é✓".encode(), ""),
        ("empty", b"", ""),
        ("binary", bytes(range(256)), ""),
        ("large", noise, ""),
        ("gzip", GZIP, "gzip"),
        ("zstd", ZSTD, "zstd"),
    ):
        entry = log.store_body(body, name=name, content_encoding=encoding, content_type="x/y", metadata={"k": name})
        log.push([entry], key=f"key of {name}")
    log.failed(7, Attempt(7, NOW, status="exit 1", reason="it raised", stderr="Traceback é"))
    log.decide(7, [log.store_body(b"task one", name="task", fork=True), log.store_body(noise, name="task", fork=True)])
    sent = [log.store_body(b"hi", session="run/judge", name="n"), log.store_body(b"ho", session="nobody")]
    log.decide(8, [*sent, log.store_body(b"known", name="agents/known of all")], Pause("rate limited", NOW + 90.25))
    store.create("due/000028333334/golden", b"")  # as early versions did
    log.push([log.store_body(b"hurry"), log.store_body(b"and more")])
    log.wake()
    log.push([log.store_body(b"slipped in")])
    log.decide(11, [log.store_body(b"answer")], Pause("done"))
    log.compact()
    log.push([log.store_body(b"after the snapshot")])
    child = log.fork(9, session="early")
    child.decide(0, [])
    gone = bucket.start(session="gone")
    gone.push([gone.store_body(b"forgotten")])
    bucket.delete("gone")
    listed = json.dumps(listing(FileStore(root)), indent=1, ensure_ascii=False)
    (root / LISTING).write_text(listed + "\n", encoding="utf-8")


def listing(store: ObjectStore) -> dict[str, object]:
    """Return all that is in a bucket."""
    told: list[str] = []
    bucket = Bucket(store, lambda: NOW, tell=told.append)
    found: dict[str, object] = {"listed": [manifest.id for manifest in bucket.sessions()], "due": _due(store)}
    for session in ("golden", "run/judge", "early", "gone", *bucket.open("golden").children()):
        try:
            found[session] = _session(bucket.open(session))
        except SessionNotFound:
            found[session] = "deleted"
        report = bucket.verify(session)
        found[f"verified {session}"] = [
            *report.problems,
            *(text.partition(": there is")[0] for text in report.warnings),
        ]
    memory = MemoryNames(bucket.world).load("agents", "known of all")
    found["memory"] = None if memory is None else [memory.entry.text, memory.origin]
    found["told"] = told
    return found


def _due(store: ObjectStore) -> list[str | None]:
    """Return which sessions were to be woken, as early versions left word of it. Nobody reads it."""
    return [text_of(key.rpartition("/")[2]) for key in store.list("due/")]


def _session(log: Log) -> dict[str, object]:
    manifest, origin = log.manifest, log.manifest.parent
    return {
        "manifest": [manifest.agent, dict(manifest.metadata), manifest.created],
        "parent": None if origin is None else [origin.session, origin.seq, origin.index],
        "commits": [_commit(commit) for commit in log.read()],
        "entries": [_entry(log, each) for each in log.entries()],
        "replay": [each.id for each in log.replay(NOW + 100)],
        "readiness": [repr(log.readiness(NOW)), repr(log.readiness(NOW + 100))],
        "attempts": [[each.status, each.reason, each.stderr] for each in log.attempts(7)],
        "undelivered": [[each.seq, each.index, each.session] for each in log.undelivered()],
        "children": log.children(),
    }


def _commit(commit: Commit) -> list[object]:
    pause = commit.pause and [commit.pause.reason, commit.pause.until]
    return [commit.id, commit.kind, commit.base, commit.at, commit.key, commit.inv, pause]


def _entry(log: Log, placed: Placed) -> list[object]:
    entry = placed.entry
    body = digest(log.decoded(entry))[:16]
    said = [placed.id, entry.event, entry.name, entry.content_type, dict(entry.metadata), body]
    return [*said, entry.session, placed.child, placed.inherited]


if __name__ == "__main__":
    write(Path(sys.argv[1]))
