"""Runs one session: performs its commands, feeds back what happened. Decides nothing.

Every event is handled in one synchronous step, so a session never sees two at a time. Of a session that is kept in a
bucket, what it commands behind a ``Record`` is performed when that is durable, in its order; the session goes on
meanwhile.
"""

from __future__ import annotations

__all__ = ["INSISTING", "Client", "Coordinator", "Report", "Servers", "Tracer"]

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import trio

from fabric.errors import AddressInUse, ConfigError, WorkerFailed
from fabric.launch.launcher import Launcher, Worker
from fabric.plan.endpoints import renewed
from fabric.plan.plan import WorkerPlan
from fabric.runtime.recorder import SLOW_S, Lost, Recorder, Resumed
from fabric.runtime.relay import LineRelay, Relay, SocketRelay
from fabric.session.events import (
    Answered,
    Approval,
    ApprovalOver,
    AskApproval,
    Asked,
    BadInput,
    Buried,
    CallServer,
    CancelCall,
    Command,
    Continue,
    DeadLetter,
    Decided,
    Deliver,
    Event,
    Exited,
    Finish,
    Frames,
    Heard,
    Input,
    InputClosed,
    Interrupted,
    Launch,
    Launched,
    LaunchFailed,
    LookAfter,
    Note,
    Observed,
    Opened,
    Outcome,
    Output,
    OutputBroken,
    Record,
    Refuse,
    Release,
    Retry,
    Seen,
    Send,
    Served,
    SetTimer,
    Settled,
    Signal,
    Start,
    Tap,
    Tapped,
    TimerFired,
    Told,
    Traced,
    Wish,
)
from fabric.session.failure import STDERR_LINES_KEPT
from fabric.session.figures import Figures
from fabric.session.pulse import is_answer
from fabric.session.session import Session
from fabric.session.snapshot import Snapshot
from fabric.session.stall import STILL_S, waited_for
from fabric.tracing.span import Span
from fabric.transport.ports import Transport

STDERR_SETTLE_S = 1.0
"""How long after a worker's exit its stderr may stay open before we stop reading it."""


REBIND_S = 3.0
"""How long an address may be in use that is to be bound again: ZeroMQ closes what it had there in its own time, and a
coordinator that was killed is gone only when the system has cleared away."""

REBIND_AGAIN_S = 0.02

INSISTING = 3
"""How often a session is interrupted that has to end whatever it does: drain, end the workers, kill them."""


class Client(Protocol):
    """Who takes what a session gives.

    Called from within a step: must not wait. An exception ends the session, as any bug does.
    """

    def opened(self) -> None:
        """Input is welcome."""
        ...

    def delivered(self, outputs: Sequence[Output]) -> None:
        """Messages left the graph, in this order."""
        ...

    def refused(self, refusal: Refuse) -> None:
        """A message went no further."""
        ...

    def answered(self, answer: Answered) -> None:
        """What was asked for a worker is done, or cannot be."""
        ...

    def asked(self, approval: Approval) -> None:
        """A call waits for approval: show it to somebody who decides (:meth:`Coordinator.decide`), if there is one."""
        ...

    def asked_no_more(self, approval: str, outcome: Outcome) -> None:
        """The approval with this id does not wait any more, whoever decided it. A question for it is pointless now."""
        ...

    def buried(self, letter: DeadLetter) -> None:
        """A message is a dead letter."""
        ...

    def tapped(self, messages: Sequence[Seen]) -> None:
        """Messages came to sinks that are looked at, in this order."""
        ...

    def observed(self, heard: Sequence[Heard]) -> None:
        """Workers said something on observed ports, in this order."""
        ...

    def settled(self, tickets: Sequence[int]) -> None:
        """All that will come of these inputs has come."""
        ...


class Report(Protocol):
    """Who wants to hear of what happens."""

    def noted(self, note: Note) -> None:
        """Something happened."""
        ...

    def worker_wrote(self, worker: str, line: str) -> None:
        """A worker wrote a line to its stderr."""
        ...


class Servers(Protocol):
    """Does calls of servers."""

    def listen(self, served: Callable[[Served], None]) -> None:
        """Say who takes what came of them."""
        ...

    def call(self, command: CallServer) -> None:
        """Have a call done."""
        ...

    def cancel(self, call: int) -> None:
        """Nobody waits for a call any more."""
        ...


class Tracer(Protocol):
    """Who takes spans."""

    def tell(self, spans: Sequence[Span]) -> None:
        """Something is over. Must not wait."""
        ...

    async def end(self) -> None:
        """There are no more. Takes no longer than a bounded time."""
        ...


class Coordinator:
    """One session and what it needs.

    Args:
        session: decides.
        transport: opens the sockets.
        launcher: starts the workers.
        client: takes what comes out.
        report: hears of what happens.
        servers: do the calls of the plan's servers, if it has any.
        tracer: takes spans, if the session tells any.
        secret: the fabric's secret key, if there are workers whose endpoints need keys.
        resumed: the session as it was brought back, if it is kept in a bucket.
    """

    def __init__(
        self,
        session: Session,
        transport: Transport,
        launcher: Launcher,
        client: Client,
        report: Report,
        servers: Servers | None = None,
        tracer: Tracer | None = None,
        *,
        secret: str = "",
        resumed: Resumed | None = None,
    ) -> None:
        self._secret = secret
        self.resumed = resumed
        self._recorder = None if resumed is None else resumed.recorder
        self._session = session
        self._transport = transport
        self._launcher = launcher
        self._client = client
        self._report = report
        self._servers = servers
        self._tracer = tracer
        if servers is not None:
            servers.listen(self._step)
        self._plans = {worker.name: worker for worker in session.plan.workers}
        self._relays: dict[str, Relay] = {}
        self._workers: dict[str, Worker] = {}
        self._events: deque[Event | None] = deque()
        self._timers: dict[tuple[str, str], float] = {}
        self._outcome: Finish | None = None
        self._interrupts = 0
        self._over_soon = False
        self._fired_s = 0.0
        self._over = trio.Event()
        self._work = trio.Event()
        self._stirred_s = 0.0
        self._stirred: trio.Event | None = None
        self._waiting_for_room = trio.lowlevel.ParkingLot()
        self._nursery: trio.Nursery

    async def run(self) -> Finish:
        """Run the session to its end and return how it ended. No process and no socket of it is left then."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._continue)
            if self._recorder is not None:
                nursery.start_soon(self._record, self._recorder)
            self._step(Start())
            nursery.start_soon(self._watch)
            await self._over.wait()
            nursery.cancel_scope.cancel()
        if self._tracer is not None:
            await self._tracer.end()
        assert self._outcome is not None
        return self._outcome

    # --- what a client asks for ---

    async def wait_for_room(self) -> bool:
        """Wait until input is welcome; return whether it ever will be."""
        while not self._welcome and not self._session.closing:
            await self._waiting_for_room.park()
        return not self._session.closing

    @property
    def _welcome(self) -> bool:
        return self._session.wants_input and (self._recorder is None or not self._recorder.full)

    def submit(
        self,
        port: str,
        messages: Sequence[tuple[int, bytes]],
        keys: Sequence[str] = (),
        taken: Callable[[], None] | None = None,
    ) -> None:
        """Give messages to a boundary input.

        Args:
            port: which.
            messages: each with a ticket.
            keys: by which each is known again, if the session is durable.
            taken: called when a single one cannot be lost any more, behind what came of those before it; never, if
                it is refused before.
        """
        if taken is not None and self._recorder is not None:
            self._recorder.promise(messages[0][0], taken)
        self._step(Input(port, messages, keys))
        if taken is not None and self._recorder is None:
            taken()

    def close_input(self, port: str | None = None) -> None:
        """End one boundary input, or all."""
        self._step(InputClosed(port))

    def bad_input(self, detail: str, ticket: int) -> None:
        """Tell that something came that is no message for any input."""
        self._step(BadInput(detail, ticket))

    def output_broken(self, reason: str) -> None:
        """Tell that nobody takes the output any more: the session ends."""
        self._step(OutputBroken(reason))

    def ask(self, worker: str, wish: Wish, ticket: int) -> None:
        """Stop a worker, start it, or both."""
        self._step(Asked(worker, wish, ticket))

    def tell(self, worker: str, payload: bytes, ticket: int) -> None:
        """Send a control message, JSON text of an object, to a worker."""
        self._step(Told(worker, payload, ticket))

    def retry(self, worker: str, payload: bytes, ticket: int) -> None:
        """Give a dead letter to its worker once more."""
        self._step(Retry(worker, payload, ticket))

    def decide(self, approval: str, *, granted: bool, ticket: int = 0, always: bool = False, reason: str = "") -> None:
        """Say whether a call may be run that waits for approval.

        ``Client.answered`` gets the ticket, with an error if this does not count: it was decided already, or has
        expired, or is none.

        Args:
            approval: its id.
            granted: whether.
            ticket: comes back in ``Answered``; a client that has other tickets takes one that is not used.
            always: whether this holds for all calls of the same tool by the same worker from now on.
            reason: told to the caller, of a denial.
        """
        self._step(Decided(approval, granted, ticket, always, reason))

    def tap(self, sinks: frozenset[int]) -> None:
        """Look at what comes to these sinks, and to no others."""
        self._step(Tap(sinks), stirs=False)

    def look_after(self) -> None:
        """Have the workers that have messages asked whether they still move; see :meth:`figures`."""
        self._step(LookAfter(), stirs=False)

    def pid_of(self, worker: str) -> int | None:
        """Return the process of a worker that was started, if it is one of this host."""
        return self._workers[worker].pid if worker in self._workers else None

    def interrupt(self, number: int) -> None:
        """Tell of a signal: the first asks for an end, the next ones insist."""
        self._interrupts += 1
        recorder = self._recorder
        if recorder is not None and self._interrupts > 1 and recorder.holding:  # and with all else, what ends workers
            if recorder.failing or self._interrupts > 2:
                self._lose(_forced(number))
                return
            self._nursery.start_soon(self._insist, recorder, number)
        self._step(Interrupted(number))

    async def _insist(self, recorder: Recorder, number: int) -> None:
        """Somebody wants an end: a bucket that works is waited for."""
        await trio.sleep(SLOW_S)
        if recorder.failing:
            self._lose(_forced(number))

    def set_grace(self, grace_s: float) -> None:
        """Say how long workers may be silent that are asked to end from now on."""
        self._session.set_grace(grace_s)

    @property
    def closing(self) -> bool:
        """Whether the session takes no more input."""
        return self._session.closing

    def snapshot(self) -> Snapshot:
        """Return how the session stands."""
        return self._session.snapshot()

    def figures(self) -> Figures:
        """Return what the session has counted."""
        return self._session.figures(self.now_s)

    @property
    def now_s(self) -> float:
        """The session's time. It stands while its bucket fails: what has to wait for that is not late by it."""
        if self._recorder is None:
            return trio.current_time()
        return max(self._fired_s, trio.current_time() - self._recorder.stood_s)

    # --- the step ---

    def _step(self, event: Event | None, *, stirs: bool = True) -> None:
        """Handle an event; one that comes while commands are performed is handled behind them.

        Args:
            event: what happened; ``None``: commands that were held back may be performed.
            stirs: whether it shows that something moves.
        """
        if self._outcome is not None:
            if event is not None:
                self._too_late(event)
            return
        if stirs:
            self._stirred_s = trio.current_time()
            if self._stirred is not None:
                self._stirred.set()
        self._events.append(event)
        if len(self._events) > 1:
            return
        while self._events:
            first, recorder = self._events[0], self._recorder
            if first is not None and self._over_soon:
                self._too_late(first)
            elif first is not None:
                for command in self._session.handle(first, self.now_s):
                    self._over_soon |= isinstance(command, Finish)
                    if recorder is None or recorder.lets(command):
                        self._perform(command)
            elif recorder is not None:
                for released in recorder.released():
                    if callable(released):
                        released()
                    else:
                        self._perform(released)
            self._events.popleft()
        if self._session.has_work:
            self._work.set()
        if self._welcome or self._session.closing:
            self._waiting_for_room.unpark_all()

    def _too_late(self, event: Event) -> None:
        """The session is over, though its end may still wait for the log: it hears nothing more. Say so."""
        match event:
            case Input(port, messages):
                tickets = tuple(ticket for ticket, _ in messages)
                self._client.refused(Refuse("input_closed", "the session is over", port, tickets))
                self._client.settled(tickets)
            case Retry(name, _, ticket):
                self._client.refused(Refuse("input_closed", "the session is over", name, (ticket,)))
                self._client.settled((ticket,))
            case Asked(ticket=ticket) | Told(ticket=ticket) | Decided(ticket=ticket):
                self._client.answered(Answered(ticket, "the session is over"))

    async def _record(self, recorder: Recorder) -> None:
        """Have what the session records written, for ever; the session is over when that cannot be."""
        self._lose(await recorder.run(partial(self._step, None, stirs=False)))

    def _lose(self, lost: Lost) -> None:
        """End at once: nothing that is held back is done, and workers are ended by whoever opened the launcher."""
        if self._outcome is None:
            self._outcome = lost.finish
            self._over.set()

    async def _continue(self) -> None:
        """Give the session its turn again and again while it has work, and everybody else theirs in between."""
        while True:
            await self._work.wait()
            self._work = trio.Event()
            while self._session.has_work:
                await trio.lowlevel.checkpoint()
                self._step(Continue())

    async def _watch(self) -> None:
        """Say what is waited for when nothing has moved for long; once, until something moves again."""
        while True:
            await trio.sleep_until(self._stirred_s + STILL_S)
            now_s = trio.current_time()
            if now_s < self._stirred_s + STILL_S:
                continue
            said = waited_for(self._session.plan, self._session.snapshot(), self.now_s)
            if said is not None:
                self._report.noted(Note("warning", "session.waiting", {"idle_s": STILL_S, "reason": said}))
            self._stirred = trio.Event()
            await self._stirred.wait()
            self._stirred = None

    def _perform(self, command: Command) -> None:
        match command:
            case Send(worker, port, raw):
                self._relays[worker].send(port, raw)
            case Deliver(outputs):
                self._client.delivered(outputs)
            case Settled(tickets):
                self._client.settled(tickets)
            case Tapped(messages):
                self._client.tapped(messages)
            case Observed(heard):
                self._client.observed(heard)
            case Note():
                self._report.noted(command)
            case Traced(spans):
                if self._tracer is not None:
                    self._tracer.tell(spans)
            case SetTimer(key, at_s):
                self._timers[key] = at_s
                self._nursery.start_soon(self._timer, key, at_s)
            case Launch(worker, incarnation):
                plan = renewed(self._plans[worker], incarnation)
                if plan.runner != "process":
                    self._nursery.start_soon(self._work_at, plan)
                    return
                try:
                    relay = self._open(plan)
                except ConfigError as error:  # no descriptor is left, or somebody has taken the address
                    self._step(LaunchFailed(worker, str(error)))
                else:
                    self._nursery.start_soon(self._work_for, plan, relay)
            case Release(worker):
                if worker in self._relays:
                    self._relays[worker].close()
            case Signal(worker, name):
                if worker in self._workers:
                    self._workers[worker].signal(name)
            case Answered():
                self._client.answered(command)
            case AskApproval(approval):
                self._client.asked(approval)
            case ApprovalOver(approval_id, outcome):
                self._client.asked_no_more(approval_id, outcome)
            case CallServer():
                assert self._servers is not None
                self._servers.call(command)
            case CancelCall(call):
                assert self._servers is not None
                self._servers.cancel(call)
            case Buried(letter):
                self._client.buried(letter)
            case Opened():
                self._client.opened()
            case Refuse():
                self._client.refused(command)
            case Finish():
                self._outcome = command
                self._over.set()
            case Record():
                raise AssertionError("a session that nobody records has recorded something")

    async def _timer(self, key: tuple[str, str], at_s: float) -> None:
        if self._recorder is None:
            await trio.sleep_until(at_s)
        else:
            await self._wait(self._recorder, at_s)
        if self._timers.get(key) == at_s:  # not replaced meanwhile
            del self._timers[key]
            self._step(TimerFired(key), stirs=False)

    async def _wait(self, recorder: Recorder, at_s: float) -> None:
        """Wait for a time of the session."""
        while trio.current_time() < (until_s := at_s + recorder.stood_s):
            await trio.sleep_until(until_s)
            await recorder.works()
        self._fired_s = max(self._fired_s, at_s)  # a difference of sums is not exact, and no timer fires early

    # --- one worker ---

    def _open(self, plan: WorkerPlan) -> Relay:
        relay: Relay
        arrive = partial(self._arrived, plan.name)
        if plan.transport == "stdio":
            relay = LineRelay(plan, arrive)
        else:
            relay = SocketRelay(plan, self._transport, arrive, self._nursery, self._secret)
        self._relays[plan.name] = relay
        return relay

    def _arrived(self, worker: str, port: str, raw: list[bytes]) -> None:
        stirs = port != "ctrl_out" or not all(map(is_answer, raw))
        self._step(Frames(worker, port, raw), stirs=stirs)

    async def _work_at(self, plan: WorkerPlan) -> None:
        """Work with a worker whose addresses stay; those that we bind are in use for moments after that."""
        until_s = trio.current_time() + REBIND_S
        while True:
            try:
                relay = self._open(plan)
            except AddressInUse as error:
                if trio.current_time() >= until_s:
                    hint = "somebody else has it; [hosts.NAME] ports in fabric.toml says which may be used"
                    self._step(LaunchFailed(plan.name, f"{error}: {hint}"))
                    return
                await trio.sleep(REBIND_AGAIN_S)
            except ConfigError as error:
                self._step(LaunchFailed(plan.name, str(error)))
                return
            else:
                break
        await self._work_for(plan, relay)

    async def _work_for(self, plan: WorkerPlan, relay: Relay) -> None:
        """Start a worker, and see it through to its end."""
        try:
            worker = await self._launcher.launch(plan)
        except WorkerFailed as error:
            self._step(LaunchFailed(plan.name, str(error)))
            return
        self._workers[plan.name] = worker
        self._step(Launched(plan.name, worker.pid))
        lines: deque[str] = deque(maxlen=STDERR_LINES_KEPT)
        ended = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, plan.name, worker, lines, ended)
            status = await relay.serve(worker)
            # What it wrote last is in the pipe already; a child that it left behind may hold the pipe open.
            with trio.move_on_after(STDERR_SETTLE_S):
                await ended.wait()
            nursery.cancel_scope.cancel()
        if relay.complaint is not None:
            lines.append(relay.complaint)
        self._step(Exited(plan.name, status, tuple(lines)))

    async def _listen(self, name: str, worker: Worker, lines: deque[str], ended: trio.Event) -> None:
        async for line in worker.stderr_lines():
            lines.append(line)
            self._report.worker_wrote(name, line)
        ended.set()


def _forced(number: int) -> Lost:
    text = "ended by force while the bucket took nothing; what is in the log goes on when it is run again"
    return Lost("stopped", text, 128 + number)
