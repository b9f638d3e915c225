"""The log of one session: reads it, appends to it, and does what its commits ask of others.

What is decided is decided in ``commit``, ``readiness``, ``replay`` and ``outbox``; here it is carried out. All of it
blocks. A log is for one thread at a time; as many logs of a session as one likes may be open, in as many processes.
"""

from __future__ import annotations

__all__ = ["Log", "Placed", "open_log", "start_log"]

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from fabric.errors import ConfigError, SessionExists, SessionNotFound, StoreFailed, StoreUnsure, Superseded
from fabric.store.attempts import attempts, keep_attempt
from fabric.store.bodies import (
    BODY_FRESH_S,
    COLLECTED_OLDER_THAN_S_MIN,
    bring_back,
    decoded_body,
    read_body,
)
from fabric.store.commit import Create, Created, Done, Dropped, Ended, Event, Exists, GaveUp, Placing, Unsure
from fabric.store.keys import blob_key, check_namespace, index_key, log_key, session_id
from fabric.store.memory_names import MemoryNames
from fabric.store.readiness import Backoff, Readiness, decision_order, readiness
from fabric.store.record import (
    INLINE_BYTES_MAX,
    PAUSE_TYPE,
    TOMBSTONE,
    Attempt,
    Commit,
    Entry,
    Manifest,
    Origin,
    Pause,
    Undelivered,
    digest,
    encode_commit,
    entry_of,
    fitting,
    shortened,
)
from fabric.store.replay import Placed, control_entry, placed, replayed
from fabric.store.sessions import begin_session, children, inheritance, read_manifest
from fabric.store.settling import Settling
from fabric.store.tail import Tail
from fabric.store.verify import ENTRIES_MANY, Report, verify
from fabric.store.world import World, create_surely


class _Stored(msgspec.Struct, frozen=True):
    """A large body of which the commit is still to come."""

    at: float
    was_there: bool


class Log:
    """The log of a session. Open it with :class:`~fabric.store.bucket.Bucket`.

    Attributes:
        manifest: what the session is.
        id: of it.
    """

    def __init__(self, world: World, manifest: Manifest) -> None:
        self.manifest = manifest
        self.id = manifest.id
        self._world = world
        self._tail = Tail(world.store, manifest.id, world.tell)
        self._settling = Settling(world, manifest, self._deliver, self._inherited_namespaces)
        self._inherited: list[Placed] | None = None
        self._begins: list[Placed] = []
        self._unsure: Commit | None = None
        """The last commit, if adding it failed: added again with the same content it is the same one. A run's next
        ``append`` adds it before anything else; who pushes something else has let it go."""
        self._doubtful = False
        """Whether that one may be in the log."""
        self._stored: dict[str, _Stored] = {}
        self._told_of_size = False
        self._told_of_trouble = ""
        self._appended = 0
        """Where the last commit of a run ended that was appended here."""
        self._superseded: str | None = None
        """Why nothing more is appended to a run."""

    # --- reading

    @property
    def seen(self) -> int:
        """How many of its own commits were read or written here so far."""
        return len(self._tail.commits)

    def read(self) -> list[Commit]:
        """Return its own commits. Asked again, it reads only what is new.

        Raises:
            LogDamaged: one is missing or not what was written; it names the key.
            SessionNotFound: the session was deleted.
        """
        commits = self._tail.refresh()
        if commits and commits[-1].tombstone:
            raise _deleted(self.id)
        return commits

    def entries(self) -> list[Placed]:
        """Return all that is in it, what it inherits first, in the order of the log."""
        commits = self.read()
        return [*self._before(), *placed(self.id, commits, range(len(commits)))]

    def replay(self, now: float, base: int | None = None) -> list[Placed]:
        """Return what a handler is given: in the order of decisions, with wakes in the place of pauses.

        It is of what was last read, by ``read`` or ``readiness``, and reads nothing new: what a handler sees is what
        its decision says it saw.

        Args:
            now: seconds since 1970; a sleep that is over by then ends with a wake.
            base: the number of commits; ``None``: all that were read.
        """
        commits = (self._tail.commits if self._tail.begun else self.read())[:base]
        order = decision_order(commits)
        pause = commits[order[-1]].pause if order else None
        due = pause is not None and pause.until is not None and pause.until <= now
        given = replayed([*self._before(), *placed(self.id, commits, order)], due=due)
        if len(given) > ENTRIES_MANY and not self._told_of_size:
            self._told_of_size = True
            self._world.tell(
                f"session {self.id} has {len(given)} entries, and each decision reads all of them: "
                "write a summary and go on in a fork that begins with it"
            )
        return given

    def body(self, entry: Entry) -> bytes:
        """Return a body as it is stored, its digest verified."""
        return read_body(self._world.store, entry)

    def decoded(self, entry: Entry) -> bytes:
        """Return a body as its writer meant it."""
        return decoded_body(self.body(entry), entry.content_encoding)

    def readiness(self, now: float, backoff: Backoff | None = None) -> Readiness:
        """Return what the session waits for.

        Args:
            now: seconds since 1970.
            backoff: ``None``: that of the bucket.
        """
        commits = self.read()
        return readiness(commits, self.attempts(len(commits)), now, backoff or self._world.backoff)

    def _before(self) -> list[Placed]:
        """Return what comes before its own commits."""
        if self._inherited is None:
            self._inherited, self._begins = inheritance(self._world, self.manifest)
        return [*self._inherited, *self._begins]

    # --- appending

    def store_body(self, body: bytes, event: str = "push", **fields: Any) -> Entry:
        """Return an entry with a body, which is stored first if it is large."""
        entry = entry_of(event, body, **fields)
        if len(body) > INLINE_BYTES_MAX:
            was_there = not create_surely(self._world.store, blob_key(entry.sha256), body)
            self._stored[entry.sha256] = _Stored(self._world.now(), was_there)
        return entry

    def push(self, entries: Sequence[Entry], *, key: str = "") -> Commit:
        """Add entries from outside, which are one commit.

        Args:
            entries: at least one.
            key: by which another attempt to push the same is known: then that one is returned, whatever is in it. Those
                of :func:`~fabric.store.keys.check_push_key` are ours. Without a key, a push that raised StoreUnsure can
                be repeated on this object, with the same entries.
        """
        if not entries:
            raise ConfigError(f"nothing was given to push into session {self.id}")
        if key:
            self.read()
        kept = self._fitting(entries)
        return self._add(Commit("", "client", len(self._tail.commits), 0.0, entries=kept, key=key)).commit

    def wake(self) -> Commit:
        """Wake its handler, whatever it waits for."""
        return self.push([control_entry("wake")])

    def decide(self, base: int, entries: Sequence[Entry], pause: Pause | None = None) -> Commit:
        """Add what a handler has decided, and do what that asks of other sessions.

        Args:
            base: the number of commits that it saw.
            entries: what it wrote; at most one pause, the last of them, which is added if it is not there.
            pause: what it waits for; ``None`` and no entries: it has seen everything and has nothing to say.

        Raises:
            Superseded: somebody else has decided. Read the log again, and start over.
            ConfigError: it saw more than there is, or has a pause in its midst, or does not fit into a commit.
        """
        kept = tuple(entries)
        if pause is not None and (not kept or kept[-1].event != "pause"):
            kept = (*kept, self.store_body(pause.reason.encode(), "pause", content_type=PAUSE_TYPE))
        if any(entry.event == "pause" for entry in (kept if pause is None else kept[:-1])):
            raise ConfigError(f"a decision of session {self.id} has a pause that is not its last entry")
        kept = self._fitting(kept)
        if pause is not None:  # all of what it says is the body of its entry
            pause = msgspec.structs.replace(pause, reason=shortened(pause.reason))
        done = self._add(Commit("", "handler", base, 0.0, entries=kept, pause=pause, inv=f"{self.id}:{base}"))
        self.catch_up()
        return done.commit

    def append(self, entries: Sequence[Entry], base: int | None = None) -> Commit:
        """Add the next commit of a run, whose only writer this is. Without entries it only fences others off.

        After StoreFailed call it again, with the same entries or with others: they come after the same ones.

        Args:
            entries: what happened.
            base: of how many commits the writer knew when it began; ``None``: of all that were read here. What
                was read since then it does not know.

        Raises:
            Superseded: there is another writer, and it was first. Whoever has lost a run once appends nothing more.
        """
        if self._superseded is not None:
            raise Superseded(self._superseded)
        try:
            return self._append(entries, self.seen if base is None else max(base, self._appended))
        except Superseded as error:
            self._superseded = str(error)
            raise

    def forget(self) -> None:
        """Keep no commits from now on, only how many there are: a run does not read what it writes. Whoever reads
        all the same reads all of it again."""
        self._inherited = None
        self._begins = []
        self._tail.forget()

    def _append(self, entries: Sequence[Entry], base: int) -> Commit:
        kept = self._fitting(entries)
        unsure = self._unsure
        if unsure is not None:
            self._appended = base = self._add(unsure).seq + 1
            if unsure.entries == kept:
                return unsure
        done = self._add(Commit("", "handler", base, 0.0, entries=kept))
        self._appended = done.seq + 1
        return done.commit

    def _add(self, commit: Commit) -> Done:
        """Bring a commit into the log; return what is there then. It gets an id and a time, if it has none."""
        unsure = self._unsure
        if (
            unsure is not None
            and msgspec.structs.replace(unsure, id=commit.id, at=commit.at, base=commit.base) == commit
        ):
            commit = unsure
        self._doubtful = self._doubtful and commit is unsure
        if not commit.id:
            commit = msgspec.structs.replace(commit, id=self._world.new_id(), at=self._world.now())
        if commit.base > len(self._tail.commits):
            self.read()
        if commit.base > len(self._tail.commits):
            raise ConfigError(
                f"a decision of session {self.id} says that it saw {commit.base} commits: expected at most the "
                f"{len(self._tail.commits)} that there are"
            )
        self._look_for_bodies(commit)
        machine = Placing(commit)
        command = machine.begin(self._tail.commits)
        self._unsure = commit
        raw = encode_commit(commit)
        while isinstance(command, Create):
            assert command.seq == len(self._tail.commits), "what is known ends where the next number is asked for"
            try:
                command = machine.handle(self._create(raw))
            except StoreFailed as error:
                self._doubtful = self._doubtful or machine.unsure
                if self._doubtful:  # an earlier request may have been done: this one failed, and tells nothing of it
                    raise StoreUnsure(f"{error}; an earlier request had no answer: it may be there") from None
                raise
        if isinstance(command, GaveUp):
            self._doubtful = True
            raise StoreUnsure(f"{self._world.store.url}: no answer to {log_key(self.id, command.seq)}: it may be there")
        self._unsure = None
        if not isinstance(command, Done):
            self._forget_bodies(commit)
        if isinstance(command, Ended):
            raise _deleted(self.id)
        if isinstance(command, Dropped):
            raise Superseded(
                f"somebody else has decided in session {self.id}: {log_key(self.id, command.seq)} was written by "
                f"{command.by.inv or command.by.id}, and what was decided here from {commit.base} commits is void"
            )
        assert isinstance(command, Done)
        self._keep_bodies(commit)
        self._tail.compact()
        return command

    def _create(self, raw: bytes) -> Event:
        """Ask for the next number. What is found there is known from then on: so a log has no gaps."""
        key = log_key(self.id, len(self._tail.commits))
        try:
            if self._world.store.create(key, raw):
                self._tail.add(raw)
                return Created()
        except StoreUnsure:
            return Unsure()
        found = self._world.store.get(key)
        return Unsure() if found is None else Exists(self._tail.add(found))

    def _look_for_bodies(self, commit: Commit) -> None:
        """Look for large bodies that were stored so long ago that they may be gone. Raises LogDamaged: one is."""
        for entry in commit.entries:
            stored = self._stored.get(entry.sha256)
            if stored is not None and commit.at - stored.at > COLLECTED_OLDER_THAN_S_MIN:
                read_body(self._world.store, entry)

    def _fitting(self, entries: Sequence[Entry]) -> tuple[Entry, ...]:
        """Return entries that fit into a commit; the bodies that did not are stored."""
        kept = fitting(entries)
        for given, each in zip(entries, kept, strict=True):
            if each is not given and given.inline is not None:
                was_there = not create_surely(self._world.store, blob_key(given.sha256), given.inline)
                self._stored[given.sha256] = _Stored(self._world.now(), was_there)
        return kept

    def _keep_bodies(self, commit: Commit) -> None:
        """See that the large bodies of a commit are there.

        One that was there already, named by nobody, may have been set aside since we looked, and so may one that was
        stored long ago. From the commit on it is safe: should we not come to it, ``collect`` brings it back.
        """
        for entry in commit.entries:
            stored = self._stored.get(entry.sha256)
            if stored is not None and (stored.was_there or self._world.now() - stored.at > BODY_FRESH_S):
                bring_back(self._world.store, entry.sha256)
        self._forget_bodies(commit)

    def _forget_bodies(self, commit: Commit) -> None:
        for entry in commit.entries:
            self._stored.pop(entry.sha256, None)

    def end(self) -> None:
        """Add the tombstone, which no commit goes past. Called by ``Bucket.delete`` alone."""
        commits = self._tail.refresh()
        if not (commits and commits[-1].tombstone):
            with suppress(SessionNotFound):  # somebody else was first
                self._add(Commit("", "system", len(commits), 0.0, entries=(entry_of(TOMBSTONE, b""),)))

    def compact(self) -> bool:
        """Write a snapshot, unless there is one of all of it; return whether it did.

        Raises:
            LogDamaged: a commit is missing, also if a snapshot has it: ``verify`` says what is left.
        """
        self.read()
        self._tail.look_for_gaps()
        return self._tail.compact(always=True)

    def verify(self) -> Report:
        """Read all of the session, and say what is wrong with it."""
        return verify(self._world, self.id)

    # --- attempts

    def attempts(self, base: int) -> list[Attempt]:
        """Return the attempts to decide from so many commits that have failed."""
        return attempts(self._world, self.id, base)

    def failed(self, base: int, attempt: Attempt) -> int:
        """Keep an attempt that failed; return how many there are from the same commits."""
        return keep_attempt(self._world, self.id, base, attempt)

    # --- other sessions

    def fork(self, at: int | None = None, *, session: str = "") -> Log:
        """Make a child that inherits the first commits of this log; ``None``: all of them.

        Args:
            at: how many.
            session: the id of the child; empty: a new one.
        """
        commits = self.read()
        if at is not None and not 0 <= at <= len(commits):
            raise ConfigError(f"session {self.id} cannot be forked at {at}: it has {len(commits)} commits")
        manifest = msgspec.structs.replace(
            self.manifest,
            id=session_id(session) if session else self._world.new_id(),
            created=self._world.now(),
            parent=Origin(self.id, len(commits) if at is None else at),
        )
        return start_log(self._world, manifest)

    def children(self) -> list[str]:
        """Return the ids of its children, in the order of the places where they were forked."""
        return children(self._world, self.id)

    def share(self, namespace: str) -> Commit:
        """Give the session a memory namespace: what it writes under ``NAMESPACE/`` is kept for all that have it."""
        asked = Entry("memory", name=f"{check_namespace(namespace)}/", sha256=digest(b""))
        return self._push_once(asked, f"memory/{namespace}")

    def namespaces(self) -> set[str]:
        """Return the memory namespaces that it has, each with ``/`` at its end."""
        return {each.entry.name for each in self.entries() if each.entry.event == "memory"}

    def _inherited_namespaces(self) -> set[str]:
        return {each.entry.name for each in self._before() if each.entry.event == "memory"}

    def recall(self, namespace: str, name: str) -> bytes:
        """Return what is kept under a name of a memory namespace, unpacked; nothing, if there is nothing."""
        version = MemoryNames(self._world).load(namespace, name)
        return b"" if version is None else self.decoded(version.entry)

    def undelivered(self) -> list[Undelivered]:
        """Return what could not be delivered to other sessions."""
        return self._settling.undelivered()

    def settle(self) -> None:
        """Do what its commits ask of others and is not done, also what could not be delivered. Call it at a start.

        Raises:
            StoreFailed: the bucket failed, and something is left to do.
        """
        commits = self.read()
        self._settling.begin(commits)
        self._settling.settle(commits)

    @property
    def owes(self) -> bool:
        """Whether something that its commits ask of others is known not to be done: :meth:`catch_up` tries again."""
        return self._settling.owes

    def catch_up(self) -> None:
        """Do what the commits that are known ask of others and is not done. If the bucket fails, that is told."""
        try:
            self._settling.settle(self._tail.commits)
        except StoreFailed as error:
            if self._told_of_trouble != str(error):
                self._told_of_trouble = str(error)
                self._world.tell(
                    f"what session {self.id} asked of others is not done yet, it will be tried again, also "
                    f"at its next start: {error}"
                )
        else:
            self._told_of_trouble = ""

    def _deliver(self, session: str, entry: Entry, key: str) -> None:
        """Push into another session."""
        target = self if session == self.id else open_log(self._world, session_id(session))
        if target.manifest.program:
            raise ConfigError(f"session {target.id} is a run of a program, which takes nothing from other sessions")
        target._push_once(entry, key)

    def _push_once(self, entry: Entry, key: str) -> Commit:
        """Push an entry with a key of ours. Raises ConfigError: somebody has pushed something else with it."""
        there = self.push([entry], key=key)
        if there.entries != (entry,):
            raise ConfigError(f"session {self.id} has another push with the key {key!r}, which is for what we push")
        return there


def _deleted(session: str) -> SessionNotFound:
    return SessionNotFound(f"session {session} was deleted")


def open_log(world: World, session: str) -> Log:
    """Return the log of a session, read once.

    Raises:
        SessionNotFound: there is none, or it was deleted.
    """
    log = Log(world, read_manifest(world, session))
    log.read()
    return log


def start_log(world: World, manifest: Manifest) -> Log:
    """Begin a session, or return the one that was begun so already.

    Raises:
        SessionExists: there is another one of that id, or there was.
    """
    created = begin_session(world, manifest)
    log = Log(world, manifest if created else read_manifest(world, manifest.id))
    if not created:
        if msgspec.structs.replace(log.manifest, created=manifest.created) != manifest:
            raise SessionExists(f"there is a session {manifest.id} already, another one: choose another id")
        try:
            log.read()
        except SessionNotFound:
            world.store.delete(index_key(manifest.id))
            raise SessionExists(
                f"there was a session {manifest.id}, and ids are not used again: choose another"
            ) from None
    return log
