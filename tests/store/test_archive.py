"""Sessions as one file, and back."""

from __future__ import annotations

import io
import tarfile

import pytest

from fabric.errors import LogDamaged, SessionExists, SessionNotFound
from fabric.store.archive import CONTENTS, read_archive, write_archive
from fabric.store.bucket import Bucket
from fabric.store.keys import log_key, snapshot_key
from fabric.store.memory import MemoryStore
from fabric.store.objects import ObjectStore
from fabric.store.record import Attempt

LARGE = b"\xff" * 40_000


def written(bucket: Bucket, *sessions: str) -> io.BytesIO:
    file = io.BytesIO()
    write_archive(bucket.store, sessions, file)
    return file


def with_a_fork() -> Bucket:
    """A session with three pushes, one large, and a fork that inherits two of them and has one of its own."""
    bucket = Bucket(MemoryStore())
    parent = bucket.start(session="a")
    for body in (LARGE, b"two", b"three"):
        parent.push([parent.store_body(body)])
    child = parent.fork(2, session="b")
    child.push([child.store_body(LARGE)])
    return bucket


def bodies(bucket: Bucket, session: str) -> list[bytes]:
    log = bucket.open(session)
    return [log.decoded(each.entry) for each in log.entries() if each.entry.event == "push"]


def test_a_session_is_the_same_elsewhere():
    """With what it inherits from, which is whole, too, and comes first."""
    there = Bucket(MemoryStore())
    imported = read_archive(there.store, written(with_a_fork(), "b"))
    assert imported.sessions == ("a", "b")
    assert bodies(there, "b") == [LARGE, b"two", LARGE]
    assert bodies(there, "a") == [LARGE, b"two", b"three"]
    assert [report.problems for report in map(there.verify, "ab")] == [(), ()]
    assert [manifest.id for manifest in there.sessions()] == ["a", "b"]
    assert there.open("a").children() == ["b"]


def test_what_is_kept_beside_a_log_comes_along():
    """Such as the program of a run, and what was tried; also of one that is inherited from."""
    bucket = with_a_fork()
    bucket.store.create("sessions/a/program.json", b"{}")
    bucket.open("a").failed(3, Attempt(3, 0.0, reason="no"))
    bucket.open("a").compact()
    for wanted, attempts in (("b", 1), ("a", 1)):
        there = MemoryStore()
        read_archive(there, written(bucket, wanted))
        assert there.get("sessions/a/program.json") == b"{}"
        assert len(there.list("sessions/a/errors/")) == attempts
        assert there.list("sessions/a/snap/") == []


def test_a_parent_goes_on_elsewhere_as_it_would_have_here():
    """What it asked of others is done; it comes before its child; and the whole of it can still be brought."""
    bucket = Bucket(MemoryStore(), tell=lambda _: None)
    target, parent = bucket.start(session="t"), bucket.start(session="p")
    parent.decide(0, [parent.store_body(b"mail", session="t")])
    parent.fork(1, session="c").fork(session="d")
    parent.decide(1, [parent.store_body(b"later")])
    there = Bucket(MemoryStore(), tell=lambda _: None)
    there.start(session="t").push([target.store_body(b"of its own")])
    assert read_archive(there.store, written(bucket, "d")).sessions == ("p", "c", "d")
    there.open("p").settle()
    assert bodies(there, "t") == [b"of its own"]
    there.open("p").decide(2, [])
    assert read_archive(there.store, written(bucket, "p", "c")).created == 0


def test_what_a_session_did_in_its_old_bucket_is_no_damage_in_the_new_one():
    """Those to whom it wrote, what it forked and what it remembered need not come along. It is told."""
    bucket = Bucket(MemoryStore(), tell=lambda _: None)
    bucket.start(session="t")
    log = bucket.start(session="s")
    log.share("m")
    log.decide(
        1,
        [
            log.store_body(b"mail", session="t"),
            log.store_body(b"task", fork=True),
            log.store_body(b"known", name="m/x"),
        ],
    )
    there = Bucket(MemoryStore(), tell=lambda _: None)
    read_archive(there.store, written(bucket, "s"))
    report = there.verify("s")
    assert report.problems == ()
    assert any("3 of what commit 1 asked of others is not in this bucket" in text for text in report.warnings)
    there.start(session="t")
    assert any("1 of it is not" in text for text in there.verify("s").problems)


def test_the_same_sessions_give_the_same_bytes():
    """A body that two name is in it once, and before what names it."""
    bucket = with_a_fork()
    file = written(bucket, "a", "b")
    assert file.getvalue() == written(bucket, "a", "b").getvalue()
    with tarfile.open(fileobj=io.BytesIO(file.getvalue())) as archive:
        names = archive.getnames()
    assert [name.startswith("blobs/") for name in names].count(True) == 1
    assert names[0].startswith("blobs/")
    assert names[-1] == CONTENTS


def test_an_archive_that_is_brought_in_again_changes_nothing():
    """Also if the session went on from there."""
    bucket = with_a_fork()
    file = written(bucket, "a", "b")
    bucket.open("b").push([bucket.open("b").store_body(b"later")])
    imported = read_archive(bucket.store, file)
    assert imported.created == 0
    assert bodies(bucket, "b")[-1] == b"later"


def test_a_session_that_went_another_way_is_not_touched():
    """Nothing else is brought in either."""
    there = Bucket(MemoryStore())
    other = there.start(session="a")
    file = written(with_a_fork(), "b")
    with pytest.raises(SessionExists, match="went another way"):
        read_archive(there.store, file)
    assert other.read() == []
    assert there.store.list("blobs/") == []


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.8])
def test_half_an_archive_is_none(share: float):
    """Wherever it was cut."""
    whole = written(with_a_fork(), "b").getvalue()
    there = MemoryStore()
    with pytest.raises(LogDamaged, match="archive"):
        read_archive(there, io.BytesIO(whole[: int(len(whole) * share)]))
    assert there.list("") == []


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("../../etc/passwd", b""),
        ("memory/x/y/0.json", b"{}"),
        ("sessions/x/manifest.json", b"{}"),
        ("sessions/x/log/00000000000000000000.json", b"{}"),
        ("blobs/sha256/ab/cd", b"x"),
        ("sessions/x/settled/1", b"one more"),
        (CONTENTS, b"[]"),
    ],
)
def test_what_belongs_to_no_session_is_refused(name: str, body: bytes):
    """Nothing is written then."""
    file = written(with_a_fork(), "b")
    with tarfile.open(fileobj=io.BytesIO(file.getvalue())) as old:
        members = [(member, old.extractfile(member)) for member in old]
        fresh = io.BytesIO()
        with tarfile.open(fileobj=fresh, mode="w") as new:
            for member, content in members:
                if member.name != name:
                    new.addfile(member, content)
            added = tarfile.TarInfo(name)
            added.size = len(body)
            new.addfile(added, io.BytesIO(body))
    there = MemoryStore()
    with pytest.raises(LogDamaged):
        read_archive(there, fresh)
    assert there.list("") == []


def test_a_damaged_session_is_not_exported():
    """A body that is gone is named."""
    bucket = with_a_fork()
    (body,) = bucket.store.list("blobs/")
    bucket.store.delete(body)
    with pytest.raises(LogDamaged, match=body):
        written(bucket, "b")
    with pytest.raises(SessionNotFound):
        written(bucket, "nobody")


@pytest.mark.parametrize("damage", [None, b"x"], ids=["missing", "damaged"])
def test_a_commit_that_only_a_snapshot_has_is_taken_from_there(damage: bytes | None):
    """So the log is whole elsewhere, as it was; which commit that is, is told."""
    bucket = with_a_fork()
    bucket.open("a").compact()
    expected = written(bucket, "a").getvalue()
    damage_commit(bucket.store, 1, damage)
    told: list[str] = []
    file = io.BytesIO()
    write_archive(bucket.store, ["a"], file, told.append)
    assert file.getvalue() == expected
    assert [(log_key("a", 1) in each, snapshot_key("a", 2) in each) for each in told] == [(True, True)]


@pytest.mark.parametrize("damage", [None, b"x"], ids=["missing", "damaged"])
def test_a_log_that_is_not_whole_is_not_exported(damage: bytes | None):
    """A commit that no snapshot has is missed, not taken for the end of the log."""
    bucket = with_a_fork()
    damage_commit(bucket.store, 1, damage)
    for session in "ab":
        with pytest.raises(LogDamaged, match=log_key("a", 1)):
            written(bucket, session)


def test_commits_behind_the_end_of_a_log_are_taken_from_a_snapshot():
    """Those at its end may be missing, too."""
    bucket = with_a_fork()
    bucket.open("a").compact()
    expected = written(bucket, "a").getvalue()
    for seq in (1, 2):
        bucket.store.delete(log_key("a", seq))
    assert written(bucket, "a").getvalue() == expected


def damage_commit(store: ObjectStore, seq: int, damage: bytes | None) -> None:
    store.delete(log_key("a", seq))
    if damage is not None:
        store.create(log_key("a", seq), damage)


@pytest.mark.parametrize("size", [0, 100, 3000])
def test_who_brings_half_an_archive_is_told_that_nothing_came(size: int):
    """Wherever it was cut."""
    there = MemoryStore()
    with pytest.raises(LogDamaged, match="; nothing was brought into memory:"):
        read_archive(there, io.BytesIO(written(with_a_fork(), "a").getvalue()[:size]))
    assert there.list("") == []
