"""A bucket of sessions: what is listed, deleted, verified and collected, and what else may lie in it."""

from __future__ import annotations

import msgspec
import pytest
from buckets import Desk, said

from fabric.errors import ConfigError, LogDamaged, SessionExists, SessionNotFound, StoreFailed, Superseded
from fabric.store import keys
from fabric.store.bodies import BODY_FRESH_S
from fabric.store.bodies import COLLECTED_OLDER_THAN_S_MIN as LEAST_S
from fabric.store.bucket import Bucket
from fabric.store.file import FileStore
from fabric.store.log import Log
from fabric.store.memory import MemoryStore
from fabric.store.record import (
    INLINE_BYTES_MAX,
    Commit,
    Pause,
    Undelivered,
    digest,
    encode,
    encode_commit,
    encode_manifest,
    entry_of,
)
from fabric.store.snapshot import COMMITS, SHARE, SMALL_BYTES, encode_snapshot, is_due
from fabric.testing.stores import FaultyStore, fault_at

LARGE = "x" * (INLINE_BYTES_MAX + 1)
BLOB = keys.blob_key(digest(LARGE.encode()))


FOREIGN = [
    *("README", "sessions/README", "sessions/s/log/notes.txt", "sessions/s/log/1.json", "sessions/s/snap/x"),
    *("sessions/s/children/=zz", "sessions/zz=/x", "blobs/sha256/aa/note", "due/x", "due/y/z", "memory/a", "unused/x"),
]


def filled(desk: Desk, session: str = "s", pushes: int = COMMITS) -> Log:
    """Return a session into which something was pushed, in other words a log of some length."""
    log = desk.bucket.start(session=session)
    for number in range(pushes):
        log.push([said(log, f"push {number}")])
    return log


def raw_log(desk: Desk, session: str = "s") -> list[bytes]:
    return [desk.store.get(key) or b"" for key in desk.store.list(keys.log_prefix(session))]


# --- listing


def test_sessions_are_listed_in_order():
    """Those whose id begins so; what lies there besides is passed over."""
    desk = Desk()
    for session in ("b", "run/two", "run/one", "a"):
        desk.bucket.start(session=session)
    desk.store.create("index/=zz", b"")
    desk.store.create("index/never-begun", b"")
    assert [manifest.id for manifest in desk.bucket.sessions()] == ["a", "b", "run/one", "run/two"]
    assert [manifest.id for manifest in desk.bucket.sessions("run/")] == ["run/one", "run/two"]


def test_foreign_objects_disturb_nobody():
    """Wherever somebody has put them; verify names those in a session."""
    desk = Desk()
    log = filled(desk, pushes=2)
    for key in FOREIGN:
        desk.store.create(key, b"?")
    assert len(desk.opened().open("s").read()) == 2
    assert log.children() == []
    desk.bucket.gc(LEAST_S)
    report = desk.bucket.verify("s")
    assert report.problems == ()
    assert [warning.partition(":")[0] for warning in report.warnings] == [
        "sessions/s/log/1.json",
        "sessions/s/log/notes.txt",
        "sessions/s/snap/x",
    ]


def test_an_index_that_is_lost_is_made_again():
    """By gc: it is a hint, and what it hints at is there."""
    desk = Desk()
    desk.bucket.start(session="s")
    desk.store.delete("index/s")
    assert desk.bucket.sessions() == []
    desk.bucket.gc()
    assert [manifest.id for manifest in desk.bucket.sessions()] == ["s"]


def test_gc_lists_only_what_is_lost():
    """What is listed is not written again, and what was deleted meanwhile is not listed again."""
    desk = Desk()
    for session in ("s", "t"):
        desk.bucket.start(session=session)
    desk.store.delete("index/t")
    store = FaultyStore(desk.store, lambda at: begin if at.method == "create" and at.key == "index/t" else None)

    def begin() -> None:
        desk.bucket.delete("t")

    Bucket(store, lambda: desk.now).gc()
    assert [at.key for at in store.operations if at.method == "create"] == ["index/t"]
    assert desk.store.list("index/") == ["index/s"]


def test_a_damaged_manifest_hides_no_other_session():
    """It is told, and verify says what is wrong with it."""
    desk = Desk()
    for session in "abc":
        desk.bucket.start(session=session)
    key = keys.manifest_key("b")
    desk.store.delete(key)
    desk.store.create(key, b"x")
    assert [manifest.id for manifest in desk.bucket.sessions()] == ["a", "c"]
    assert key in desk.told[-1]
    assert [(each.id, key in each.damage) for each in desk.bucket.listed()] == [("a", False), ("b", True), ("c", False)]
    assert key in desk.bucket.verify("b").problems[0]


@pytest.mark.parametrize("damage", [None, b"x"], ids=["missing", "damaged"])
def test_verify_says_which_snapshot_has_what_a_log_lacks(damage: bytes | None):
    """The commit is named, and the newest snapshot that has it: no snapshot is said to be wrong. All else is read."""
    desk = Desk()
    log = filled(desk, pushes=3)
    log.compact()
    log.push([said(log, "more")])
    log.compact()
    log.push([said(log, "last")])
    desk.store.delete(keys.log_key("s", 1))
    if damage is not None:
        desk.store.create(keys.log_key("s", 1), damage)
    report = desk.bucket.verify("s")
    assert (report.commits, report.snapshots) == (5, 2)
    (problem,) = report.problems
    assert problem.startswith(keys.log_key("s", 1))
    assert f"{keys.snapshot_key('s', 3)} has it" in problem


def test_a_commit_that_is_nowhere_is_named_once():
    """Verify counts what comes before it; a commit at the end that a snapshot has is missed, too."""
    desk = Desk()
    log = filled(desk, pushes=3)
    desk.store.delete(keys.log_key("s", 1))
    report = desk.bucket.verify("s")
    assert report.commits == 1
    assert [problem.partition(":")[0] for problem in report.problems] == [keys.log_key("s", 1)]
    other = filled(desk, "t", pushes=3)
    other.compact()
    desk.store.delete(keys.log_key("t", 2))
    assert [problem.partition(":")[0] for problem in desk.bucket.verify("t").problems] == [keys.log_key("t", 2)]
    assert log.id == "s"


def test_a_snapshot_that_is_asked_for_hides_no_gap():
    """A log that lacks a commit is read from its snapshot, and yet no further one is written of it."""
    desk = Desk()
    log = filled(desk, pushes=3)
    log.compact()
    log.push([said(log, "more")])
    desk.store.delete(keys.log_key("s", 1))
    found = desk.opened().open("s")
    assert len(found.read()) == 4
    with pytest.raises(LogDamaged, match=keys.log_key("s", 1)):
        found.compact()
    assert desk.store.list(keys.snapshots_prefix("s")) == [keys.snapshot_key("s", 2)]


# --- deletion


def test_a_deleted_session_takes_nothing_more():
    """Not from those who have it open either; its id is not used again, and its log is still there."""
    desk = Desk()
    log = filled(desk, pushes=2)
    idle = desk.opened().open("s")
    desk.bucket.delete("s")
    for act in (lambda: log.push([said(log, "late")]), lambda: idle.decide(2, []), lambda: desk.opened().open("s")):
        with pytest.raises(SessionNotFound, match="was deleted"):
            act()
    with pytest.raises(SessionExists, match="not used again"):
        desk.bucket.start(session="s")
    assert desk.bucket.sessions() == []
    assert len(raw_log(desk)) == 3
    desk.bucket.delete("s")
    assert desk.bucket.verify("s").problems == ()


def test_a_session_is_not_listed_from_its_tombstone_on():
    """Whoever deletes it may be killed before he takes it from the list; another deletion, or gc, ends it."""
    operations, again = 0, True
    while again:
        operations += 1
        store = MemoryStore()
        desk = Desk(store)
        log = filled(desk, pushes=2)
        faulty = FaultyStore(store, lambda at, stop=operations: "fail" if at.number == stop else None)
        try:
            Bucket(faulty, lambda desk=desk: desk.now).delete("s")
            again = False
        except StoreFailed:
            pass
        ended = len(raw_log(desk)) == 3
        assert [manifest.id for manifest in desk.bucket.sessions()] == ([] if ended else ["s"])
        assert desk.bucket.lives("s") is not ended
        desk.bucket.delete("s")
        assert [*store.list("index/"), *store.list("ending/")] == []
    assert operations > 5
    store.create("ending/s", b"")
    store.create("index/s", b"")
    assert desk.bucket.gc().hints == 2
    assert log.id == "s"


def test_a_session_with_children_is_not_deleted():
    """For they inherit from it. When they are gone it can go."""
    desk = Desk()
    log = filled(desk, pushes=1)
    child = log.fork()
    with pytest.raises(ConfigError, match=f"1 children, .* the first is {child.id}"):
        desk.bucket.delete("s")
    desk.bucket.delete(child.id)
    desk.bucket.delete("s")


def test_a_child_that_slipped_in_still_inherits():
    """What its deleted parent said; its large bodies are kept for it."""
    desk = Desk()
    log = desk.bucket.start(session="s")
    log.push([said(log, LARGE)])
    child = log.fork()
    log.end()  # as if the fork had come between the look for children and the tombstone
    desk.bucket.gc(LEAST_S)
    inherited = desk.opened().open(child.id).entries()[1]
    assert child.body(inherited.entry) == LARGE.encode()
    assert desk.bucket.verify(child.id).problems == ()


# --- snapshots


def test_a_long_log_has_a_snapshot_which_is_a_function_of_it():
    """A reader takes it instead of the commits in it, and whoever writes it writes the same."""
    desk = Desk()
    filled(desk)
    (key,) = desk.store.list(keys.snapshots_prefix("s"))
    assert key == keys.snapshot_key("s", COMMITS - 1)
    assert desk.store.get(key) == encode_snapshot("s", raw_log(desk))
    for seq in range(COMMITS - 1):
        desk.store.delete(keys.log_key("s", seq))
    assert len(desk.opened().open("s").read()) == COMMITS


@pytest.mark.parametrize("harm", ["torn", "empty", "of another session", "too short"])
def test_a_snapshot_that_is_not_one_is_told_and_written_anew(harm: str):
    """The log is read without."""
    desk = Desk()
    filled(desk)
    other = filled(desk, "other")
    key = keys.snapshot_key("s", COMMITS - 1)
    whole = desk.store.get(key) or b""
    bad = {
        "torn": whole[:-9],
        "empty": b"",
        "of another session": desk.store.get(keys.snapshot_key(other.id, COMMITS - 1)) or b"",
        "too short": encode_snapshot("s", raw_log(desk)[:-1]),
    }[harm]
    desk.store.delete(key)
    desk.store.create(key, bad)
    log = desk.opened().open("s")
    assert len(log.read()) == COMMITS
    assert key in desk.told[-1]
    log.push([said(log, "more")])
    assert len(desk.store.list(keys.snapshots_prefix("s"))) == 1
    assert desk.bucket.verify("s").warnings == ()
    assert len(desk.opened().open("s").read()) == COMMITS + 1


def test_a_stale_snapshot_is_gone_on_from():
    """By the commits after it."""
    desk = Desk()
    log = filled(desk, pushes=3)
    assert log.compact()
    assert not log.compact()
    log.push([said(log, "more")])
    assert len(desk.opened().open("s").read()) == 4


def test_when_a_snapshot_is_due():
    """Every so many commits or bytes; in a long log not before a part of it is new."""
    assert not is_due(COMMITS - 1, 100, 0)
    assert is_due(COMMITS, 100, SMALL_BYTES)
    assert is_due(1, 1024 * 1024, 0)
    assert not is_due(COMMITS, SMALL_BYTES // SHARE, SMALL_BYTES + SHARE)
    assert is_due(COMMITS, SMALL_BYTES // SHARE + 1, SMALL_BYTES + SHARE)


# --- what is wrong


def test_verify_finds_nothing_in_a_sound_session():
    """With forks, deliveries, memory, large bodies and snapshots."""
    desk = Desk()
    filled(desk, "t", 1)
    log = desk.bucket.start(session="s")
    log.share("m")
    log.push([said(log, LARGE)])
    entries = [said(log, "a", fork=True), said(log, "b", session="t"), said(log, "c", name="m/x")]
    log.decide(2, entries, Pause())
    log.compact()
    report = log.verify()
    assert (report.commits, report.entries, report.bodies, report.snapshots) == (3, 6, 1, 1)
    assert report.problems == report.warnings == ()
    assert desk.bucket.verify(log.children()[0]).problems == ()


@pytest.mark.parametrize(
    "harm",
    ["gap", "body", "torn commit", "decided twice", "key twice", "id twice", "wrong snapshot", "errand", "no parent"],
)
def test_verify_finds_what_is_wrong(harm: str):
    """And names the key."""
    desk = Desk()
    log = desk.bucket.start(session="s")
    log.push([said(log, LARGE)])
    log.decide(1, [said(log, "a", session="s")])
    log.push([said(log, "b")])
    store = desk.store

    def put(seq: int, commit: Commit) -> str:
        store.create(keys.log_key("s", seq), encode_commit(commit))
        return keys.log_key("s", seq)

    if harm == "gap":
        expected = keys.log_key("s", 1)
        store.delete(expected)
    elif harm == "body":
        expected = BLOB
        store.delete(expected)
    elif harm == "torn commit":
        expected = keys.log_key("s", 3)
        raw = store.get(expected) or b""
        store.delete(expected)
        store.create(expected, raw[:-3])
    elif harm == "decided twice":
        expected = put(4, Commit("x", "handler", 1, 0.0))
    elif harm == "key twice":
        expected = put(4, Commit("x", "client", 4, 0.0, key="s/1/0", entries=(entry_of("push", b""),)))
    elif harm == "id twice":
        expected = put(4, Commit(log.read()[0].id, "client", 4, 0.0))
    elif harm == "wrong snapshot":
        expected = keys.snapshot_key("s", 0)
        store.create(expected, encode_snapshot("s", [encode_commit(Commit("x", "client", 0, 0.0))]))
    elif harm == "errand":
        log.decide(4, [said(log, "c", fork=True)])
        expected = keys.settled_key("s", 4)
        store.delete(keys.manifest_key(log.children()[0]))
    else:
        child = log.fork(2, session="c")
        store.delete(keys.log_key("s", 1))
        expected = keys.manifest_key("c")
        log = child
    assert [problem.partition(":")[0].partition(",")[0] for problem in desk.bucket.verify(log.id).problems][:1] == [
        expected
    ]


def test_verify_tells_what_is_still_to_be_done():
    """And what could not be: that is no damage."""
    desk = Desk()
    log = desk.bucket.start(session="s")
    log.decide(0, [said(log, "a", fork=True)])
    log.decide(1, [said(log, "b", session="nobody")])
    for key in (keys.settled_key("s", 0), keys.manifest_key(log.children()[0])):
        desk.store.delete(key)
    report = log.verify()
    assert report.problems == ()
    assert ["nobody" in report.warnings[0], "next start" in report.warnings[1]] == [True, True]


def test_a_session_that_inherits_from_itself_is_damaged():
    """Nobody follows it for ever."""
    desk = Desk()
    log = filled(desk, "a", 1)
    child = log.fork(session="b")
    looped = msgspec.structs.replace(
        child.manifest, id="a", parent=msgspec.structs.replace(child.manifest.parent, session="b")
    )
    desk.store.delete(keys.manifest_key("a"))
    child.push([said(child, "one")])
    desk.store.create(keys.manifest_key("a"), encode_manifest(looped))
    with pytest.raises(LogDamaged, match="its own ancestor"):
        desk.opened().open("b").entries()


# --- what nobody needs


def test_a_body_that_nobody_names_is_removed_after_a_while():
    """Not before, for its commit may be on its way: it is noted, set aside, removed. One that is named is kept."""
    desk = Desk()
    log = filled(desk, pushes=1)
    log.push([said(log, LARGE)])
    said(log, LARGE + "garbage")
    found = []
    for _ in range(3):
        for _ in range(2):
            collected = desk.bucket.gc(LEAST_S)
            found.append((len(desk.store.list("blobs/")), collected.waiting, collected.bodies))
        desk.now += LEAST_S
    assert found == [(2, 1, 0), (2, 1, 0), (1, 1, 0), (1, 1, 0), (1, 0, 1), (1, 0, 0)]
    assert desk.store.list("blobs/") == [BLOB]
    assert [*desk.store.list("unused/"), *desk.store.list("aside/")] == []


def test_a_body_that_may_be_on_its_way_is_not_collected():
    """Whatever is asked for: nobody waits less than a writer may take."""
    desk = Desk()
    assert LEAST_S > 5 * BODY_FRESH_S
    with pytest.raises(ConfigError, match="may be on its way into a log: expected at least 3600 seconds"):
        desk.bucket.gc(LEAST_S - 1)


def set_aside(desk: Desk) -> None:
    """Let what nobody names be set aside."""
    desk.bucket.gc(LEAST_S)
    desk.now += LEAST_S
    desk.bucket.gc(LEAST_S)
    assert desk.store.get(BLOB) is None


def test_a_body_that_is_wanted_again_while_it_is_removed_is_there():
    """Its writer brings it back after the commit; and until then readers find it aside."""
    desk = Desk()
    log = desk.bucket.start(session="s")
    said(log, LARGE)
    again = desk.opened().open("s")
    desk.bucket.gc(LEAST_S)
    desk.now += LEAST_S
    entry = said(again, LARGE)
    desk.bucket.gc(LEAST_S)
    assert desk.store.get(BLOB) is None
    assert again.body(entry) == LARGE.encode()
    again.push([entry])
    assert desk.store.get(BLOB) == LARGE.encode()


def test_a_body_whose_writer_was_killed_after_the_commit_comes_back():
    """He had found it there, and could not bring it back. Whoever collects reads the logs before he removes it."""
    desk = Desk()
    log = desk.bucket.start(session="s")
    entry = said(log, LARGE)
    set_aside(desk)
    desk.opened().open("s").push([entry])  # by a log that knows nothing of bodies: as if it had been killed
    assert desk.store.get(BLOB) is None
    assert log.body(entry) == LARGE.encode()
    desk.now += 2 * LEAST_S
    assert desk.bucket.gc(LEAST_S).bodies == 0
    assert desk.store.get(BLOB) == LARGE.encode()
    assert desk.store.list("aside/") == []


def test_a_body_that_is_committed_while_another_one_is_collected_is_there():
    """Whatever was read of the logs before: at each operation of the one who collects a writer commits, and is killed.

    He is killed before he could bring the body back, which he had found there.
    """
    number, there = 0, True
    while there:
        number += 1
        store = MemoryStore()
        desk = Desk(store)
        log = desk.bucket.start(session="s")
        entry = said(log, LARGE)
        desk.bucket.gc(LEAST_S)
        desk.now += LEAST_S
        faulty = FaultyStore(store, fault_at(number, lambda log=log, entry=entry: log.push([entry]) and None))
        log._stored.clear()  # as if it were killed before it looks
        Bucket(faulty, lambda desk=desk: desk.now).gc(LEAST_S)
        there = len(faulty.operations) >= number
        if there:
            assert log.body(entry) == LARGE.encode(), faulty.operations[:number]
            desk.now += 2 * LEAST_S
            desk.bucket.gc(LEAST_S)
            assert log.body(entry) == LARGE.encode(), faulty.operations[:number]
    assert number > 10


def test_a_body_is_not_forgotten_before_it_is_brought_back():
    """A bucket that fails after the commit leaves it aside; what was found there is known until it is seen to."""
    failing: list[bool] = []
    desk = Desk(FaultyStore(MemoryStore(), lambda at: "fail" if failing and at.key.startswith("aside/") else None))
    log = desk.bucket.start(session="s")
    desk.opened().open("s").store_body(LARGE.encode())
    entry = said(log, LARGE)
    set_aside(desk)
    failing.append(True)
    with pytest.raises(StoreFailed):
        log.push([entry])
    failing.clear()
    log.push([entry])
    assert desk.store.get(BLOB) == LARGE.encode()


def test_a_body_that_was_removed_before_its_commit_is_missed():
    """It was stored so long ago that nobody could know that it is wanted: nothing is committed that names it."""
    desk = Desk()
    log = desk.bucket.start(session="s")
    entry = said(log, LARGE)
    set_aside(desk)
    desk.now += 2 * LEAST_S
    assert desk.bucket.gc(LEAST_S).bodies == 1
    with pytest.raises(LogDamaged, match=BLOB):
        log.push([entry])
    assert log.read() == []


def test_bodies_of_decisions_that_came_to_nothing_are_let_go():
    """Nothing is kept of them: somebody else has decided."""
    desk = Desk()
    log = desk.bucket.start(session="s")
    entry = said(log, LARGE)
    desk.opened().open("s").decide(0, [])
    with pytest.raises(Superseded):
        log.decide(0, [entry])
    assert log._stored == {}


def test_what_a_deleted_session_named_is_removed_unless_others_name_it():
    """Such as its children, or memory."""
    desk = Desk()
    for session in ("s", "t"):
        log = desk.bucket.start(session=session)
        log.push([said(log, LARGE)])
    log.share("m")
    log.decide(2, [said(log, LARGE + "m", name="m/x")])
    for session in ("s", "t"):
        desk.bucket.delete(session)
        for _ in range(3):
            desk.bucket.gc(LEAST_S)
            desk.now += LEAST_S
        assert (desk.store.get(BLOB) is None) is (session == "t")
    assert len(desk.store.list("blobs/")) == 1


def test_nothing_is_removed_while_a_log_cannot_be_read():
    """What it names is not known."""
    desk = Desk()
    log = filled(desk, pushes=1)
    said(log, LARGE)
    desk.store.delete(keys.log_key("s", 0))
    desk.store.create(keys.log_key("s", 0), b"torn")
    with pytest.raises(LogDamaged):
        desk.bucket.gc(LEAST_S)
    assert desk.store.list("blobs/") == [BLOB]


def test_old_snapshots_and_hints_are_removed():
    """The newest two snapshots are kept. Hints of when to wake a session were left by early versions."""
    desk = Desk()
    log = desk.bucket.start(session="s")
    for _ in range(4):
        log.push([said(log, "one")])
        log.compact()
    desk.store.create("due/000000000001/s", b"")
    collected = desk.bucket.gc()
    assert (collected.snapshots, collected.hints) == (2, 1)
    assert desk.store.list("due/") == []


def test_what_killed_writers_left_is_removed(tmp_path):
    """From a bucket that is a directory."""
    desk = Desk(FileStore(tmp_path), now=1e12)
    desk.bucket.start(session="s")
    (tmp_path / ".tmp" / "left").write_bytes(b"half")
    assert desk.bucket.gc().temporaries == 1


def test_notes_about_deliveries_are_records():
    """Of the same kind as all others: with a digest."""
    desk = Desk()
    log = filled(desk, pushes=1)
    key = keys.undelivered_key("s", 0, 0)
    desk.store.create(key, encode(Undelivered(0, 0, "t", "why", 0.0))[:-5])
    with pytest.raises(LogDamaged, match=key):
        log.undelivered()
