"""Workers as containers, of engines of this host or of others.

A container is made, given what only it may know, started, waited for, and removed with all that was its own. Its name
says which worker it is, so there is never more than one; labels say whose it is. Whatever happens to a session, it
leaves none, unless its coordinator is killed: then they live on, and the next coordinator of the same service takes
those over that it would have started just so, and removes the others first.

When the engine is gone, its containers may not be: what has to be asked of it is asked for some seconds more. Then the
worker counts as killed, and that is said.
"""

from __future__ import annotations

__all__ = ["ContainerLauncher", "end_containers", "open_containers"]

import os
import signal as signals
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Literal

import trio

from fabric.errors import ConfigError, EngineFailed, WorkerFailed
from fabric.launch.container_spec import FOLDER, Wanted, user_of, want
from fabric.launch.engine import Engine, Found, State, open_engine
from fabric.launch.engine_address import check_private, engine_address
from fabric.launch.launcher import Worker
from fabric.launch.owner import COORDINATOR_LABEL, DIGEST_LABEL, KEY_LABEL, WORKER_LABEL, Owner
from fabric.plan.plan import WorkerPlan

LINES_MAX = 1_024
"""Lines of a container that may wait for who reads them. Then they wait with its engine, which keeps a bounded file."""

LINES_OF_EARLIER = "20"
"""How many lines of one that is taken over are read once more: what it wrote while nobody was there."""

ENGINE_BACK_S = 10.0
"""How long an engine may be away, as when it is started anew, before its containers count as lost."""

ASK_AGAIN_S = 0.25
LOGS_END_S = 2.0
"""How long after a container's exit its last lines are waited for before it is removed."""

KILLED_S = 20.0
"""How long an engine may take to end a container that is killed: moments."""

REMOVED_S = 0.05

CLEAR_S = 10.0
"""How long an engine may take to remove the container whose place the next of its worker takes."""

REMOVE_S = 15.0
"""How long the end of a session may take to remove what is left."""

NOT_THERE = -signals.SIGKILL
"""The status of a container that nobody can ask about."""


class _ContainerWorker:
    def __init__(self, engine: Engine, container: str, wanted: Wanted, nursery: trio.Nursery, *, earlier: bool) -> None:
        self._engine = engine
        self._wanted = wanted
        self._nursery = nursery
        self._write, self._read = trio.open_memory_channel[str](LINES_MAX)
        self._written = trio.Event()
        self._gone = trio.Event()
        self._following = trio.CancelScope()
        self._status = 0
        self._last_words: list[str] = []
        self.container = container
        self.earlier = earlier
        self.removed = False

    # --- see fabric.launch.launcher.Worker ---

    @property
    def pid(self) -> int | None:
        return None  # it is its engine's, which may be another host's

    async def wait(self) -> int:
        await self._gone.wait()
        return self._status

    def signal(self, name: Literal["TERM", "KILL"]) -> None:
        if not self._gone.is_set():
            self._nursery.start_soon(self._signal, name)

    def left(self) -> None:
        pass  # its exit is seen

    async def stderr_lines(self) -> AsyncIterator[str]:
        async for line in self._read:
            yield line
        await self._gone.wait()
        for line in self._last_words:
            yield line

    def stdout_lines(self) -> AsyncIterator[bytes]:
        raise AssertionError("it speaks on sockets")

    async def write_stdin(self, data: bytes) -> None:
        raise AssertionError("it speaks on sockets")

    async def close_stdin(self) -> None:
        raise AssertionError("it speaks on sockets")

    # --- what becomes of it ---

    async def see_through(self, complain: Callable[[str], None]) -> None:
        """Wait for its end, and remove it."""
        self._nursery.start_soon(self._follow)
        try:
            self._ended(await self._outlast())
        except EngineFailed as error:
            self._lost(str(error))
        with trio.move_on_after(LOGS_END_S):
            await self._written.wait()
        self._following.cancel()  # nobody may be reading any more, and it holds a connection
        try:
            await self._engine.remove(self.container)
            self.removed = True
        except EngineFailed as error:
            complain(f"container {self._wanted.name} cannot be removed: {error}")

    async def _outlast(self) -> State:
        """Return how it ended, also if its engine was away for a while."""
        while True:
            try:
                await self._engine.wait(self.container)
                state = await self._engine.inspect(self.container)
            except EngineFailed as error:
                if error.status == 404:
                    raise EngineFailed("somebody has removed its container", 404) from None
                state = await self._ask_until(error)
            if not state.running:
                return state

    async def _ask_until(self, error: EngineFailed) -> State:
        """Ask how it is until its engine answers. Raises EngineFailed: it does not."""
        with trio.move_on_after(ENGINE_BACK_S):
            while True:
                await trio.sleep(ASK_AGAIN_S)
                try:
                    return await self._engine.inspect(self.container)
                except EngineFailed as again:
                    error = again
                    if error.status:
                        break
        raise error

    def _ended(self, state: State) -> None:
        if self._gone.is_set():
            return
        self._status = -(state.exit_code - 128) if 128 < state.exit_code <= 128 + 64 else state.exit_code
        if state.oom_killed:
            self._last_words.append(f"its container ran out of memory ({self._wanted.limit})")
        if state.error:
            self._last_words.append(f"its container failed: {state.error}")
        self._gone.set()

    def _lost(self, why: str) -> None:
        """Nobody knows how it ended, or whether."""
        if not self._gone.is_set():
            self._status = NOT_THERE
            self._last_words.append(f"container {self._wanted.name} is lost: {why}")
            self._gone.set()

    async def _follow(self) -> None:
        """Pass its lines on, to their end, or until nobody has read them for long enough."""
        async with self._write:
            with self._following:
                await self._pass_lines_on()
            if self._following.cancelled_caught:
                self._last_words.append(
                    f"(its lines were not read within {LOGS_END_S:g} s of its end; the rest is lost)"
                )
            self._written.set()

    async def _pass_lines_on(self) -> None:
        tail = LINES_OF_EARLIER if self.earlier else "all"
        while True:
            try:
                await self._engine.follow_logs(self.container, self._write.send, tail=tail)
                break
            except EngineFailed as error:
                if self._gone.is_set() or error.status == 404:
                    break
                if tail != "0":
                    await self._write.send("(its engine was away; lines may be missing here)")
                await trio.sleep(ASK_AGAIN_S)
                tail = "0"
            except trio.BrokenResourceError:  # nobody reads them any more
                break

    async def _signal(self, name: str) -> None:
        with trio.move_on_after(KILLED_S) as patience:
            while not self._gone.is_set():
                try:
                    await self._engine.kill(self.container, f"SIG{name}")
                    break
                except EngineFailed as error:
                    if error.status in (404, 409):  # gone, or not running: its wait tells
                        break
                    await trio.sleep(ASK_AGAIN_S)
            if name == "KILL":
                await self._gone.wait()
        if patience.cancelled_caught and name == "KILL":
            self._lost(f"the Docker Engine at {self._engine.where} did not end it within {KILLED_S:g} s")


class ContainerLauncher:
    """Starts containers. Made by :func:`open_containers`."""

    def __init__(
        self,
        engines: Mapping[str, Engine],
        images: Mapping[tuple[str, str], str],
        owner: Owner,
        environment: Mapping[str, str],
        nursery: trio.Nursery,
        complain: Callable[[str], None],
    ) -> None:
        self._engines = engines
        self._images = images
        self._owner = owner
        self._environment = environment
        self._user = user_of(os.getuid(), os.getgid())
        self._nursery = nursery
        self._complain = complain
        self._left: dict[str, tuple[Engine, Found]] = {}
        self._started_ids: set[str] = set()

    def wanted(self, worker: WorkerPlan) -> Wanted:
        """Return the container of a worker. Raises ConfigError: it cannot be one."""
        engine = self._engines[worker.engine]
        image = self._images[worker.engine, worker.image]
        return want(worker, image, self._owner, self._environment, self._user, local=engine.local)

    async def sort_out(self, plans: Iterable[WorkerPlan]) -> None:
        """Look what earlier coordinators have left; remove it, but for what is taken over.

        Raises:
            ConfigError: a coordinator that lives has the same containers.
        """
        wanted = {plan.name: (plan.engine, self.wanted(plan).digest) for plan in plans}
        for where, engine in self._engines.items():
            for found in await engine.find({KEY_LABEL: self._owner.key}):
                other = found.labels.get(COORDINATOR_LABEL, "")
                if other != self._owner.coordinator and self._owner.lives(other):
                    pid = other.partition(":")[0]
                    raise ConfigError(
                        f"container {found.name} belongs to a session that runs, pid {pid}; end that one first"
                    )
                name = found.labels.get(WORKER_LABEL, "")
                same = wanted.get(name) == (where, found.labels.get(DIGEST_LABEL))
                if self._owner.adopts and same and found.state == "running":
                    self._left[name] = engine, found
                else:
                    await engine.remove(found.id)

    async def launch(self, worker: WorkerPlan) -> Worker:
        """Start one, or take it over; see :class:`fabric.launch.launcher.Launcher`."""
        engine = self._engines[worker.engine]
        try:
            wanted = self.wanted(worker)
            left = self._left.pop(worker.name, None)
            if left is not None and await _runs(engine, left[1].id):
                return self._started(engine, left[1].id, wanted, earlier=True)
            return await self._start(engine, wanted)
        except (EngineFailed, ConfigError) as error:
            raise WorkerFailed(f"worker '{worker.name}': {error}") from None

    async def _start(self, engine: Engine, wanted: Wanted) -> _ContainerWorker:
        # Not to be cancelled: an engine that has been asked makes it, and close() has to find it.
        with trio.CancelScope(shield=True):
            try:
                container = await engine.create(wanted.name, wanted.container)
            except EngineFailed as error:
                if error.status != 409:
                    raise
                await self._clear(engine, wanted.name)
                container = await engine.create(wanted.name, wanted.container)
        await engine.put_files(container, FOLDER, wanted.archive())
        await engine.start(container)
        return self._started(engine, container, wanted, earlier=False)

    async def _clear(self, engine: Engine, name: str) -> None:
        """Remove the one that has the name of a container, if it is ours: its worker is over.

        Raises:
            EngineFailed: it is still there after a while; one that is being removed keeps its name until it is gone.
        """
        with trio.move_on_after(CLEAR_S):
            while found := [each for each in await engine.find({KEY_LABEL: self._owner.key}) if each.name == name]:
                for each in found:
                    await engine.remove(each.id)
                await trio.sleep(REMOVED_S)
            return
        raise EngineFailed(
            f"the Docker Engine at {engine.where} has not removed container {name}, of the worker's last run, within"
            f" {CLEAR_S:g} s; see: docker rm -f {name}"
        )

    def _started(self, engine: Engine, container: str, wanted: Wanted, *, earlier: bool) -> _ContainerWorker:
        worker = _ContainerWorker(engine, container, wanted, self._nursery, earlier=earlier)
        self._started_ids.add(container)
        self._nursery.start_soon(self._see_through, worker)
        return worker

    async def _see_through(self, worker: _ContainerWorker) -> None:
        await worker.see_through(self._complain)
        if worker.removed:
            self._started_ids.discard(worker.container)

    async def close(self) -> None:
        """Remove what is left, running or not, and say what cannot be."""
        with trio.move_on_after(REMOVE_S) as patience:
            for engine in self._engines.values():
                try:
                    while found := [
                        each for each in await engine.find({KEY_LABEL: self._owner.key}) if self._has(each)
                    ]:
                        for each in found:
                            await engine.remove(each.id)
                        await trio.sleep(REMOVED_S)  # what is being removed already is there for moments
                except EngineFailed as error:
                    self._complain(f"containers of '{self._owner.project}' may be left: {error}")
        if patience.cancelled_caught:
            self._complain(
                f"containers of '{self._owner.project}' may be left: not removed within {REMOVE_S:g} s; see:"
                f" docker ps -a --filter label={KEY_LABEL}={self._owner.key}"
            )

    def _has(self, found: Found) -> bool:
        """Whether a container is one of this session, started by it or taken over."""
        adopted = {each.id for _, each in self._left.values()}
        return found.id in self._started_ids | adopted or found.labels.get(COORDINATOR_LABEL) == self._owner.coordinator


@asynccontextmanager
async def open_containers(
    workers: Iterable[WorkerPlan], environment: Mapping[str, str], owner: Owner, complain: Callable[[str], None]
) -> AsyncIterator[ContainerLauncher]:
    """Give a launcher, after a look at all that its workers will need; at the end nothing of it is left.

    Args:
        workers: that are containers.
        environment: the coordinator's.
        owner: whose they are.
        complain: told what cannot be removed.

    Raises:
        ConfigError: an image is not there, a worker cannot be a container, or its keys would go to its engine in the
            clear.
        EngineFailed: an engine is not there.
    """
    workers = tuple(workers)
    for worker in workers:
        if worker.secured:
            check_private(engine_address(worker.engine, environment), worker.name)
    async with AsyncExitStack() as stack:
        engines: dict[str, Engine] = {}
        images: dict[tuple[str, str], str] = {}
        for worker in workers:
            if worker.engine not in engines:
                engines[worker.engine] = await stack.enter_async_context(open_engine(worker.engine, environment))
            if (worker.engine, worker.image) not in images:
                images[worker.engine, worker.image] = await _image_id(engines[worker.engine], worker)
        async with trio.open_nursery() as nursery:
            launcher = ContainerLauncher(engines, images, owner, environment, nursery, complain)
            try:
                await launcher.sort_out(workers)
                yield launcher
            finally:
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    await launcher.close()


async def _runs(engine: Engine, container: str) -> bool:
    """Whether a container that was there a moment ago runs."""
    try:
        return (await engine.inspect(container)).running
    except EngineFailed as error:
        if error.status != 404:
            raise
        return False


async def _image_id(engine: Engine, worker: WorkerPlan) -> str:
    try:
        return (await engine.image(worker.image)).id
    except EngineFailed as error:
        if error.status != 404:
            raise
        where = f"DOCKER_HOST={worker.engine} " if worker.engine else ""
        raise ConfigError(
            f"worker '{worker.name}': the Docker Engine at {engine.where} has no image {worker.image!r}; make it with:"
            f" {where}fabric image -t {worker.image}; or get it with: {where}docker pull {worker.image}"
        ) from None


async def end_containers(engine: Engine, key: str, grace_s: float) -> None:
    """End and remove the containers of a session whose coordinator is dead.

    Args:
        engine: where they are.
        key: of their owner.
        grace_s: how long they may take to end by themselves.

    Raises:
        EngineFailed: it cannot be done.
    """
    left = await engine.find({KEY_LABEL: key})
    for found in left:
        if found.state == "running":
            with suppress(EngineFailed):  # it ends this moment
                await engine.kill(found.id, "SIGTERM")
    with trio.move_on_after(grace_s):
        for found in left:
            await engine.wait(found.id)
    for found in left:
        await engine.remove(found.id)
