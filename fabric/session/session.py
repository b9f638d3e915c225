"""One running session: every event in, the commands that follow out.

Here events are dispatched, commands get their order, and workers live and end. The messages are the matter of
:class:`Traffic`, which has a :class:`Barrier` for each barrier and a :class:`Monitor` for each session wire. A node
that workers run is a :class:`NodeState`, each worker a :class:`WorkerState`, with the machines of its life
(:class:`Startup`, :class:`Shutdown`, :class:`Steering`) and of its edges (:class:`Delivery`, :class:`ControlEdge`).
:class:`Drain` knows what has ended.

Once the session has failed it only waits for its workers to be gone: no message moves any more, so that what it then
reports as lost is lost.
"""

from __future__ import annotations

__all__ = ["Session", "Settings"]

import random
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import msgspec

from fabric.errors import ConfigError
from fabric.graph.ir import End
from fabric.plan.plan import Plan
from fabric.session.attachment import AWAITED_NOTE_S
from fabric.session.calls import TIMERS, Calls
from fabric.session.delivery import Message
from fabric.session.drain import Drain, Ending
from fabric.session.durable import DurableTraffic
from fabric.session.events import (
    Answered,
    Asked,
    BadInput,
    Command,
    Continue,
    Decided,
    Event,
    Exited,
    Finish,
    Frames,
    Input,
    InputClosed,
    Interrupted,
    Launched,
    LaunchFailed,
    Level,
    LookAfter,
    LossReport,
    Opened,
    OutputBroken,
    Release,
    Retry,
    Send,
    Served,
    SetTimer,
    Signal,
    Start,
    Tap,
    TimerFired,
    Told,
    Wish,
)
from fabric.session.exits import Crashed, Ended, Failed, Stopped, meaning_of
from fabric.session.failure import Failure, name_of
from fabric.session.figures import Figures
from fabric.session.hearing import Hearing
from fabric.session.history import History, Paid, text_of
from fabric.session.money import RateOf, no_rate
from fabric.session.nodes import NodeState, nodes_of
from fabric.session.outbox import Outbox
from fabric.session.polling import Polls
from fabric.session.recall import Recall
from fabric.session.reliving import Inherited, Relived, relive
from fabric.session.routes import CompiledRoute
from fabric.session.settings import Settings
from fabric.session.snapshot import Snapshot
from fabric.session.spans import About, Spans
from fabric.session.spending import Spending
from fabric.session.startup import where_awaited
from fabric.session.traces import Traces
from fabric.session.traffic import Traffic
from fabric.session.usage import read_usage
from fabric.session.worker_state import WorkerState
from fabric.wire.calls import BUDGET_EXHAUSTED
from fabric.wire.codec import FRAME_BYTES_MAX, encode
from fabric.wire.control import RESUME
from fabric.wire.frame import Data, Eof
from fabric.wire.lifecycle import BROKE_OFF, State, Step

_FORCED = Failure(0, "stopped", "ended by force before everything was done")


class Session:
    """One run of a plan. Events in, commands out; see ``events``.

    Args:
        plan: what to run.
        settings: times and policy.
        rng: source of trace and span ids.
        rate_of: what models cost.
        traced: what spans tell of it; ``None``: there are none.
        durable: id of the session, if it records its history (``Record``); empty: it does not.
        traces: make its messages, for who wants to know what comes of what; ``None``: as always.

    Attributes:
        recall: what is recorded of the turns that are under way, if the session is durable.
    """

    def __init__(
        self,
        plan: Plan,
        settings: Settings,
        rng: random.Random,
        rate_of: RateOf = no_rate,
        traced: About | None = None,
        durable: str = "",
        traces: Traces | None = None,
    ) -> None:
        if durable and settings.policy != "block":
            raise ConfigError(f"a durable session keeps every message: its policy is 'block', not {settings.policy!r}")
        self.plan = plan
        self._settings = settings
        self._now_s = 0.0
        self._rng = rng
        self._out = Outbox()
        routes = {route.source: CompiledRoute(route) for route in plan.routes}
        self._nodes = nodes_of(plan, settings, routes)
        self._workers = {worker.name: worker for node in self._nodes.values() for worker in node.workers}
        self._polls = Polls()
        self._spans = Spans(traced)
        nodes = {worker.name: worker.node for worker in plan.workers}
        self.recall = Recall(durable, nodes, self._record, self._out) if durable else None
        self._calls = Calls(plan, self._out, settings, rng, self._spans.calls, self.recall)
        self._spending = Spending(plan, settings.limits, rate_of, self._out)
        make: Callable[..., Traffic] = Traffic if self.recall is None else self._durable_traffic(durable, self.recall)
        self._traffic: Traffic = make(
            plan,
            routes,
            self._nodes,
            self._out,
            rng,
            calls=self._calls,
            closed=self._merge_closed,
            fail=self._fail,
            settings=settings,
            spans=self._spans,
            traces=traces,
        )
        self._durable = self._traffic if isinstance(self._traffic, DurableTraffic) else None
        self._hearing = Hearing(
            self._out,
            self._traffic,
            self._calls,
            self._spending,
            self._spans,
            paid=self._paid,
            trusted=self._restore,
            restored=self._running,
            ended=self._port_ended,
            fault=self._at_fault,
        )
        self._relived = False
        self._drain = Drain(plan, lambda name: self._nodes[name].idle, self._traffic.starved)
        self._gone: set[str] = set()
        self._resumed: set[str] = set()
        self._interrupts = 0
        self._limit: Failure | None = None
        self._open = False
        self._failure: Failure | None = None
        self._finished = False

    # --- what the shell asks ---

    @property
    def has_work(self) -> bool:
        """Whether the shell should feed ``Continue``, between other events, until this is false."""
        return self._traffic.waits and self._failure is None

    @property
    def wants_input(self) -> bool:
        """Whether an ``Input`` is welcome now. One that comes all the same is taken: the bound is then the shell's."""
        traffic = self._traffic
        return self._open and not (traffic.waits or self.closing or traffic.full)

    @property
    def closing(self) -> bool:
        """Whether no input will ever be welcome again."""
        return self._finished or self._failure is not None or self._traffic.entrance.all_closed

    def snapshot(self) -> Snapshot:
        """Return how things stand."""
        spending = self._spending
        return msgspec.structs.replace(self._traffic.snapshot(), usage=spending.usage, budget=spending.status)

    def figures(self, now_s: float) -> Figures:
        """Return what was counted for whoever measures."""
        workers = self._workers.values()
        asked = ((worker.name, worker.pulse.asked_s) for worker in workers if worker.answers_pulse)
        return msgspec.structs.replace(
            self._traffic.figures(now_s),
            latency={worker.name: worker.latency.durations for worker in workers},
            tools=self._calls.figures,
            context_tokens=self._spending.context_tokens,
            unanswered_s={name: asked_s for name, asked_s in asked if asked_s is not None},
        )

    def set_grace(self, grace_s: float) -> None:
        """Replace the grace time of the settings, for workers that are not asked to end yet."""
        self._settings = msgspec.structs.replace(self._settings, grace_s=grace_s)
        for worker in self._workers.values():
            worker.shutdown.grace_s = grace_s

    def relive(
        self,
        entries: Iterable[History],
        *,
        allow_changed: bool = False,
        inherited: Sequence[Inherited] = (),
        before: Callable[[int, Message | None], object] | None = None,
    ) -> Relived:
        """Bring a durable session to where its history says that it was; before ``Start``, and once.

        Args:
            entries: all that were recorded, in order.
            allow_changed: whether entries are left out that this program has no place for.
            inherited: whose the first entries are, in a fork.
            before: called before each entry, with its number and the message that a worker has taken by it, if one has.

        Raises:
            HistoryUnfit: an entry cannot have happened in this program.
        """
        assert self._durable is not None
        assert not self._relived
        told = self._spans.told_by if self._spans.wanted else len
        usage = partial(getattr, self._spending, "usage")
        how = partial(relive, allow_changed=allow_changed, inherited=inherited, before=before)
        relived = how(self._durable, self._out, tuple(entries), told, usage)
        self._durable.offer_standing()
        self._relived = relived.entries > 0
        return relived

    def handle(self, event: Event, now_s: float) -> list[Command]:
        """Return the commands that follow, in the order in which they have to be performed."""
        self._now_s = now_s
        self._calls.now_s = now_s
        self._traffic.set_clock(now_s)
        self._hearing.now_s = now_s
        if self._finished:
            return []
        if self._failure is None:
            self._handle(event)
            if self._spending.exhausted and self._limit is None and self._failure is None:
                self._limit_reached(Failure(3, BUDGET_EXHAUSTED, self._spending.exhausted))
            self._step()
        else:
            self._handle_failed(event)
        self._tell()
        self._finish_if_over()
        commands = self._out.take()
        if self._polls.open:
            commands = self._polls.gather(commands)
        return self._spans.told_by(commands) if self._spans.wanted else commands

    def _step(self) -> None:
        """Let messages move; when none can, see what has ended."""
        if self._calls.possible:
            self._traffic.move_calls()
        self._traffic.advance()
        if self._calls.possible:  # what can be done without a worker is done
            self._traffic.move_calls()
            for caller in self._calls.take_told():
                self._workers[caller].shutdown.moved(self._now_s)
        for worker in self._spending.take_told():
            self._workers[worker].shutdown.moved(self._now_s)
        if self._traffic.waits or self._failure is not None:
            return
        for port in sorted(self._traffic.entrance.closed):
            self._end(self._drain.input_closed(self.plan.inputs[port]))
        for node in self._traffic.take_rested():
            self._end(self._drain.rested(node))
        for node in self._calls.take_ended():
            self._end(self._drain.input_closed(node))
        if self._settings.refusal_ends and self._traffic.entrance.all_closed:
            self._resume_for_good()

    def _tell(self) -> None:
        """Command what the event brought about for the workers and for the client."""
        while self._failure is None and (nodes := self._traffic.take_to_feed()):
            for node in nodes:
                if not self._traffic.holds_back(node):
                    self._feed(node)
        if self._failure is None and (held := self._traffic.relieved()) is not None:
            self._feed(held)
        self._traffic.tell()

    def _handle(self, event: Event) -> None:
        match event:
            case Frames(name, port, raw):
                self._hearing.take(self._workers[name], port, raw)
            case Input():
                self._traffic.take_in(event)
            case InputClosed(port):
                self._traffic.entrance.close(port)
            case Continue():
                pass
            case LookAfter():
                self._look_after()
            case Start():
                if self._durable is not None and self._relived:
                    self._durable.resumed()
                for worker in self._workers.values():
                    self._launch(worker)
                self._open_if_ready()
                self._end(self._drain.begin())
            case TimerFired(("wall" | "overtime" as kind, _)):
                self._time_is_up(kind)
            case TimerFired((kind, _) as key) if kind == TIMERS:
                self._calls.timer(key)
            case Decided():
                self._calls.decided(event)
            case Served():
                self._calls.served(event)
            case TimerFired((kind, name)):
                self._timer(kind, self._workers[name])
            case Exited():
                self._exited(self._workers[event.worker], event)
            case Launched(name, pid):
                worker = self._workers[name]  # what it was sent while it was started has not reached it
                self._launched(worker, pid)
                nobody_asked_for = worker.external and worker.input_ended and worker.idle
                if worker.fault is not None or nobody_asked_for:
                    self._out.do(*worker.shutdown.kill())
                elif worker.steering.stopping:
                    self._out.do(Signal(name, "TERM"))
            case LaunchFailed(name, reason) if self._workers[name].by_hand:
                self._launch_failed(name, reason)
                self._stopped(self._workers[name], f"could not be started: {reason}")
            case LaunchFailed(name, reason) if self._workers[name].incarnation > 1:
                self._launch_failed(name, reason)
                text = f"{name_of(name)} could not be started again: {reason}"
                failure = Failure(1, "worker_not_started", text)
                self._crashed(self._workers[name], Crashed(failure), counts=True)
            case LaunchFailed(name, reason):
                self._launch_failed(name, reason)
                self._fail(Failure(4, "worker_not_started", f"{name_of(name)} could not be started: {reason}"))
            case BadInput(detail, ticket):
                self._traffic.bad_input(detail, ticket)
            case OutputBroken(reason):
                self._fail(Failure(1, "output_closed", reason))
            case Asked(name, wish, ticket):
                for worker, each in self._meant(name, ticket):
                    self._asked(worker, wish, each)
            case Told(name, payload, ticket):
                for worker, each in self._meant(name, ticket):
                    self._told(worker, payload, each)
            case Retry(name, payload, ticket):
                self._traffic.retry(name, payload, ticket)
            case Tap(sinks):
                self._traffic.tap(sinks)
            case Interrupted(number):
                self._interrupted(number)

    def _handle_failed(self, event: Event) -> None:
        """Nothing but the end of the workers matters any more."""
        match event:
            case TimerFired(("grace", name)) if name not in self._gone:
                self._out.do(*self._workers[name].shutdown.timer(self._now_s, owes=True))
            case Frames(name, "telemetry", raws):  # what was paid for counts
                self._hearing.take_last(name, raws)
            case Exited(name, status):
                self._gone.add(name)
                self._spending.gone(name)
                self._workers[name].life.advance(Step.EXIT)
                self._out.do(Release(name))
                self._out.note("info", "worker.exited", worker=name, status=status)
            case Launched(name):  # it was started while the session failed: no signal has reached it
                self._out.do(*self._workers[name].shutdown.kill())
            case LaunchFailed(name, reason):
                self._launch_failed(name, reason)
            case Input():
                self._traffic.refuse_late(event.port, event.messages)
            case Asked(ticket=ticket) | Told(ticket=ticket) | Decided(ticket=ticket):
                self._out.do(Answered(ticket, "the session is ending"))
            case Retry(name, payload, ticket):
                self._traffic.refuse_late(name, [(ticket, payload)])
            case Interrupted(number):
                self._interrupted(number)

    def _meant(self, name: str, ticket: int) -> list[tuple[WorkerState, int]]:
        """Return the workers that are asked by this name, each with a ticket: a worker, or all replicas of a node."""
        if name in self._workers:
            return [(self._workers[name], ticket)]
        replicas = (worker.name for worker in self._nodes[name].workers)
        return [(self._workers[replica], each) for replica, each in self._polls.ask(ticket, replicas)]

    # --- starting ---

    def _launch(self, worker: WorkerState) -> None:
        worker.fed_s = self._now_s
        self._out.do(*worker.startup.begin(self._now_s, limited=not worker.external))
        if worker.external and self._interrupts:  # who does not come back is not waited for any longer
            self._out.do(*worker.shutdown.asked(self._now_s))

    def _launched(self, worker: WorkerState, pid: int | None) -> None:
        """It is a process; or the sockets are open for one that somebody else starts, or that is there already."""
        if worker.external:
            self._out.note("info", "worker.awaited", worker=worker.name, host=worker.plan.host)
            self._out.do(SetTimer(("awaited", worker.name), self._now_s + AWAITED_NOTE_S))
            self._out.do(*worker.startup.limit(self._now_s))
            if not worker.steering.stopping:
                self._out.do(*worker.steering.answers())  # who comes, and when, is somebody else's
        else:
            process = {} if pid is None else {"pid": pid}
            self._out.note("info", "worker.spawned", worker=worker.name, **process)
        if worker.attachment is not None and worker.fault is None and not worker.steering.stopping:
            self._out.do(*worker.attachment.opened(f"{self._rng.getrandbits(64):016x}", self._now_s))

    def _open_if_ready(self) -> None:
        if not self._open and not any(worker.starting for worker in self._workers.values()):
            self._open = True
            self._out.do(Opened())
            wall_s = self._settings.limits.wall_s
            if wall_s is not None:  # from now: how long processes take to start is no matter of the program
                self._out.do(SetTimer(("wall", ""), self._now_s + wall_s))

    def _running(self, worker: WorkerState) -> None:
        """The worker may be trusted with messages."""
        self._out.note("info", "worker.ready", worker=worker.name)
        self._out.do(*worker.steering.answers())
        worker.delivery.may_send = worker.control.may_send = True
        worker.was_paused = False  # if it was, it says so itself by now
        self._traffic.send_control(worker)
        self._open_if_ready()
        self._traffic.feed(worker)
        if worker.input_ended:
            self._end_input(worker)

    def _restore(self, worker: WorkerState) -> None:
        """The worker may be trusted; one that takes the place of another is first made to be as that one was."""
        if worker.forgets and worker.has_past and not self._forgets(worker):
            return
        told = worker.restored_by(ending=self._ending)
        if not told:
            self._running(worker)
            return
        frames = [frame for fields in told for frame in worker.control.command(fields)]
        if any(len(frame) > FRAME_BYTES_MAX for frame in frames):
            text = f"{name_of(worker.name)} cannot be given back its memory: it fits into no frame"
            self._fail(Failure(1, "memory_too_large", text))
            return
        self._out.note("info", "worker.restored", worker=worker.name, messages=len(told[-1].get("set_memory", ())))
        for raw in frames:
            self._out.do(Send(worker.name, "ctrl_in", raw))
        if not worker.restoring:
            self._running(worker)

    def _forgets(self, worker: WorkerState) -> bool:
        """Whether a worker may go on that cannot be given back what it knew in an earlier run of the session."""
        worker.has_past = False
        if self._settings.of(worker.plan.node).on_crash == "forget":
            self._out.note("warning", "worker.forgot", worker=worker.name)
            return True
        text = (
            f"{name_of(worker.name)} has answered messages in an earlier run of this session, and cannot be given back"
            " what it knew then; with on_crash = 'forget' it goes on without"
        )
        self._fail(Failure(1, "memory_lost", text))
        return False

    def _launch_failed(self, name: str, reason: str) -> None:
        self._out.note("warning", "worker.not_started", worker=name, reason=reason)
        self._gone.add(name)
        self._workers[name].life.advance(Step.EXIT)
        self._out.do(Release(name))

    def _timer(self, kind: str, worker: WorkerState) -> None:
        if kind == "restart" and worker.supervisor.due:
            self._start_again(worker, by_hand=False)
        if kind == "stall":  # of a process that is gone, too: the timer is the worker's
            self._silent(worker)
        elif worker.state is State.EXITED:
            return  # the others may need longer than its grace
        elif kind == "attach" and worker.attachment is not None:
            self._out.do(*worker.attachment.timer(self._now_s))
            self._hearing.attached(worker)
        elif kind == "awaited" and worker.starting and worker.attachment is not None:
            self._out.note(
                "warning",
                "worker.awaited",
                worker=worker.name,
                host=worker.plan.host,
                missing=worker.attachment.missing,
            )
            self._out.do(SetTimer(("awaited", worker.name), self._now_s + AWAITED_NOTE_S))
        elif kind == "grace":
            owes = worker.owes and not self._waits_for_others(worker)
            self._out.do(*worker.shutdown.timer(self._now_s, owes=owes))
        elif kind == "ready" and (worker.starting or worker.restoring):
            self._not_ready(worker)

    def _look_after(self) -> None:
        for worker in self._workers.values():
            if worker.answers_pulse and not worker.delivery.idle:
                for raw in worker.pulse.asked(self._now_s):
                    self._out.do(Send(worker.name, "ctrl_in", raw))

    def _silent(self, worker: WorkerState) -> None:
        """See whether a worker has been silent for too long."""
        since_s = worker.silent_since_s
        if since_s is not None and self._waits_for_others(worker):  # it is they who are silent
            since_s = self._now_s
        commands, too_long = worker.silence.timer(self._now_s, since_s)
        self._out.do(*commands)
        if too_long:
            text = f"{name_of(worker.name)} has a message and gave no sign of life within its idle timeout"
            self._at_fault(worker, Failure(1, "idle_timeout", text))

    def _not_ready(self, worker: WorkerState) -> None:
        """A worker takes too long for its start."""
        missing = worker.startup.missing() or "did not take back what it was set to"
        if worker.external and worker.attaching is not None:
            within = f"within {self._settings.handshake_timeout_s or 0:g} s"
            missing = f"{worker.attaching.missing} {within}{where_awaited(worker.plan)}"
        if worker.by_hand:
            worker.steering.give_up(missing)
            self._stop(worker)
            return
        failure = Failure(4, "ready_timeout", f"{name_of(worker.name)} {missing}")
        if worker.incarnation > 1:
            self._at_fault(worker, failure)
        else:
            self._fail(failure)

    def _interrupted(self, number: int) -> None:
        """First: take no more input, finish the rest. Second: end the workers now. Third: without asking."""
        self._interrupts += 1
        if self._interrupts == 1 and self._failure is None:
            self._take_no_more()
            self._calls.hurry(self._settings.grace_s)
            for worker in self._workers.values():
                waited_for = worker.starting and not worker.external
                if worker.owes and not waited_for and worker.state is not State.EXITED:
                    self._out.do(*worker.shutdown.asked(self._now_s))
            return
        if self._failure is None:
            self._fail(msgspec.structs.replace(_FORCED, exit_code=128 + number))
            return
        self._failure = msgspec.structs.replace(self._failure, exit_code=128 + number)
        for name in sorted(self._workers.keys() - self._gone):
            self._out.do(*self._workers[name].shutdown.kill())

    def _take_no_more(self) -> None:
        """Close the inputs; see to it that what is inside can be finished."""
        self._traffic.entrance.close()
        for worker in self._workers.values():
            if worker.steering.stopped:
                self._abandon(worker)
            if worker.paused and worker.state is State.RUNNING:  # what it has is to be finished
                self._resume(worker, "the session is ending")

    def _resume_for_good(self) -> None:
        """End each pause that nobody can end any more: no operator can be reached, and what told the worker is over."""
        for worker in self._workers.values():
            paused = worker.paused and worker.state is State.RUNNING and worker.name not in self._resumed
            if paused and self._drain.ended(End(worker.plan.node, "ctrl_in")):
                self._resumed.add(worker.name)
                self._resume(worker, "nobody can end its pause any more")

    def _resume(self, worker: WorkerState, reason: str) -> None:
        self._out.note("warning", "worker.resumed", worker=worker.name, reason=reason)
        for raw in worker.control.command(RESUME):
            self._out.do(Send(worker.name, "ctrl_in", raw))

    # --- limits ---

    def _merge_closed(self, merge: str) -> bool:
        return self._drain.closed(merge)

    @property
    def _ending(self) -> bool:
        """Whether nobody may come any more who starts a worker, or ends its pause."""
        return self._interrupts > 0 or self._limit is not None

    @property
    def _refusal_ended(self) -> bool:
        """Whether no more input was taken because some of it was refused."""
        return self._traffic.refused_any and self._settings.refusal_ends

    @property
    def _cut_short(self) -> bool:
        """Whether there may be more input than was taken: a durable session goes on with it in its next run."""
        return self._ending or self._refusal_ended

    def _waits_for_others(self, worker: WorkerState) -> bool:
        """Whether a worker waits for a tool, or until others have settled what they had reserved."""
        return self._calls.waits(worker.name) or self._spending.waits(worker.name)

    def _limit_reached(self, limit: Failure) -> None:
        """Take no more input; what is under way goes on as far as it can."""
        self._limit = limit
        self._out.note("warning", "budget.exhausted", code=limit.code, detail=limit.message)
        self._traffic.closed_because = f"the session takes no more input: {limit.message}"
        self._take_no_more()

    def _time_is_up(self, kind: str) -> None:
        """First: finish what is under way, with no further calls of models. After the grace time: end it."""
        text = f"the time limit of {self._settings.limits.wall_s:g} s is reached"
        if kind == "overtime":
            over = f"{text}, and {self._settings.grace_s:g} s later not everything was done"
            self._fail(Failure(3, "time_limit", over))
            return
        self._spending.close(text)
        if self._limit is None:
            self._limit_reached(Failure(3, "time_limit", text))
        self._out.do(SetTimer(("overtime", ""), self._now_s + self._settings.grace_s))

    # --- what workers say ---

    def _at_fault(self, worker: WorkerState, failure: Failure) -> None:
        """This process of a worker cannot be trusted any more: what it had goes to another. Its first fault is told."""
        if worker.fault is None:
            worker.fault = failure
            worker.delivery.may_send = worker.control.may_send = False  # it would be blamed for what it is still sent
            self._out.note("error", "worker.at_fault", worker=worker.name, code=failure.code, detail=failure.message)
            self._out.do(*worker.shutdown.kill())

    def _durable_traffic(self, durable: str, recall: Recall) -> Callable[..., Traffic]:
        return partial(DurableTraffic, durable=durable, paid=self._count, recall=recall)

    def _record(self, entry: History) -> None:
        """Something that a worker does has an entry of its own."""
        assert self._durable is not None
        self._durable.history.happen(entry)

    def _paid(self, worker: str, frame: Data) -> None:
        """Count what telemetry tells of a call of a model; in a durable session it is an entry of its own."""
        if self._durable is None:
            self._spending.telemetry(worker, frame.payload)
        elif read_usage(frame.payload) is not None:
            cause = frame.provenance.parents[:8].hex() if frame.provenance is not None else ""
            self._durable.history.happen(Paid(worker, text_of(frame.payload)[0], cause))

    def _count(self, worker: str, usage: bytes) -> None:
        """Count what was paid for, now or in an earlier run."""
        if self._durable is not None and self._durable.history.reliving:
            self._spending.paid_before(worker, usage)
        else:
            self._spending.telemetry(worker, usage)

    def _port_ended(self, worker: WorkerState, port: str) -> None:
        if port == "output":
            early = worker.state is State.RUNNING
            worker.life.advance(Step.EOF_OUT)
            if early:
                self._left_early(worker)
            self._calls.deaf(worker.name)
            self._spending.deaf(worker.name)
            if worker.plan.calls:
                self._out.do(Send(worker.name, "tool_resp", encode(Eof("fabric"))))
            self._out.do(*worker.shutdown.output_ended(self._now_s))
            self._out.note("debug", "channel.eof", worker=worker.name, port=port)
        worker.ended_ports.add(port)
        if not worker.steering.stopping:  # it comes back, or its exit ends the port
            if port == "tool_req":
                self._calls.ended(worker.name)
            self._end_port(worker, port)

    def _left_early(self, worker: WorkerState) -> None:
        """The worker ended its output by itself."""
        if worker.plan.transport == "stdio" and not worker.answered:
            text = f"{name_of(worker.name)} ended before it answered anything"
            self._fail(Failure(4, "worker_not_started", text))
        else:
            self._traffic.leave_behind(worker)

    def _feed(self, node: NodeState) -> None:
        for worker in node.receivers():
            self._feed_worker(worker)

    def _feed_worker(self, worker: WorkerState) -> None:
        """Send what may be sent."""
        for raw in worker.ask_for_memory():
            self._out.do(Send(worker.name, "ctrl_in", raw))
        taken = worker.take()
        if taken:
            if self._spans.wanted:
                self._spans.fed(worker.plan, taken)
            worker.fed_s = self._now_s
            worker.latency.given(len(taken), self._now_s)
            self._out.do(*worker.silence.fed(self._now_s))
            if self._interrupts:
                self._out.do(*worker.shutdown.asked(self._now_s))
            self._traffic.took(worker, taken)
        for raw in worker.written(taken):
            self._out.do(Send(worker.name, "input", raw))

    # --- ends ---

    def _end(self, endings: list[Ending]) -> None:
        for ending in endings:
            for barrier in ending.barriers:
                self._traffic.close_barrier(barrier, for_now=self._cut_short)
            for merge in ending.merges:
                self._traffic.close_merge(merge)
            for worker in (worker for name in ending.workers for worker in self._nodes[name].workers):
                worker.input_ended = True
                if worker.state is State.RUNNING and not worker.restoring:
                    self._end_input(worker)
                elif (
                    worker.external and worker.starting and worker.idle
                ):  # nobody is there to be told, and nothing to do
                    self._out.do(*worker.shutdown.kill())
                elif worker.steering.stopped or worker.supervisor.due:  # there is nothing to start it for
                    worker.supervisor.settle()
                    self._end_ports(worker)

    def _end_input(self, worker: WorkerState) -> None:
        worker.life.advance(Step.EOF_IN)
        self._out.do(Send(worker.name, "input", encode(Eof("fabric"))))
        self._out.do(*worker.shutdown.asked(self._now_s))

    def _exited(self, worker: WorkerState, event: Exited) -> None:
        name, state = worker.name, worker.state
        if worker.external and event.status == 0 and state is not State.DRAINED:  # the end that came was of the past
            event = msgspec.structs.replace(event, status=BROKE_OFF)
        meaning = meaning_of(worker, event)
        self._spans.gone(name)
        self._gone.add(name)
        self._calls.gone(name)
        self._spending.gone(name)
        worker.life.advance(Step.EXIT)
        self._out.do(Release(name))
        clean = state is State.DRAINED and event.status == 0
        level: Level = "info" if clean else "warning"
        if event.status == BROKE_OFF:  # nobody here knows how it ended, or whether
            self._out.note("info", "worker.disconnected", worker=name, state=state.name)
        else:
            self._out.note(level, "worker.exited", worker=name, status=event.status, state=state.name)
        match meaning:
            case Ended():
                self._end_ports(worker)
            case Crashed():
                self._crashed(worker, meaning)
            case Stopped(error):
                self._stopped(worker, error)
            case Failed(failure):
                self._fail(failure)

    def _end_ports(self, worker: WorkerState) -> None:
        """The worker is gone for good, and with it all that it could still have said."""
        self._calls.ended(worker.name)
        self._out.do(*worker.steering.answers(f"{name_of(worker.name)} has ended"))
        self._give_up_control(worker)
        for port in ("output", "ctrl_out", "telemetry"):
            self._end_port(worker, port)

    def _end_port(self, worker: WorkerState, port: str) -> None:
        """A port of a worker has ended; that of its node has when those of all replicas have."""
        node = self._nodes[worker.plan.node]
        if node.port_ended(worker, port):
            self._end(self._drain.port_ended(End(node.name, port)))

    # --- workers that crash ---

    def _crashed(self, worker: WorkerState, crash: Crashed, *, counts: bool = False) -> None:
        """Start it again, if it does not crash too often; what it had not acknowledged goes to the next process.

        Args:
            counts: also of a worker that somebody else starts, and whose crashes are his matter.
        """
        failure = crash.failure
        message, deaths = worker.delivery.crashed(crash.span_id)
        if self._spans.wanted and message is not None:
            self._spans.died(worker.plan, message, failure.message)
        if crash.told and self._settings.refusal_ends and not worker.plan.spec.part_of:
            self._fail(failure)
            return
        poisoned = message is not None and (crash.told or deaths >= worker.redeliveries_max)
        if message is not None and poisoned:
            self._traffic.poisoned(worker, message, failure.message, deaths, crash.stderr)
        explained = self._nodes[worker.plan.node].explained(worker, deaths) if poisoned else 0
        supervisor = worker.supervisor
        in_s: float | None
        if worker.external and not counts:
            in_s = supervisor.lost(self._now_s, answered=worker.answered)
        else:
            in_s = supervisor.crashed(self._now_s, answered=worker.answered, explained=explained)
        if in_s is None:
            often = f"; it has crashed {worker.supervisor.crashes} times in {self._settings.restart_period_s:g} s"
            self._fail(msgspec.structs.replace(failure, message=failure.message + often))
            return
        if worker.forgets and self._settings.of(worker.plan.node).on_crash == "fail":
            lost = "; its memory is gone with it, and cannot be rebuilt"
            self._fail(msgspec.structs.replace(failure, message=failure.message + lost))
            return
        if worker.plan.compat:  # what it had may have had its effect already
            self._traffic.give_up(worker)
        again = worker.delivery.begin(worker.incarnation)
        worker.control.begin(worker.incarnation)
        self._traffic.reconsider(worker)  # markers that it owed do not come any more
        fields = {"worker": worker.name, "in_s": in_s, "redelivered": again, "reason": failure.message}
        self._out.note("warning", "worker.restarting", **fields)
        if worker.input_ended and worker.idle:
            worker.supervisor.settle()
            self._end_ports(worker)
            return
        self._out.do(SetTimer(("restart", worker.name), worker.supervisor.due_s))
        self._open_if_ready()  # it may be the one that the others waited for

    # --- control by hand ---

    def _told(self, worker: WorkerState, payload: bytes, ticket: int) -> None:
        """An operator has a control message for a worker."""
        if worker.plan.transport != "zmq" or not worker.takes_messages:
            why = "has ended" if worker.plan.transport == "zmq" else "reads lines, and has no control channel"
            self._out.do(Answered(ticket, f"{name_of(worker.name)} {why}"))
            return
        if worker.steering.away:
            self._out.do(Answered(ticket, f"{name_of(worker.name)} is stopped; fabric start {worker.name}"))
            return
        self._traffic.order(worker, payload, ticket)

    def _abandon(self, worker: WorkerState) -> None:
        """Nobody will start a worker any more."""
        self._traffic.abandon(worker)
        self._give_up_control(worker)

    def _give_up_control(self, worker: WorkerState) -> None:
        """Nobody is there any more to be told something."""
        for ticket in self._traffic.give_up_control(worker):
            self._out.do(Answered(ticket, f"{name_of(worker.name)} has ended"))

    # --- workers that are stopped and started by hand ---

    def _asked(self, worker: WorkerState, wish: Wish, ticket: int) -> None:
        """The last wish counts; all who asked are told when it is fulfilled."""
        if self._ending or not worker.takes_messages:
            ending = "the session is ending" if self._ending else f"{name_of(worker.name)} has ended"
            self._out.do(Answered(ticket, ending))
            return
        if worker.supervisor.due and wish == "start":  # it need not wait any longer
            worker.steering.asked(wish, ticket, starting=True)
            self._start_again(worker, by_hand=False)
            return
        if worker.supervisor.due:  # it has crashed: there is nothing to stop
            worker.supervisor.settle()
            worker.steering.gone()
            self._out.note("info", "worker.stopped", worker=worker.name, reason="asked")
        match worker.steering.asked(wish, ticket, starting=worker.starting and not worker.external):
            case "stop":
                self._stop(worker)
            case "start":
                self._start_again(worker)
            case "answer":
                self._out.do(*worker.steering.answers())
            case None:
                pass

    def _stop(self, worker: WorkerState) -> None:
        """Let the worker finish what it has and end it in order; what else is for it waits."""
        worker.steering.stopping = True
        worker.delivery.may_send = worker.control.may_send = False
        if worker.state is State.RUNNING:
            self._end_input(worker)
        elif worker.starting:
            self._out.do(*worker.shutdown.terminate(self._now_s))

    def _stopped(self, worker: WorkerState, error: str | None) -> None:
        """The process of a worker that may come back is gone."""
        worker.steering.gone()
        if worker.plan.compat:  # what it had may have had its effect already
            self._traffic.give_up(worker)
        worker.delivery.begin(worker.incarnation)  # what it had waits
        worker.control.begin(worker.incarnation)
        self._traffic.reconsider(worker)
        if worker.steering.starts_again and not worker.input_ended:
            self._out.note("info", "worker.stopped", worker=worker.name, reason="restart")
            self._start_again(worker)
            return
        name = name_of(worker.name)
        answers = worker.steering.answers(error and (error if error.startswith(name) else f"{name} {error}"))
        if worker.input_ended:
            self._end_ports(worker)
        else:
            self._out.note("error" if error else "info", "worker.stopped", worker=worker.name, reason=error or "asked")
            if self._ending:
                self._abandon(worker)
            self._open_if_ready()  # it may be the one that the others waited for
        self._out.do(*answers)

    def _start_again(self, worker: WorkerState, *, by_hand: bool = True) -> None:
        worker.supervisor.settle()
        self._gone.discard(worker.name)
        if by_hand:
            self._traffic.forgotten(worker)
        worker.renew(self._settings, by_hand=by_hand)
        self._launch(worker)

    def _fail(self, failure: Failure) -> None:
        """End the session. The first failure is the one that is told."""
        if self._failure is not None:
            return
        self._traffic.stop()
        self._spending.stop()
        self._calls.stop()
        self._hearing.stop()
        self._failure = failure
        for worker in self._workers.values():
            self._out.do(*worker.steering.answers("the session has failed"))
            self._give_up_control(worker)
        self._out.note("error", "session.failed", code=failure.code, message=failure.message)
        for name in sorted(self._workers.keys() - self._gone):
            self._out.do(*self._workers[name].shutdown.terminate(self._now_s))

    def _finish_if_over(self) -> None:
        if len(self._gone) < len(self._workers):
            return
        if self._failure is None and (self._traffic.waits or not self._drain.over):
            return
        self._finished = True
        losses = self._traffic.loss_report()
        code, error = self._meaning(losses)
        if self._failure is None:
            for name, said in self._traffic.unfinished().items():
                self._out.note("warning", "protocol.unfinished", node=name, detail=said)
            if not self._cut_short:
                self._traffic.finished(code)
        self._out.do(Finish(code, losses, error, self._spending.usage, self._spending.status))

    def _meaning(self, losses: LossReport) -> tuple[int, tuple[str, str] | None]:
        """Return the exit code, and the error if there is one: the worst that has happened."""
        if self._failure is not None:
            return self._failure.exit_code, (self._failure.code, self._failure.message)
        if self._refusal_ended:
            return 1, None
        if self._limit is not None:
            return self._limit.exit_code, (self._limit.code, self._limit.message)
        if losses.lost or losses.dead_lettered:
            return 5, None
        return (6 if self._calls.denied and self._settings.refusal_ends else 0), None
