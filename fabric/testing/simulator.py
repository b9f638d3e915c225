"""A session in memory: the same session machines and workers, on the memory transport, in one process.

Run it with :func:`~fabric.testing.seeded.run_seeded`, or under ``trio.testing.MockClock(autojump_threshold=0)``, and no
timer takes real time.
"""

from __future__ import annotations

__all__ = [
    "Decide",
    "Decision",
    "Simulated",
    "SimulatedLog",
    "Watch",
    "at_once",
    "function_runner",
    "python_runner",
    "run_function",
    "simulate",
]

import random
import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec
import trio

from fabric.errors import WorkerFailed, sole
from fabric.launch.external import ExternalLauncher
from fabric.launch.launcher import Worker
from fabric.plan.plan import Plan, WorkerPlan
from fabric.runtime.coordinator import Coordinator
from fabric.runtime.recorder import InThread, Lost, Recorder, Resumed, RunLog
from fabric.session.events import (
    Answered,
    Approval,
    Command,
    DeadLetter,
    Event,
    Finish,
    Heard,
    Note,
    Outcome,
    Output,
    Refuse,
    Seen,
    Wish,
)
from fabric.session.history import Emitted, History
from fabric.session.session import Session, Settings
from fabric.session.spans import About
from fabric.testing.faults import Faults, Restart
from fabric.testing.outsiders import Outsider
from fabric.testing.processes import Process, ProcessRecord, Runner
from fabric.transport.memory import MemoryTransport
from fabric.transport.ports import Receiver, Security, Sender
from fabric.wire.codec import encode
from fabric.wire.frame import Eof
from fabric.wire.spec import WorkerSpec
from fabric.worker.control import Control, run_control
from fabric.worker.data import run_data
from fabric.worker.function import Function, load_function

Watch: TypeAlias = Callable[[float, Event, list[Command]], None]
"""Takes the session's time, an event, and the commands that follow."""


class Decision(msgspec.Struct, frozen=True):
    """What somebody decides about a call that waits for approval.

    Attributes:
        granted: whether it may be run.
        after_s: how long they think.
        always: whether that holds for all calls of its tool by its worker.
        reason: in words, for the caller.
    """

    granted: bool
    after_s: float = 0.0
    always: bool = False
    reason: str = ""


Decide: TypeAlias = Callable[[Approval], Decision | None]
"""Takes a call that waits for approval; ``None``: nobody decides."""


class Simulated(msgspec.Struct, frozen=True):
    """What a simulated session did.

    Attributes:
        outputs: port and JSON text, in order.
        refusals: messages that went no further.
        finish: how it ended.
        notes: what it had to say, in order.
        heard: on observed ports, in order.
        letters: messages that are dead letters, in order.
        settled: tickets of the inputs of which nothing is left, in order; an input's ticket is its number, from 1.
        processes: what became of each, in the order of their starts.
        output_times_s: when each output came.
        approvals: calls that waited for approval, in order, and how that ended; ``None``: the session ended before.
    """

    outputs: tuple[tuple[str, bytes], ...]
    refusals: tuple[Refuse, ...]
    finish: Finish
    notes: tuple[Note, ...] = ()
    heard: tuple[Heard, ...] = ()
    letters: tuple[DeadLetter, ...] = ()
    settled: tuple[int, ...] = ()
    processes: tuple[ProcessRecord, ...] = ()
    output_times_s: tuple[float, ...] = ()
    approvals: tuple[tuple[Approval, Outcome | None], ...] = ()


async def at_once(function: Callable[[], object]) -> object:
    """Do what blocks here: in virtual time it takes none."""
    await trio.lowlevel.checkpoint()
    return function()


class SimulatedLog(NamedTuple):
    """Where a simulated session is kept.

    Attributes:
        log: of the run, read to its end.
        history: what has happened so far.
        written: what its outputs were written to, as by a file: port and JSON text. It outlives the session.
        in_thread: does what blocks.
        base: how many commits that history has; ``None``: all that were read.
    """

    log: RunLog
    history: Sequence[History]
    written: list[tuple[str, bytes]]
    in_thread: InThread = at_once
    base: int | None = None


async def python_runner(spec: WorkerSpec, process: Process, endpoints: dict[str, str]) -> int:
    """Run a ``python`` worker."""
    return await run_function(load_function(spec), spec, process, endpoints)


def function_runner(functions: Mapping[str, Callable[[Any], Any]]) -> Runner:
    """Return a runner of ``python`` workers that imports nothing: what they call is looked up here."""

    async def run(spec: WorkerSpec, process: Process, endpoints: dict[str, str]) -> int:
        return await run_function(Function(functions[spec.config["call"]]), spec, process, endpoints)

    return run


async def run_function(function: Function, spec: WorkerSpec, process: Process, endpoints: dict[str, str]) -> int:
    """Run a worker that calls this function, whatever its spec says."""
    telemetry = process.sender(endpoints["telemetry"], bind=True) if "telemetry" in endpoints else None
    number = random.Random(f"{spec.name}/{process.number}").getrandbits(32)
    control = Control(marks_all=telemetry is not None, incarnation=number)
    source = process.receiver(endpoints["input"], bind=False)
    sink = process.sender(endpoints["output"], bind=True)
    ctrl_in = process.receiver(endpoints["ctrl_in"], bind=False)
    ctrl_out = process.sender(endpoints["ctrl_out"], bind=True)
    span = random.Random(endpoints["output"]).getrandbits(64)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_control, ctrl_in, ctrl_out, spec.name, control)
            await run_data(
                spec, function, source, sink, control, telemetry=telemetry, clock=trio.current_time, span=span
            )
            if telemetry is not None:
                telemetry.send_nowait(encode(Eof(spec.name)))
    except BaseExceptionGroup as raised:
        raise sole(raised) from None
    return 0


async def simulate(
    plan: Plan,
    inputs: Sequence[tuple[str, bytes]],
    *,
    runners: Mapping[str, Runner],
    settings: Settings | None = None,
    seed: int = 0,
    faults: Faults | None = None,
    watch: Watch | None = None,
    decide: Decide | None = None,
    traced: About | None = None,
    session: Session | None = None,
    first_ticket: int = 1,
    kept: SimulatedLog | None = None,
    interrupts_s: Sequence[float] = (),
) -> Simulated:
    """Run a plan on these inputs until it has drained.

    Args:
        plan: what to run.
        inputs: boundary port and JSON text of each message, in order.
        runners: by kind of worker: ``python``, ``agent``, ``worker``.
        settings: times and policy.
        seed: of the ids.
        faults: what goes wrong.
        watch: called with each event, its time, and the commands that the session answers with.
        decide: called with each call that waits for approval.
        traced: what the session tells of itself in spans, which are among its commands; ``None``: it tells none.
        session: of this plan, that is run instead of a new one; what it does then is its own matter.
        first_ticket: of the first input.
        kept: where it is kept, and what of it has happened: of the inputs it gets those that it has not had. What the
            log raises that is none of its errors comes out of here, as if everything had been killed then.
        interrupts_s: when somebody wants it to end.
    """
    faults = faults or Faults()
    rng = random.Random(faults.seed)
    client = _Recorder()  # and nobody wants a report
    resumed = None
    if kept is not None:
        session = _Watched(plan, settings or Settings(), random.Random(seed), watch, traced, "kept")
        resumed = client.resume(kept, session)
        inputs = inputs[len(resumed.relived.inputs) :]
        first_ticket = resumed.relived.next_ticket if resumed.relived.inputs else 1
    session = session or _Watched(plan, settings or Settings(), random.Random(seed), watch, traced, "")
    transport = MemoryTransport((lambda _: rng.uniform(0, faults.delay_s)) if faults.delay_s else None)
    async with trio.open_nursery() as nursery:
        launcher = _MemoryLauncher(transport, runners, nursery, faults)
        outsiders = [
            Outsider(worker, runners[worker.spec.kind], transport, faults)
            for worker in plan.workers
            if worker.runner == "external"
        ]
        for outsider in outsiders:
            nursery.start_soon(outsider.run)
        if faults.killed_at_s is not None:
            await _precede(plan, inputs, settings or Settings(), seed, transport, faults.killed_at_s)
        coordinator = Coordinator(session, transport, launcher, client, client, resumed=resumed)
        lost = None if resumed is None else await client.take_up(resumed)

        async def feed() -> None:
            for ticket, (port, payload) in enumerate(inputs, first_ticket):
                await trio.sleep(rng.uniform(0, faults.input_s) if faults.input_s else 0)
                if not await coordinator.wait_for_room():
                    return
                coordinator.submit(port, [(ticket, payload)])
            if await coordinator.wait_for_room():
                coordinator.close_input()

        async def ask(restart: Restart, ticket: int) -> None:
            await trio.sleep_until(restart.at_s)
            wish: Wish = "restart"
            again_s = 1.0
            while True:
                coordinator.ask(restart.worker, wish, ticket)
                if await client.wait_answered(ticket) is None:
                    return
                await trio.sleep(again_s)  # it did not come up
                wish, again_s = "start", 2 * again_s

        async def answer(approval: Approval, decision: Decision) -> None:
            await trio.sleep(decision.after_s)
            coordinator.decide(approval.id, granted=decision.granted, always=decision.always, reason=decision.reason)

        async def interrupt() -> None:
            for at_s in interrupts_s:
                await trio.sleep_until(at_s)
                coordinator.interrupt(signal.SIGINT)

        def asked(approval: Approval) -> None:
            decision = None if decide is None else decide(approval)
            if decision is not None:
                nursery.start_soon(answer, approval, decision)

        client.when_asked = asked
        nursery.start_soon(feed)
        nursery.start_soon(interrupt)
        for ticket, restart in enumerate(faults.restarts):
            nursery.start_soon(ask, restart, ticket)
        finish = await coordinator.run() if lost is None else lost.finish
        if resumed is not None and finish.exit_code < 128:
            await resumed.recorder.close()
        nursery.cancel_scope.cancel()
    processes = [*launcher.processes, *(process for outsider in outsiders for process in outsider.processes)]
    return Simulated(
        tuple(client.outputs),
        tuple(client.refusals),
        finish,
        tuple(client.notes),
        tuple(client.heard),
        tuple(client.letters),
        tuple(client.settled_tickets),
        tuple(record for process in processes if (record := process.record) is not None),
        tuple(client.output_times_s),
        tuple((approval, client.outcomes.get(approval.id)) for approval in client.approvals),
    )


async def _precede(
    plan: Plan,
    inputs: Sequence[tuple[str, bytes]],
    settings: Settings,
    seed: int,
    network: MemoryTransport,
    killed_at_s: float,
) -> None:
    """Run a coordinator on these inputs, and kill it: it says nothing more, and its ends of all ports are gone."""
    client = _Recorder()
    ends = _Ends(network)
    session = Session(plan, settings, random.Random(f"before {seed}"))
    coordinator = Coordinator(session, ends, ExternalLauncher(), client, client)
    with trio.move_on_at(killed_at_s):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(coordinator.run)
            for ticket, (port, payload) in enumerate(inputs, 1):
                if not await coordinator.wait_for_room():
                    break
                coordinator.submit(port, [(ticket, payload)])
            await trio.sleep_forever()
    ends.close()


class _Ends:
    """The ports of one coordinator, which all end with it."""

    def __init__(self, network: MemoryTransport) -> None:
        self._network = network
        self._open: list[Sender | Receiver] = []

    def sender(self, endpoint: str, *, bind: bool, watch: bool = False, security: Security | None = None) -> Sender:
        """See :class:`~fabric.transport.ports.Transport`."""
        sender = self._network.sender(endpoint, bind=bind)
        self._open.append(sender)
        return sender

    def receiver(
        self,
        endpoint: str,
        *,
        bind: bool,
        watch: bool = False,
        frames_max: int = 0,
        security: Security | None = None,
    ) -> Receiver:
        """See :class:`~fabric.transport.ports.Transport`."""
        receiver = self._network.receiver(endpoint, bind=bind)
        self._open.append(receiver)
        return receiver

    def close(self) -> None:
        """Give all of them up."""
        for end in self._open:
            end.close()


class _Watched(Session):
    """A session that shows what it is told and what it answers."""

    def __init__(
        self,
        plan: Plan,
        settings: Settings,
        rng: random.Random,
        watch: Watch | None,
        traced: About | None,
        durable: str,
    ) -> None:
        super().__init__(plan, settings, rng, traced=traced, durable=durable)
        self._watch = watch

    def handle(self, event: Event, now_s: float) -> list[Command]:
        commands = super().handle(event, now_s)
        if self._watch is not None:
            self._watch(now_s, event, commands)
        return commands


_Answers: TypeAlias = tuple[trio.MemorySendChannel[str | None], trio.MemoryReceiveChannel[str | None]]


class _Recorder:
    """A client that remembers."""

    def __init__(self) -> None:
        self.outputs: list[tuple[str, bytes]] = []
        self.refusals: list[Refuse] = []
        self.notes: list[Note] = []
        self.heard: list[Heard] = []
        self.letters: list[DeadLetter] = []
        self.settled_tickets: list[int] = []
        self.output_times_s: list[float] = []
        self.approvals: list[Approval] = []
        self.outcomes: dict[str, Outcome] = {}
        self.when_asked: Callable[[Approval], None] | None = None
        self._written: list[tuple[str, bytes]] | None = None
        self._answers = defaultdict[int, _Answers](lambda: trio.open_memory_channel[str | None](1))

    def resume(self, kept: SimulatedLog, session: Session) -> Resumed:
        """Bring a session back."""
        relived = session.relive(kept.history)
        self._written = kept.written
        return Resumed(Recorder(kept.log, self.noted, kept.in_thread, base=kept.base), relived)

    async def take_up(self, resumed: Resumed) -> Lost | None:
        """Write down what of the outputs is written, and write the rest; return why the session cannot go on."""
        assert self._written is not None
        count = len(self._written)
        resumed.recorder.emitted(Emitted(count))
        lost = await resumed.recorder.finish()
        if lost is None:
            self._written.extend((output.port, output.payload) for output in resumed.relived.outputs[count:])
        return lost

    def opened(self) -> None:
        pass

    def delivered(self, outputs: Sequence[Output]) -> None:
        if self._written is not None:
            self._written += [(output.port, output.payload) for output in outputs]
        self.outputs += [(output.port, output.payload) for output in outputs]
        self.output_times_s += [trio.current_time()] * len(outputs)

    def refused(self, refusal: Refuse) -> None:
        self.refusals.append(refusal)

    def answered(self, answer: Answered) -> None:
        self._answers[answer.ticket][0].send_nowait(answer.error)

    async def wait_answered(self, ticket: int) -> str | None:
        """Wait for the answer to what was asked with this ticket; return why it cannot be, if it cannot."""
        return await self._answers[ticket][1].receive()

    def asked(self, approval: Approval) -> None:
        self.approvals.append(approval)
        if self.when_asked is not None:
            self.when_asked(approval)

    def asked_no_more(self, approval: str, outcome: Outcome) -> None:
        self.outcomes[approval] = outcome

    def buried(self, letter: DeadLetter) -> None:
        self.letters.append(letter)

    def tapped(self, messages: Sequence[Seen]) -> None:
        pass

    def observed(self, heard: Sequence[Heard]) -> None:
        self.heard += heard

    def settled(self, tickets: Sequence[int]) -> None:
        self.settled_tickets += tickets

    def noted(self, note: Note) -> None:
        self.notes.append(note)

    def worker_wrote(self, worker: str, line: str) -> None:
        pass


class _MemoryLauncher:
    """Starts processes that are tasks."""

    def __init__(
        self, transport: MemoryTransport, runners: Mapping[str, Runner], nursery: trio.Nursery, faults: Faults
    ) -> None:
        self._transport = transport
        self._runners = runners
        self._nursery = nursery
        self._faults = faults
        self._incarnations: Counter[str] = Counter()
        self.processes: list[Process] = []

    async def launch(self, worker: WorkerPlan) -> Worker:
        if worker.runner == "external":
            return await ExternalLauncher().launch(worker)
        runner = self._runners.get(worker.spec.kind)
        if runner is None or worker.transport == "stdio":
            raise WorkerFailed(f"no runner for a {worker.spec.kind} on {worker.transport} was given to the simulator")
        self._incarnations[worker.name] += 1
        process = Process(worker, self._incarnations[worker.name], self._transport, self._faults)
        self.processes.append(process)
        self._nursery.start_soon(process.run, runner)
        await trio.lowlevel.checkpoint()
        return process
