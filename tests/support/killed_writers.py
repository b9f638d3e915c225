"""Kill a process at each operation of its bucket, and see that the next one ends where it would have.

.venv/bin/python tests/support/killed_writers.py push /tmp/somewhere
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from fabric.errors import SessionExists, SessionNotFound
from fabric.store.bodies import COLLECTED_OLDER_THAN_S_MIN
from fabric.store.bucket import Bucket
from fabric.store.file import FileStore
from fabric.store.log import Log
from fabric.store.memory_names import MemoryNames
from fabric.store.objects import ObjectStore
from fabric.store.readiness import Ready
from fabric.store.record import INLINE_BYTES_MAX, Pause
from fabric.testing.stores import FaultyStore, StoreFault, fault_at

NOW = 1_000_000.0
LARGE = b"large".ljust(INLINE_BYTES_MAX + 1)


def open_bucket(store: ObjectStore, now: float = NOW) -> Bucket:
    return Bucket(store, lambda: now, tell=lambda text: None)


def push(bucket: Bucket) -> None:
    """Push with keys, a large body among it."""
    log = bucket.start(session="s")
    for key, body in (("a", b"small"), ("b", LARGE), ("c", b"small")):
        log.push([log.store_body(body, name=key)], key=key)


def decide(bucket: Bucket) -> None:
    """Decide with children, a delivery, one that cannot be delivered, a version of memory and a sleep."""
    bucket.start(session="t")
    log = bucket.start(session="s")
    log.share("m")
    log.push([log.store_body(b"plan")], key="plan")
    log.settle()
    while isinstance(log.readiness(NOW), Ready):
        said = {each.entry.name for each in log.replay(NOW)}
        base = len(log.read())
        if "task" not in said:
            bodies = [log.store_body(b"one", name="task", fork=True), log.store_body(LARGE, name="task", fork=True)]
            log.decide(base, [*bodies, log.store_body(b"note", name="m/x"), log.store_body(b"hi", session="t")])
        else:
            log.decide(base, [log.store_body(b"nobody", session="nobody")], Pause("later", NOW + 90.0))


def compact(bucket: Bucket) -> None:
    """Write snapshots, one in the place of one that is torn."""
    log = bucket.start(session="s")
    for number in range(3):
        log.push([log.store_body(b"%d" % number)], key=str(number))
    log.compact()
    log.push([log.store_body(b"more")], key="more")
    log.compact()


def delete(bucket: Bucket) -> None:
    """Delete a child and its parent."""
    try:
        log = bucket.start(session="s")
        log.push([log.store_body(LARGE)], key="a")
        log.compact()
        log.fork(session="c")
        bucket.delete("c")
    except (SessionExists, SessionNotFound):
        pass  # the first of us has come so far
    bucket.delete("s")


def collect(bucket: Bucket) -> None:
    """Collect what a deleted session has left, and snapshots."""
    log = bucket.start(session="s")
    log.store_body(LARGE + b"garbage")
    log.push([log.store_body(LARGE)], key="a")
    for number in range(3):
        log.push([log.store_body(b"x")], key=str(number))
        log.compact()
    for day in range(3):  # found without a name, set aside, removed
        open_bucket(bucket.store, NOW + 86400.0 * day).gc(COLLECTED_OLDER_THAN_S_MIN)


SCENARIOS: dict[str, Callable[[Bucket], None]] = {
    each.__name__: each for each in (push, decide, compact, delete, collect)
}


def listing(store: ObjectStore) -> str:
    """Return all that is in a bucket, as people see it."""
    bucket = open_bucket(store)
    found: dict[str, object] = {}
    for session in sorted({key.split("/")[1] for key in store.list("sessions/") if key.endswith("manifest.json")}):
        problems = bucket.verify(session).problems
        assert not problems, problems
        try:
            log = bucket.open(session)
        except SessionNotFound:
            found[session] = "deleted"
            continue
        seen = [[each.entry.event, each.entry.name, log.body(each.entry).decode()[:20]] for each in log.replay(NOW)]
        missed = [[each.seq, each.index, each.session] for each in log.undelivered()]
        found[session] = [seen, missed, repr(log.readiness(NOW)), log.children(), undone(log)]
    memory = MemoryNames(bucket.world).load("m", "x")
    found["memory"] = [memory.entry.text if memory else "", len(store.list("memory/"))]
    found["listed"] = [manifest.id for manifest in bucket.sessions()]
    return json.dumps(found).replace(store.url, "")


def undone(log: Log) -> list[str]:
    return list(log.verify().warnings)


def killed_at(scenario: Callable[[Bucket], None], root: Path, number: int, fault: StoreFault) -> bool:
    """Run a scenario in a process that is killed at an operation; return whether it was."""
    pid = os.fork()
    if pid == 0:
        scenario(open_bucket(FaultyStore(FileStore(root), fault_at(number, fault))))
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL, f"operation {number}: status {status}"
    return status != 0


def main(name: str, directory: str) -> int:
    scenario = SCENARIOS[name]
    undisturbed = FileStore(Path(directory) / "undisturbed")
    scenario(open_bucket(undisturbed))
    expected = listing(undisturbed)
    number, killed = 0, True
    while killed:
        number += 1
        for fault in ("kill_before", "kill_after"):
            root = Path(directory) / f"{number}{fault}"
            killed = killed_at(scenario, root, number, fault)
            listing(FileStore(root))  # what there is now is sound, too
            scenario(open_bucket(FileStore(root)))
            found = listing(FileStore(root))
            assert found == expected, f"{fault} at operation {number} of {name}:\n{found}\nis not\n{expected}"
    print(f"{name}: killed before and after each of {number - 1} operations")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
