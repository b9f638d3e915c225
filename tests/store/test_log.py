"""The log of a session, over a bucket."""

from __future__ import annotations

import pytest
from buckets import Desk, said, text

from fabric.errors import ConfigError, LogDamaged, SessionExists, SessionNotFound, StoreFailed, StoreUnsure, Superseded
from fabric.store.bucket import Bucket
from fabric.store.keys import blob_key, log_key, settled_key
from fabric.store.log import Log
from fabric.store.memory import MemoryStore
from fabric.store.memory_names import MemoryNames
from fabric.store.readiness import Failed, Idle, Paused, Ready, Sleeping
from fabric.store.record import INLINE_BYTES_MAX, Attempt, Entry, Pause, decode_version, digest
from fabric.store.replay import child_id
from fabric.testing.stores import FaultyStore, StoreFaults, StoreOperation

LARGE = "x" * (INLINE_BYTES_MAX + 1)


def words(log: Log, now: float = 1000.0) -> list[str]:
    """Return what a handler is given, short."""
    log.read()
    return [shown(log, each.entry.event, text(log, each)) for each in log.replay(now)]


def shown(log: Log, event: str, body: str) -> str:
    return event if event in ("start", "fork", "wake") else body


def logged(log: Log) -> list[str]:
    """Return what is in its own log, short."""
    return [f"{each.entry.event} {text(log, each)}" for each in log.entries() if not each.inherited]


def test_a_session_begins_and_goes_on():
    """A push makes it ready, a decision answers, a pause waits, and each reader sees the same."""
    desk = Desk()
    log = desk.bucket.start(session="s", agent="a", metadata={"k": "v"})
    assert log.readiness(0) == Ready(0)
    log.push([said(log, "hello")])
    assert log.readiness(0) == Ready(1)
    log.decide(1, [said(log, "HELLO")])
    assert log.readiness(0) == Ready(2)
    log.decide(2, [], Pause("enough"))
    other = desk.opened().open("s")
    assert other.readiness(0) == Paused("enough")
    assert other.manifest.metadata == {"k": "v"}
    assert logged(other) == ['start {"event":"start"}', "push hello", "push HELLO", "pause enough"]
    assert words(other) == ["start", "hello", "HELLO"]


def test_a_wake_stands_where_a_pause_was():
    """When something follows it, or its time is up; one that was pushed is not doubled."""
    desk = Desk()
    log = desk.bucket.start(session="s")
    log.decide(0, [said(log, "one")], Pause("z", 1060.0))
    assert log.readiness(1000.0) == Sleeping(1060.0, "z")
    assert words(log) == ["start", "one"]
    assert words(log, 1060.0) == ["start", "one", "wake"]
    log.wake()
    assert words(log) == ["start", "one", "wake"]
    log.push([said(log, "two")])
    assert words(log) == ["start", "one", "wake", "two"]
    log.decide(3, [], Pause())
    log.push([said(log, "three")])
    assert words(log) == ["start", "one", "wake", "two", "wake", "three"]


def test_a_push_that_slipped_in_comes_after_the_decision_that_did_not_see_it():
    """It is the newest thing until somebody sees it, and the pause is void."""
    desk = Desk()
    log = desk.bucket.start(session="s")
    log.push([said(log, "one")])
    desk.opened().open("s").push([said(log, "two")])
    log.decide(1, [said(log, "ONE")], Pause("z"))
    assert log.readiness(0) == Ready(3)
    assert words(log) == ["start", "one", "ONE", "wake", "two"]
    assert logged(log)[1:] == ["push one", "push two", "push ONE", "pause z"]


def test_what_a_handler_is_given_is_what_its_decision_says_it_saw():
    """Nothing is read between readiness and replay."""
    desk = Desk()
    log = desk.bucket.start(session="s")
    ready = log.readiness(0)
    desk.opened().open("s").push([said(log, "later")])
    assert ready == Ready(0)
    assert [each.entry.event for each in log.replay(0)] == ["start"]


def test_of_two_decisions_from_one_state_one_counts():
    """The other one is told whose it was; it reads again, and starts over."""
    desk = Desk()
    one = desk.bucket.start(session="s")
    other = desk.opened().open("s")
    one.decide(0, [said(one, "one")])
    with pytest.raises(Superseded, match=r"log/0{20}.json was written by s:0"):
        other.decide(0, [said(other, "other")])
    assert other.readiness(0) == Ready(1)


def test_a_push_with_a_key_is_there_once():
    """Whoever repeats it gets the first one."""
    desk = Desk()
    log = desk.bucket.start(session="s")
    first = log.push([said(log, "one")], key="k")
    assert desk.opened().open("s").push([said(log, "other")], key="k") == first
    assert len(log.read()) == 1


def test_a_run_appends_and_is_fenced_off():
    """Somebody else's commit in its place ends it; a push does not."""
    desk = Desk()
    old = desk.bucket.start(session="r", program="digest")
    old.append([said(old, "one")])
    new = desk.opened().open("r")
    new.push([said(new, "pushed")])
    old.append([said(old, "two")])
    new.read()
    new.append([])
    with pytest.raises(Superseded):
        old.append([said(old, "three")])


@pytest.mark.parametrize("lost", ["lose_request", "lose_answer"])
def test_a_run_whose_bucket_is_silent_goes_on_where_it_was(lost: str):
    """Its commit is there once, whether or not it was there already; also if it has more to say meanwhile."""
    silent: list[bool] = []
    store = FaultyStore(MemoryStore(), lambda at: lost if silent and at.method == "create" else None)
    desk = Desk(store)
    log = desk.bucket.start(session="r", program="digest")
    for entries in (["one"], ["one", "two"]):
        silent.append(True)
        with pytest.raises(StoreUnsure):
            log.append([said(log, "one")])
        silent.clear()
        log.append([said(log, word) for word in entries])
    assert logged(desk.opened().open("r"))[1:] == ["push one", "push one", "push one", "push two"]


@pytest.mark.parametrize("later", ["at once", "asked again"])
def test_a_push_of_which_a_request_had_no_answer_has_not_failed(later: str):
    """Whatever the next one says: it is there, and pushed again it is there once."""
    answers = iter(["lose_answer", *(["lose_answer"] if later == "asked again" else []), "fail"])
    begun: list[bool] = []
    desk = Desk(FaultyStore(MemoryStore(), lambda at: next(answers, None) if begun and at.method == "create" else None))
    log = desk.bucket.start(session="s")
    entry = said(log, "one")
    begun.append(True)
    for _ in range(2 if later == "asked again" else 1):
        with pytest.raises(StoreUnsure, match="it may be there"):
            log.push([entry])
    log.push([entry])
    assert logged(desk.opened().open("s"))[1:] == ["push one"]


def test_a_refused_push_has_failed_for_sure():
    """Nothing of it is there."""
    begun: list[bool] = []
    desk = Desk(FaultyStore(MemoryStore(), lambda at: "fail" if begun and at.method == "create" else None))
    log = desk.bucket.start(session="s")
    begun.append(True)
    with pytest.raises(StoreFailed) as failed:
        log.push([said(log, "one")])
    assert not isinstance(failed.value, StoreUnsure)
    assert desk.opened().open("s").read() == []


def test_a_decision_from_more_than_there_is_is_refused():
    """It says what it saw and what there is."""
    log = Desk().bucket.start(session="s")
    with pytest.raises(ConfigError, match="saw 3 commits: expected at most the 0"):
        log.decide(3, [])


def test_a_long_reason_is_kept_once():
    """Its commit has the beginning, and the entry all of it."""
    desk = Desk()
    log = desk.bucket.start(session="s")
    reason = "é" * 100_000
    log.decide(0, [], Pause(reason))
    assert log.readiness(0) == Paused("é" * 499 + "…")
    assert log.body(log.read()[0].entries[0]) == reason.encode()
    assert len(desk.store.get(log_key("s", 0)) or b"") < 2_000


def test_many_bodies_become_objects_rather_than_a_huge_commit():
    """As many as have to, the largest first; all of them are there, and a second attempt is the same commit."""
    desk = Desk()
    log = desk.bucket.start(session="s")
    words_ = [f"{number:03}" + "x" * 30_000 for number in range(300)]
    log.push([said(log, word, metadata={"n": word[:3]}) for word in words_], key="k")
    raw = desk.store.get(log_key("s", 0)) or b""
    assert 7_900_000 < len(raw) < 8_500_000
    other = desk.opened().open("s")
    assert [other.body(each.entry).decode() for each in other.entries()[1:]] == words_
    assert 0 < len(desk.store.list("blobs/")) < 50
    assert desk.bucket.verify("s").problems == ()
    with pytest.raises(ConfigError, match=r"1 entries are 900.* bytes without their bodies"):
        log.push([said(log, "x", metadata={"m": "m" * 9_000_000})])


def test_a_large_body_is_an_object_of_its_own():
    """Written before its commit, and verified when it is read."""
    desk = Desk()
    log = desk.bucket.start(session="s")
    entry = said(log, LARGE)
    key = blob_key(digest(LARGE.encode()))
    assert desk.store.get(key) == LARGE.encode()
    log.push([entry])
    assert log.body(log.entries()[-1].entry) == LARGE.encode()
    desk.store.delete(key)
    with pytest.raises(LogDamaged, match=key):
        log.body(entry)
    desk.store.create(key, LARGE.encode()[:-1] + b"y")
    with pytest.raises(LogDamaged, match=key):
        log.body(entry)


def test_a_gap_is_damage():
    """A number that is missing below a later one; it is named."""
    desk = Desk()
    log = desk.bucket.start(session="s")
    for word in ("one", "two", "three"):
        log.push([said(log, word)])
    desk.store.delete(log_key("s", 1))
    with pytest.raises(LogDamaged, match=log_key("s", 1)):
        desk.opened().open("s")


def test_a_record_with_fork_makes_a_child():
    """Once, which inherits what its maker saw and wrote before, and begins with the record."""
    desk = Desk()
    log = desk.bucket.start(session="s", agent="a")
    log.push([said(log, "plan")])
    log.push([said(log, "late")])
    log.decide(1, [said(log, "one", fork=True), said(log, "two", fork=True)], Pause())
    first, second = log.children()
    assert (first, second) == (child_id("s", 2, 0), child_id("s", 2, 1))
    child = desk.bucket.open(second)
    assert words(child) == ["start", "plan", "one", "fork", "two"]
    assert child.manifest.agent == "a"
    assert logged(child) == ['fork {"event":"fork"}', "push two"]
    assert not child.entries()[-1].entry.fork
    given = log.replay(0)
    assert [each.entry.metadata for each in given[2:4]] == [{"fork": first}, {"fork": second}]


def test_a_client_forks_anywhere():
    """The child goes on from there, and what comes later in its parent is not its business."""
    desk = Desk()
    log = desk.bucket.start(session="s")
    for word in ("one", "two"):
        log.push([said(log, word)])
    child, early = log.fork(), log.fork(1, session="early")
    log.push([said(log, "three")])
    child.push([said(child, "four")])
    grandchild = child.fork()
    assert words(child) == ["start", "one", "two", "fork", "four"]
    assert words(early) == ["start", "one", "fork"]
    assert words(grandchild) == ["start", "one", "two", "fork", "four", "fork"]
    assert log.children() == ["early", child.id]
    assert child.readiness(0) == Ready(1)
    for at in (-1, 4):
        with pytest.raises(ConfigError, match=f"cannot be forked at {at}: it has 3 commits"):
            log.fork(at)


def test_a_record_for_another_session_is_pushed_there_once():
    """However often its sender is settled. In its own log it is seen with the name of the other one."""
    desk = Desk()
    log, target = desk.bucket.start(session="s"), desk.bucket.start(session="t/x")
    log.decide(0, [said(log, "hello", session="t/x", name="n")], Pause())
    desk.store.delete(settled_key("s", 0))
    desk.opened().open("s").settle()
    assert words(target) == ["start", "hello"]
    assert target.read()[0].key == "s/0/0"
    assert log.replay(0)[1].entry.metadata == {"session": "t/x"}


@pytest.mark.parametrize("target", ["nobody", "../etc", "run", "gone"])
def test_what_cannot_be_delivered_is_told_and_kept(target: str):
    """Whoever looks sees it, and why; the decision counts all the same."""
    desk = Desk()
    log = desk.bucket.start(session="s")
    desk.bucket.start(session="run", program="digest")
    desk.bucket.start(session="gone")
    desk.bucket.delete("gone")
    log.decide(0, [said(log, "hello", session=target)], Pause())
    (missed,) = desk.opened().open("s").undelivered()
    assert (missed.seq, missed.index, missed.session) == (0, 0, target)
    assert target in missed.reason
    assert "was not delivered" in desk.told[-1]
    assert log.readiness(0) == Paused()


def test_somebody_elses_push_with_our_key_is_no_delivery_and_no_grant():
    """An older version let users take such keys. It is told, and nothing is taken for done."""
    desk = Desk()
    log, target = desk.bucket.start(session="s"), desk.bucket.start(session="t")
    for key in ("s/0/0", "memory/m"):
        target.push([said(target, "mine")], key=key)
    log.decide(0, [said(log, "hello", session="t")])
    (missed,) = log.undelivered()
    assert "has another push with the key 's/0/0'" in missed.reason
    with pytest.raises(ConfigError, match="has another push with the key 'memory/m'"):
        target.share("m")


def test_what_could_not_be_delivered_is_tried_again_at_a_start():
    """Then it is not missed any more."""
    desk = Desk()
    log = desk.bucket.start(session="s")
    log.decide(0, [said(log, "hello", session="t")], Pause())
    target = desk.bucket.start(session="t")
    log.settle()
    log.settle()
    assert words(target) == ["start", "hello"]
    assert log.undelivered() == []


def test_a_bucket_that_fails_after_the_commit_does_not_undo_it():
    """What was asked of others is done at the next start, and that is told."""
    failing: list[bool] = []

    def faults(at: StoreOperation) -> str | None:
        return "fail" if failing and "/log/" not in at.key else None

    desk = Desk(FaultyStore(MemoryStore(), faults))
    log = desk.bucket.start(session="s")
    failing.append(True)
    log.decide(0, [said(log, "task", fork=True)])
    assert "at its next start" in desk.told[-1]
    failing.clear()
    assert log.children() == []
    log.settle()
    assert log.children() == [child_id("s", 0, 0)]


def sent(log: Log, word: str) -> list[Entry]:
    """Return what sends a word to another session, and makes it a version of memory."""
    return [said(log, word, session="t"), said(log, word, name="m/x")]


def received(desk: Desk) -> tuple[list[str | None], list[str | None]]:
    """Return what was sent to the other session, and the versions of memory, each in order."""
    keys = desk.store.list("memory/m/x/")
    versions = [decode_version(desk.store.get(key) or b"", key).entry.text for key in keys]
    return [entry.text for commit in desk.opened().open("t").read() for entry in commit.entries], versions


def desk_of_two(faults: StoreFaults, inner: MemoryStore | None = None) -> tuple[Desk, Log]:
    """A session that has a namespace of memory, and another one."""
    desk = Desk(FaultyStore(inner or MemoryStore(), faults))
    desk.bucket.start(session="t")
    log = desk.bucket.start(session="s")
    log.share("m")
    return desk, log


@pytest.mark.parametrize("part", ["memory/", "sessions/t/", "sessions/s/settled/"])
def test_what_a_bucket_did_not_take_is_done_before_what_came_later(part: str):
    """By the next decision; so what is sent arrives in order, and memory does not go back."""
    failing: list[bool] = []
    desk, log = desk_of_two(lambda at: "fail" if failing and at.key.startswith(part) else None)
    failing.append(True)
    log.decide(1, sent(log, "one"))
    log.decide(2, sent(log, "two"))
    assert log.owes
    failing.clear()
    log.decide(3, sent(log, "three"))
    assert not log.owes
    assert received(desk) == (["one", "two", "three"], ["one", "two", "three"])
    desk.opened().open("s").settle()
    assert received(desk) == (["one", "two", "three"], ["one", "two", "three"])
    assert log.recall("m", "x") == b"three"


@pytest.mark.parametrize("number", range(1, 9))
def test_a_runner_that_stalls_before_it_has_sent_is_overtaken_in_order(number: int):
    """Another one does what was to be done first; the first one, when it is back, does nothing over again."""
    inner = MemoryStore()
    overtaken: list[int] = []

    def overtake() -> None:
        other = Bucket(inner, lambda: desk.now, iter("xyz").__next__).open("s")
        if len(other.read()) == 2 and not overtaken:
            overtaken.append(number)
            other.decide(2, sent(other, "two"))

    begun: list[int] = []
    desk, log = desk_of_two(lambda at: overtake if begun and at.number >= begun[0] + number else None, inner)
    begun.append(len(desk.store.operations))  # type: ignore[attr-defined]
    log.decide(1, sent(log, "one"))
    assert overtaken
    log.settle()
    assert received(desk) == (["one", "two"], ["one", "two"])


def test_what_is_memory_was_so_when_it_was_written():
    """A namespace that came later, or while the handler was at it, makes nothing of before a version of memory."""
    desk = Desk()
    log = desk.bucket.start(session="s")
    log.decide(0, [said(log, "old", name="m/x")])
    log.share("m")
    log.decide(1, [said(log, "unseen", name="m/x")])
    assert log.recall("m", "x") == b""
    log.decide(3, [said(log, "new", name="m/x")])
    child = log.fork()
    child.decide(0, [said(child, "of a child", name="m/x")])
    for session in ("s", child.id):
        desk.opened().open(session).settle()
        assert desk.bucket.verify(session).problems == ()
    assert log.recall("m", "x") == b"of a child"


def test_a_start_is_as_cheap_for_names_with_slashes():
    """Which no namespace has: nothing is asked for them, however many there are."""
    desk = Desk(FaultyStore(MemoryStore()))
    log = desk.bucket.start(session="s")
    for number in range(50):
        log.decide(number, [said(log, "x", name="src/main.py")])
    log = desk.opened().open("s")
    operations = desk.store.operations  # type: ignore[attr-defined]
    before = len(operations)
    log.settle()
    assert len(operations) - before <= 3


def test_a_name_in_a_namespace_is_a_version_of_memory():
    """Each of them, in order, for all sessions that have it; names without are the session's own."""
    desk = Desk()
    for session in ("a", "b"):
        log = desk.bucket.start(session=session)
        log.share("agents")
        log.share("agents")
        log.decide(1, [said(log, f"of {session}", name="agents/x y"), said(log, "own", name="other/x")], Pause())
        log.settle()
    memory = MemoryNames(desk.bucket.world)
    version = memory.load("agents", "x y")
    assert version is not None
    assert version.entry.text == "of b"
    assert version.origin == "b/1/0"
    assert memory.origins("agents", "x y") == {"a/1/0", "b/1/0"}
    assert memory.load("other", "x") is None
    assert log.namespaces() == {"agents/"}
    with pytest.raises(ConfigError, match="cannot be a memory namespace"):
        log.share("a/b")


def test_memory_is_searched_back_to_the_own_last_version():
    """However many versions there are; what was written before is found, and is no version again."""
    desk = Desk(FaultyStore(MemoryStore()))
    log = desk.bucket.start(session="s")
    log.share("m")
    for number in range(30):
        log.decide(number + 1, [said(log, "x", name="m/x")])
    assert isinstance(desk.store, FaultyStore)
    read = [at for at in desk.store.operations if at.method == "get" and at.key.startswith("memory/")]
    assert len(read) == 29
    memory = MemoryNames(desk.bucket.world)
    for seq in (1, 15, 30):
        assert memory.store("m", "x", said(log, "x"), f"s/{seq}/0", 0.0).origin == f"s/{seq}/0"
    memory.store("m", "x", said(log, "x"), "other/0/0", 0.0)
    assert len(desk.store.list("memory/")) == 31


def test_verify_reads_each_target_once():
    """However much was delivered there."""
    found = []
    for number in (5, 10):
        store = FaultyStore(MemoryStore())
        bucket = Desk(store).bucket
        bucket.start(session="t")
        log = bucket.start(session="s")
        for base in range(number):
            log.decide(base, [said(log, "x", session="t")])
        before = len(store.operations)
        assert log.verify().problems == ()
        found.append(len([at for at in store.operations[before:] if at.key.startswith("sessions/t/log/")]))
    assert found == [5 + 2, 10 + 2]


def test_attempts_that_failed_are_kept_beside_the_log():
    """For this state of it; nothing of them is in the log."""
    desk = Desk()
    log = desk.bucket.start(session="s")
    assert [log.failed(0, Attempt(0, 1000.0, status="exit 1", stderr="oh")) for _ in range(2)] == [1, 2]
    assert [attempt.stderr for attempt in desk.opened().open("s").attempts(0)] == ["oh", "oh"]
    assert log.readiness(1000.0) == Failed(0, 2, 1002.0)
    assert log.readiness(1002.0) == Ready(0, 2)
    log.push([said(log, "one")])
    assert log.readiness(1000.0) == Ready(1)


def test_an_attempt_whose_answer_was_lost_counts_once():
    """Two of them may be of the same number, from different processes, and both count."""
    lost: list[str] = ["lose_answer"]
    store = FaultyStore(
        MemoryStore(), lambda at: lost.pop() if lost and "/errors/" in at.key and at.method == "create" else None
    )
    log = Desk(store).bucket.start(session="s")
    assert log.failed(0, Attempt(0, 1000.0, status="exit 1")) == 1
    assert len(log.attempts(0)) == 1
    lost.append("lose_request")
    assert log.failed(0, Attempt(0, 1001.0, status="exit 1")) == 2
    assert len(log.attempts(0)) == 2


def test_a_silent_handler_is_idle():
    """It has seen everything, and had nothing to say."""
    log = Desk().bucket.start(session="s")
    log.decide(0, [])
    assert log.readiness(0) == Idle()


def test_a_pause_is_the_last_thing_that_is_decided():
    """One that is not, or that does not wait, is refused."""
    log = Desk().bucket.start(session="s")
    pause = said(log, "z", event="pause")
    for entries, until in (([pause, said(log, "one")], Pause()), ([pause], None)):
        with pytest.raises(ConfigError, match="not its last entry"):
            log.decide(0, entries, until)


def test_nothing_is_pushed_without_an_entry():
    """It would be a commit that says nothing."""
    with pytest.raises(ConfigError, match="nothing was given"):
        Desk().bucket.start(session="s").push([])


def test_the_same_session_can_be_begun_twice():
    """With the same content; with another one it is refused."""
    desk = Desk()
    desk.bucket.start(session="s", agent="a").push([Entry("wake", sha256=digest(b""))])
    desk.now += 5
    assert len(desk.opened().start(session="s", agent="a").read()) == 1
    with pytest.raises(SessionExists):
        desk.bucket.start(session="s", agent="b")


def test_a_session_that_is_not_there_is_not_found():
    """The message says where it was looked for."""
    with pytest.raises(SessionNotFound, match="no session nobody in memory:"):
        Desk().bucket.open("nobody")


def test_a_failing_bucket_is_told_as_it_is():
    """And the same push can be made once it works again."""
    failing: list[bool] = []
    desk = Desk(FaultyStore(MemoryStore(), lambda _: "fail" if failing else None))
    log = desk.bucket.start(session="s")
    entry = said(log, "one")
    failing.append(True)
    with pytest.raises(StoreFailed):
        log.push([entry])
    failing.clear()
    log.push([entry])
    assert len(log.read()) == 1


def test_a_long_log_is_warned_of_once():
    """And the way out is named."""
    desk = Desk()
    log = desk.bucket.start(session="s")
    log.push([Entry("push", sha256=digest(b""))] * 10_000)
    log.replay(0)
    log.replay(0)
    assert [("10001 entries" in told, "fork" in told) for told in desk.told] == [(True, True)]
