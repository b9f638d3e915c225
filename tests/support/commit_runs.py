"""Runs of pushers, runners, forkers, readers and collectors over one bucket, of which a seed decides every step.

Each of them is a thread, but only one of them moves, and only at its next operation of the bucket does another one get
its turn. There an operation may be lost, or its answer, or it may arrive much later; its caller may be killed, and is
begun anew; or it may stall while the others go on for long, and come back as a zombie.
"""

from __future__ import annotations

import random
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fabric.errors import SessionNotFound, StoreFailed, StoreUnsure, Superseded
from fabric.store.bodies import COLLECTED_OLDER_THAN_S_MIN
from fabric.store.bucket import Bucket
from fabric.store.log import Log
from fabric.store.readiness import Failed, Ready, Sleeping, decision_order
from fabric.store.record import INLINE_BYTES_MAX, Attempt, Commit, Entry, Pause, decode_version
from fabric.store.replay import Placed

KINDS = (
    "lost request", "lost answer", "late request", "killed", "stalled", "superseded", "slipped in", "pushed twice",
    "forked", "child", "delivered", "undelivered", "slept", "failed attempt", "snapshot", "torn snapshot", "collected",
    "deleted", "remembered",
)  # fmt: skip
"""What has to happen in some run, or it is not tried any more."""

AGE_S = COLLECTED_OLDER_THAN_S_MIN
"""Bodies are collected when nobody has named them for so long."""

INPUTS = 4
SHARE = 0.02
"""Of operations, that go wrong."""

STEPS_MAX = 60_000


class Killed(BaseException):
    """The process that did this is no more."""


@dataclass
class Outcome:
    """What came of a run.

    Attributes:
        seed: of it.
        wrong: what should not be.
        hit: how often what happened.
    """

    seed: int
    wrong: list[str] = field(default_factory=list)
    hit: Counter[str] = field(default_factory=Counter)


class Turns:
    """Gives each thread its turns."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._waiting: dict[int, threading.Lock] = {}
        self._stalled: dict[int, int] = {}
        self._end = threading.Semaphore(0)
        self.step = 0
        self.me = -1

    def run(self, actors: list[Callable[[], None]]) -> None:
        """Run all to their end."""
        threads = []
        for number, act in enumerate(actors):
            self._waiting[number] = threading.Lock()
            self._waiting[number].acquire()
            threads.append(threading.Thread(target=self._body, args=(number, act), daemon=True))
        for thread in threads:
            thread.start()
        self._give()
        self._end.acquire()
        for thread in threads:
            thread.join()

    def turn(self) -> None:
        """Let somebody else go on, or nobody."""
        self.step += 1
        if self.step > STEPS_MAX:
            raise AssertionError("it does not come to an end")
        mine = self.me
        if mine >= 0 and not self._give(mine):
            self._waiting[mine].acquire()
            self.me = mine

    def stall(self) -> None:
        """Let the others go on for long."""
        if self.me >= 0:
            self._stalled[self.me] = self.step + self._rng.randrange(10, 300)
            self.turn()

    def _body(self, number: int, act: Callable[[], None]) -> None:
        self._waiting[number].acquire()
        self.me = number
        act()
        del self._waiting[number]
        self._give()

    def _give(self, mine: int = -1) -> bool:
        """Give the turn away; return whether it was given back at once."""
        if not self._waiting:
            self.me = -1
            self._end.release()
            return False
        awake = [number for number in self._waiting if self._stalled.get(number, 0) <= self.step]
        chosen = self._rng.choice(awake) if awake else min(self._waiting, key=lambda one: self._stalled.get(one, 0))
        if chosen == mine:
            return True
        self._waiting[chosen].release()
        return False


class Stage:
    """A bucket in which each operation is a turn, and may go wrong."""

    url = "memory:stage"

    def __init__(self, rng: random.Random, turns: Turns, hit: Counter[str], share: float) -> None:
        self.objects: dict[str, bytes] = {}
        self.share = share
        self._rng = rng
        self._turns = turns
        self._hit = hit
        self._late: list[tuple[int, str, bytes]] = []
        self.watch: Callable[[str], None] | None = None
        """Is told each operation."""

    def create(self, key: str, body: bytes) -> bool:
        fault = self._before("create", key)
        if fault == "late request":
            self._late.append((self._turns.step + self._rng.randrange(1, 200), key, body))
        if fault in ("late request", "lost request"):
            raise StoreUnsure(f"no answer to {key}")
        created = self.objects.setdefault(key, body) is body
        self._after(fault)
        return created

    def get(self, key: str) -> bytes | None:
        fault = self._before("get", key)
        if fault in ("late request", "lost request", "lost answer"):
            raise StoreFailed(f"no answer to {key}")
        return self.objects.get(key)

    def list(self, prefix: str, after: str = "") -> list[str]:
        fault = self._before("list", prefix)
        if fault in ("late request", "lost request", "lost answer"):
            raise StoreFailed(f"no answer to {prefix}")
        return sorted(key for key in self.objects if key.startswith(prefix) and key > after)

    def delete(self, key: str) -> None:
        fault = self._before("delete", key)
        if fault in ("late request", "lost request"):
            raise StoreUnsure(f"no answer to {key}")
        self.objects.pop(key, None)
        self._after(fault)

    def link(self, key: str) -> str:
        return key

    def land(self, step: float = float("inf")) -> None:
        """Let requests arrive that are late, up to some step."""
        for late in [late for late in self._late if late[0] <= step]:
            self._late.remove(late)
            self.objects.setdefault(late[1], late[2])

    def _before(self, method: str, key: str) -> str:
        self._turns.turn()
        fault = self._fault()
        if self.watch:
            self.watch(f"{self._turns.step:6} {self._turns.me:3} {method:7}{key}  {fault}")
        if fault == "killed":
            raise Killed
        if fault == "stalled":
            self._turns.stall()
        return fault

    def _fault(self) -> str:
        self.land(self._turns.step)
        if self._turns.me < 0 or self._rng.random() >= self.share:
            return ""
        fault = self._rng.choice(["lost request", "lost answer", "late request", "killed", "killed later", "stalled"])
        self._hit[fault.removesuffix(" later")] += 1
        return fault

    def _after(self, fault: str) -> None:
        if fault == "killed later":
            raise Killed
        if fault == "lost answer":
            raise StoreUnsure("no answer")


class Asked:
    """One push and when it was under way: from step to step, and the number that it got."""

    def __init__(self, session: str, key: str, text: str, since: int) -> None:
        self.session, self.key, self.text, self.since = session, key, text, since
        self.until: int | None = None
        self.seq = -1


class Run:
    """One run."""

    def __init__(self, seed: int, share: float = SHARE) -> None:
        self.rng = random.Random(seed)
        self.outcome = Outcome(seed)
        self.hit = self.outcome.hit
        self.clock_s = 1_000_000.0
        self.turns = Turns(self.rng)
        self.store = Stage(self.rng, self.turns, self.hit, share)
        self.ids = 0
        self.asked: list[Asked] = []
        self.reads: list[tuple[str, int, int, list[str]]] = []
        """Session, steps from and to, ids of commits."""
        self.shown: dict[str, list[list[str]]] = {}
        """What handlers saw of each session whose decision is in the log, in order, and their decisions."""
        self.folds = self.rng.random() < 0.5
        """Whether handlers answer all that is unanswered, or only what came after what they last wrote."""
        self.roots = ["root", "other"]
        self.pushing = 0

    # --- the world

    def bucket(self) -> Bucket:
        return Bucket(self.store, lambda: self.clock_s, self.new_id, self.told)

    def new_id(self) -> str:
        self.ids += 1
        return f"id{self.ids}"

    def told(self, text: str) -> None:
        if "snapshot" in text or "/snap/" in text:
            self.hit["torn snapshot"] += "torn" in text or "/snap/" in text
        if "not delivered" in text:
            self.hit["undelivered"] += 1

    # --- who acts

    def go(self) -> Outcome:
        """Run all of them, then without faults until nothing is left to do, and look at what there is."""
        for session in [*self.roots, "doomed"]:
            self.bucket().start(session=session)
        self.bucket().open("root").share("shared")
        pushers = [("root", 0), ("root", 1), ("other", 2), ("doomed", 3)]
        twins = [self.rng.choice(pushers[:3])]
        self.pushing = len(pushers + twins)
        acts: list[Callable[[], None]] = [self.restarted(self.pusher, *one) for one in pushers + twins]
        acts += [self.restarted(self.runner) for _ in range(3)]
        acts += [self.restarted(act) for act in (self.forker, self.reader, self.keeper, self.clock, self.deleter)]
        self.turns.run(acts)
        self.store.share = 0.0
        self.store.land()
        with self.noted():
            self.finish()
            self.judge()
        return self.outcome

    @contextmanager
    def noted(self) -> Iterator[None]:
        """What is raised, other than what a run has to bear, is wrong."""
        try:
            yield
        except (StoreFailed, Killed):
            raise
        except (Exception, BaseExceptionGroup):  # noqa: BLE001 - any is what is looked for
            self.outcome.wrong.append(traceback.format_exc(limit=-4))

    def restarted(self, act: Callable[..., None], *args: object) -> Callable[[], None]:
        """Return an actor that is begun anew when it is killed, or its bucket fails."""

        def actor() -> None:
            for _ in range(40):
                try:
                    with self.noted():
                        act(*args)
                    return
                except (StoreFailed, Killed):
                    continue

        return actor

    def pusher(self, session: str, number: int) -> None:
        """Push some inputs; with the same keys when begun anew."""
        log = self.bucket().open(session) if session != "doomed" else None
        for index in range(INPUTS):
            verb = random.Random(f"{self.outcome.seed}/{number}/{index}").choice(
                ["plain", "plain", "large", "fork", "send", "send", "sleep", "nobody", "share", "again"]
            )
            text = f"{number}.{index}:{verb}"
            asked = Asked(session, f"k{number}.{index}", text, self.turns.step)
            self.asked.append(asked)
            try:
                log = log or self.bucket().open(session)
                body = text.encode().ljust(INLINE_BYTES_MAX + 1) if verb == "large" else text.encode()
                commit = log.push([log.store_body(body, name="in")], key=asked.key)
            except SessionNotFound:
                assert session == "doomed"
                return
            asked.until = self.turns.step
            asked.seq = [each.id for each in log._tail.commits].index(commit.id)

    def runner(self) -> None:
        """Run handlers of whatever is ready."""
        logs: dict[str, Log] = {}
        bucket = self.bucket()
        for number in range(16):
            if number % 4 == 0:
                sessions = [manifest.id for manifest in bucket.sessions() if manifest.id != "doomed"]
            session = self.rng.choice(sessions)
            log = logs.get(session)
            if log is None:
                log = logs[session] = bucket.open(session)
                log.settle()
            self.decide_once(log)

    def decide_once(self, log: Log) -> bool:
        """Make one decision, if one is to be made; return whether one was."""
        ready = log.readiness(self.clock_s)
        if not isinstance(ready, Ready):
            return False
        given = log.replay(self.clock_s)
        base = ready.base
        if self.turns.me >= 0 and self.rng.random() < 0.05:
            log.failed(base, Attempt(base, self.clock_s, status="exit 1"))
            self.hit["failed attempt"] += 1
            return True
        entries, pause = self.handler(log, given)
        try:
            commit = log.decide(base, entries, pause)
        except Superseded:
            self.hit["superseded"] += 1
            return True
        self.shown.setdefault(commit.id, [seen(given), [*words(entries)]])
        self.hit["slept"] += pause is not None and pause.until is not None
        return True

    def handler(self, log: Log, given: list[Placed]) -> tuple[list[Entry], Pause | None]:
        """Answer inputs. What is decided follows from what is given alone."""
        own = [each for each in given if not each.inherited]
        written = [number for number, each in enumerate(own) if each.entry.name in ("out", "shared/x")]
        answered = {text_of(log, each.entry) for each in own if each.entry.name == "out"}
        fresh = own if self.folds else own[written[-1] + 1 if written else 0 :]
        asked = [text_of(log, each.entry) for each in fresh if is_input(each)]
        entries: list[Entry] = []
        until = None
        for text in dict.fromkeys(one for one in asked if one not in answered):
            verb = text.partition(":")[2]
            if verb == "fork":
                entries.append(log.store_body(f"{text}>".encode(), name="task", fork=True))
            if verb == "send":
                target = "other" if log.id != "other" else "root"
                entries.append(log.store_body(f"{text}@{log.id}".encode(), name="in", session=target))
            if verb == "nobody":
                entries.append(log.store_body(text.encode(), name="sent", session="../nobody"))
            if verb == "share":
                entries.append(log.store_body(text.encode(), name="shared/x"))
            if verb == "sleep":
                until = self.clock_s + 500.0
            entries.append(log.store_body(text.encode(), name="out"))
        if any(text.endswith("again") for text in asked):
            return entries, None  # and it is run again
        return entries, Pause("done", until)

    def forker(self) -> None:
        """Fork a session somewhere, from outside."""
        log = self.bucket().open("root")
        for _ in range(2):
            at = self.rng.randint(0, len(log.read()))
            view = seen(log.replay(self.clock_s, at))
            child = log.fork(at)
            self.hit["forked"] += 1
            there = seen(child.replay(self.clock_s))
            assert there[: len(view)] == view, f"a child sees {there}, its parent {view}"
            self.turns.turn()

    def reader(self) -> None:
        """Read whole logs with new eyes."""
        for _ in range(8):
            session = self.rng.choice(self.roots)
            since = self.turns.step
            commits = self.bucket().open(session).read()
            self.reads.append((session, since, self.turns.step, [commit.id for commit in commits]))

    def keeper(self) -> None:
        """Write snapshots, tear them, and collect."""
        for _ in range(3):
            self.hit["snapshot"] += self.bucket().open(self.rng.choice(self.roots)).compact()
            snapshots = [key for key in self.store.objects if "/snap/" in key]
            if snapshots and self.rng.random() < 0.3:
                key = self.rng.choice(snapshots)
                self.store.objects[key] = self.store.objects[key][: self.rng.randrange(20)]
            self.hit["collected"] += self.bucket().gc(AGE_S).bodies
            self.hit["collected"] += len([key for key in self.store.objects if key.startswith("aside/")])

    def clock(self) -> None:
        """Let time go by."""
        for _ in range(15):
            self.clock_s += self.rng.choice([0.1, 10.0, 600.0, AGE_S])
            self.store.get("time")

    def deleter(self) -> None:
        """Delete a session into which somebody pushes."""
        for _ in range(self.rng.randrange(20)):
            self.store.get("time")
        self.bucket().delete("doomed")
        self.hit["deleted"] += 1

    def finish(self) -> None:
        """Without faults: push what was not pushed, and run handlers until nothing is to be done."""
        for number, session in enumerate(["root", "root", "other"]):
            self.pusher(session, number)
        for _ in range(60):
            moved = False
            logs = [self.bucket().open(one.id) for one in self.bucket().sessions() if one.id != "doomed"]
            for log in logs:
                log.settle()
            for log in logs:
                while self.decide_once(log):
                    moved = True
                waits = log.readiness(self.clock_s)
                if isinstance(waits, Sleeping | Failed):
                    moved = True
            self.clock_s += 1000.0
            if not moved:
                return
        raise AssertionError("handlers are never done")

    # --- what must be so

    def judge(self) -> None:
        """Look at all that is in the bucket."""
        wrong = self.outcome.wrong
        bucket = self.bucket()
        bucket.gc(AGE_S)
        for manifest in bucket.sessions():
            if manifest.id == "doomed":
                continue
            log = bucket.open(manifest.id)
            wrong += [f"{manifest.id}: {problem}" for problem in bucket.verify(manifest.id).problems]
            self.judge_session(log)
        self.judge_pushes({session: bucket.open(session).read() for session in self.roots})
        self.judge_tombstone(bucket)

    def judge_session(self, log: Log) -> None:
        """Each input is answered once; what was asked of others was done once; handlers saw prefixes."""
        wrong = self.outcome.wrong
        entries = log.entries()
        own = [each for each in entries if not each.inherited]
        inputs = Counter(text_of(log, each.entry) for each in own if is_input(each))
        answers = Counter(text_of(log, each.entry) for each in own if each.entry.name == "out")
        if answers != inputs or any(count > 1 for count in inputs.values()):
            wrong.append(f"{log.id}: inputs {inputs}, answers {answers}")
        for each in own:
            if each.entry.fork:
                self.judge_child(log, each)
            if each.entry.session and each.entry.name == "in":
                target = self.bucket().open(each.entry.session)
                found = [commit for commit in target.read() if commit.key == each.id]
                self.hit["delivered"] += 1
                if len(found) != 1:
                    wrong.append(f"{each.id} is {len(found)} times in {target.id}")
        self.judge_order(log, own)
        missing = [each for each in own if each.entry.session == "../nobody"]
        if {each.index for each in log.undelivered()} != {each.index for each in missing}:
            wrong.append(f"{log.id}: {len(missing)} could not be delivered, {len(log.undelivered())} are told")
        if log.id == "root":
            shared = [each.id for each in own if each.entry.name == "shared/x"]
            self.hit["remembered"] += len(shared)
            number = len([key for key in self.store.objects if key.startswith("memory/shared/x/")])
            if number != len(shared):
                wrong.append(f"memory has {number} versions, expected {len(shared)}")
        self.judge_decisions(log)

    def judge_order(self, log: Log, own: list[Placed]) -> None:
        """What a session sent to another, and wrote into memory, is there in its order, whoever did it and when."""
        wrong = self.outcome.wrong
        for target in ("root", "other"):
            sent = [each.id for each in own if each.entry.session == target]
            there = [commit.key for commit in self.bucket().open(target).read() if commit.key in sent]
            if there != sent:
                wrong.append(f"{log.id} sent {sent} to {target}, which has {there}")
        shared = [each.id for each in own if each.entry.name == "shared/x"]
        keys = self.store.list("memory/shared/x/")
        versions = [decode_version(self.store.objects[key], key).origin for key in keys]
        there = [origin for origin in versions if origin in shared]
        if there != [each for each in shared if each in versions]:
            wrong.append(f"{log.id} wrote {shared}, the versions are {there}")

    def judge_child(self, log: Log, each: Placed) -> None:
        """A child is there once, and begins with what its maker saw."""
        self.hit["child"] += 1
        child = self.bucket().open(each.child)
        if log.children().count(each.child) != 1:
            self.outcome.wrong.append(f"{each.child} is {log.children().count(each.child)} times a child of {log.id}")
        shown = self.shown.get(log.read()[each.seq].id)
        if shown is not None:
            before = shown[0] + shown[1][: each.index]
            there = seen(child.replay(self.clock_s))
            if there[: len(before)] != before:
                self.outcome.wrong.append(f"{child.id} begins with {there[: len(before)]}, its maker saw {before}")

    def judge_decisions(self, log: Log) -> None:
        """What each handler saw, and what it made of it, is a prefix of what is seen now; sleeps were slept."""
        commits = log.read()
        now = seen(log.replay(self.clock_s))
        slept: Pause | None = None
        for seq in decision_order(commits):
            commit = commits[seq]
            shown = self.shown.get(commit.id)
            if shown is not None and now[: len(shown[0]) + len(shown[1])] != shown[0] + shown[1]:
                self.outcome.wrong.append(f"{log.id}: now {now}, but number {seq} saw and wrote {shown}")
            self.hit["slipped in"] += commit.kind == "handler" and commit.base < seq
            if slept is not None and commit.kind == "handler" and (slept.until is None or commit.at < slept.until):
                self.outcome.wrong.append(f"{log.id}: number {seq} was decided before {slept}")
            slept = commit.pause if commit.kind == "handler" else None

    def judge_pushes(self, logs: dict[str, list[Commit]]) -> None:
        """No push is lost or doubled; pushes and reads are linearizable: one order fits all, and the time."""
        wrong = self.outcome.wrong
        for asked in self.asked:
            if asked.session not in logs:
                continue
            found = [seq for seq, commit in enumerate(logs[asked.session]) if commit.key == asked.key]
            if len(found) != 1 or asked.seq not in (-1, found[0]):
                wrong.append(f"{asked.text} is at {found}, its pusher was told {asked.seq}")
        keys = Counter((asked.session, asked.key) for asked in self.asked)
        self.hit["pushed twice"] += sum(count > 1 for count in keys.values())
        for session, log in logs.items():
            ids = [commit.id for commit in log]
            done = [asked for asked in self.asked if asked.session == session and asked.until is not None]
            first: dict[str, Asked] = {}
            for asked in done:
                first.setdefault(asked.key, asked)
            for one in first.values():
                for other in first.values():
                    if (
                        one.until is not None
                        and one.until < other.since
                        and other.seq < one.seq
                        and self.is_first(other)
                    ):
                        wrong.append(f"{other.text} was pushed after {one.text}, and is before it")
            for _, since, until, read in (read for read in self.reads if read[0] == session):
                if ids[: len(read)] != read:
                    wrong.append(f"{session}: {read} was read, which is no prefix of {ids}")
                late = [
                    one.text for one in done if one.until is not None and one.until < since and one.seq >= len(read)
                ]
                early = [
                    one.text
                    for one in first.values()
                    if one.since > until and one.seq < len(read) and self.is_first(one)
                ]
                if late or early:
                    wrong.append(f"{session}: {late} was pushed before a read, or {early} after it")
                if any(len(other) < len(read) for s, begun, _, other in self.reads if s == session and begun > until):
                    wrong.append(f"{session}: a later read has less")

    def is_first(self, asked: Asked) -> bool:
        """Return whether nobody pushed with this key before."""
        return all(
            one.since >= asked.since for one in self.asked if (one.session, one.key) == (asked.session, asked.key)
        )

    def judge_tombstone(self, bucket: Bucket) -> None:
        """A session that was deleted takes nothing more, and is not there."""
        report = bucket.verify("doomed")
        self.outcome.wrong += report.problems
        try:
            bucket.open("doomed")
        except SessionNotFound:
            if "doomed" in [manifest.id for manifest in bucket.sessions()] and self.hit["deleted"]:
                self.outcome.wrong.append("a deleted session is listed")


def seen(given: list[Placed]) -> list[str]:
    """Return what a handler sees, short."""
    return [f"{each.entry.event} {each.entry.name} {each.entry.sha256[:8]}" for each in given]


def words(entries: list[Entry]) -> Iterator[str]:
    """Yield what a handler will see of what it wrote."""
    for entry in entries:
        yield f"{entry.event} {entry.name} {entry.sha256[:8]}"


def text_of(log: Log, entry: Entry) -> str:
    """Return the text of an entry."""
    return log.body(entry).decode().rstrip()


def is_input(each: Placed) -> bool:
    """Return whether it was pushed, or is what a child was made for; not what is sent, or makes a child."""
    if each.entry.session or "session" in each.entry.metadata:
        return False
    return each.entry.name == "in" or (each.derived and each.entry.name == "task")


def run_commits(seed: int, share: float = SHARE) -> Outcome:
    """Run one seed."""
    return Run(seed, share).go()
