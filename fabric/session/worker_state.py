"""How one worker stands: the machines of its life and of its edges, and what follows from them.

Of several replicas of a node each is one; what they share is the node's (:mod:`fabric.session.nodes`).
"""

from __future__ import annotations

__all__ = ["WorkerState"]

from collections.abc import Iterable
from typing import Any

from fabric.graph.ir import End
from fabric.plan.plan import WorkerPlan
from fabric.session.attachment import Attachment
from fabric.session.control_edge import ControlEdge
from fabric.session.delivery import Delivery, Unacked
from fabric.session.failure import Failure
from fabric.session.latency import Latency
from fabric.session.pulse import Pulse
from fabric.session.recollection import Recollection
from fabric.session.routes import CompiledRoute
from fabric.session.settings import Settings
from fabric.session.shutdown import Shutdown
from fabric.session.silence import Silence
from fabric.session.snapshot import Activity, WorkerSnapshot, activity
from fabric.session.startup import Startup
from fabric.session.steering import Steering
from fabric.session.supervise import Supervisor
from fabric.wire.codec import encode, encode_batch, encode_traced, join
from fabric.wire.control import BATCHES, GET_MEMORY, MARK_ALL_PORTS, MEMORY, NUMBERED, Ready
from fabric.wire.frame import Data
from fabric.wire.lifecycle import Life, State


class WorkerState:
    """One worker.

    Args:
        plan: of it.
        settings: times.
        ways: what its ports lead to, by port.
        observed: ports of these that somebody only looks at.
        delivery: the edge to it.

    Attributes:
        wired: ports besides ``output`` whose messages belong to the graph.
        redeliveries_max: how many processes of it a message may kill.
        stateful: whether a process of it knows what no other one does.
        remembers: whether it can be asked for its memory, and be given one.
        recollection: of its memory, if it is one that we know how to rebuild.
        input_ended: its data_in has ended, or will as soon as it runs: nothing more comes for it.
        abandoned: it was stopped, and nobody will start it any more.
        answered: whether this process of it has answered anything.
        batches: whether it reads several frames in one.
        ended_ports: what it has ended.
        probed_ports: where its probe is back.
        paused: as it says itself.
        fed_s: when it was last given a message, by the session's clock.
        incarnation: counts its processes, from 1.
        by_hand: whether somebody asked for this process of it.
        attachment: to this process, where it may have been there before; ``None``: we have just started it.
        greeting: what the process that is attached said of itself last.
        has_past: whether it has answered something in an earlier run of this session.
        fault: why this process of it cannot be trusted any more; it is being killed.
    """

    def __init__(
        self,
        plan: WorkerPlan,
        settings: Settings,
        ways: dict[str, CompiledRoute],
        observed: frozenset[str],
        delivery: Delivery,
    ) -> None:
        self.plan = plan
        self.name = plan.name
        self.ways = ways
        self.wired = frozenset(ways) - {"output"} - observed  # to look at a port delays nothing
        self.control = ControlEdge(plan.name)
        self.delivery = delivery
        self.steering = Steering()
        self.latency = Latency()
        self.pulse = Pulse(plan.name)
        self.supervisor = Supervisor(settings)
        self.silence = Silence(plan.name, settings.stall_s, settings.of(plan.node).idle_timeout_s)
        self.stateful = plan.spec.kind == "agent" and not plan.spec.config.get("amnesiac")
        self.recollection = Recollection() if self.stateful else None
        self.stateful |= bool(plan.spec.config.get("state"))
        self.remembers = False
        self.redeliveries_max = settings.of(plan.node).redeliveries_max or settings.redeliveries_max
        self.input_ended = False
        self.abandoned = False
        self.fed_s = 0.0
        self.incarnation = 0
        self.attachment: Attachment | None = None
        self.greeting: Ready | None = None
        self.paused = self.was_paused = self.has_past = False
        self.renew(settings)

    def renew(self, settings: Settings, *, by_hand: bool = False) -> None:
        """Get ready for a new process. The edges keep their messages."""
        self.incarnation += 1
        self.life = Life(self.name)
        timeout_s = settings.handshake_timeout_s if self.external else settings.ready_timeout_s
        self.startup = Startup(self.life, self.incarnation, timeout_s, probe=not self.plan.compat)
        self.shutdown = Shutdown(self.name, settings.grace_s, control=self.plan.transport == "zmq")
        self.steering.begin()
        self.delivery.begin(self.incarnation)
        self.latency.begin()
        self.pulse.begin(self.incarnation)
        self.control.begin(self.incarnation)
        if self.plan.runner != "process":
            settles = self.recollection is not None
            self.attachment = Attachment(self.name, probe=not self.plan.compat, ours=self.plan.ours, settles=settles)
        self.batches = False
        self.answered = False
        self.ended_ports: set[str] = set()
        self.probed_ports: set[str] = set()
        self.was_paused = (self.paused or self.was_paused) and not by_hand
        self.paused = False
        self.by_hand = by_hand
        if by_hand:
            self.forget()
        self.fault: Failure | None = None

    def forget(self) -> None:
        """It begins with nothing, and is set to nothing."""
        self.control.settings.clear()
        self.was_paused = self.has_past = False
        if self.recollection is not None:
            self.recollection.forget()

    def announced(self, ready: Ready) -> None:
        """It says what it can do."""
        if MARK_ALL_PORTS in ready.features:
            self.delivery.mark(self.wired)
        marks = self.plan.ours or (MARK_ALL_PORTS in ready.features and "ctrl_out" in self.wired)
        self.control.marks = marks and not self.plan.compat  # markers of such a worker are refused
        self.remembers = MEMORY in ready.features
        self.delivery.numbering.matters = NUMBERED in ready.features
        if BATCHES in ready.features:
            self.batches = True
            self.delivery.widen()

    @property
    def external(self) -> bool:
        """Whether somebody else starts it."""
        return self.plan.runner == "external"

    @property
    def attaching(self) -> Attachment | None:
        """Its attachment, as long as it is not trusted."""
        return self.attachment if self.attachment is not None and not self.attachment.done else None

    @property
    def marking_ports(self) -> frozenset[str]:
        """The ports besides ``output`` on which it says that it returns markers."""
        marks = self.greeting is not None and MARK_ALL_PORTS in self.greeting.features
        return frozenset(self.plan.endpoints) & {"telemetry", "ctrl_out"} if marks else frozenset()

    def attached(self) -> None:
        """Nothing of the past comes any more: it is what it has said of itself, now or before."""
        assert self.attachment is not None
        self.attachment.done = True
        self.announced(self.greeting or Ready("ready"))
        self.delivery.numbering.begin_anywhere()

    def restored_by(self, *, ending: bool) -> list[dict[str, Any]]:
        """Return what to tell a process that takes the place of another, so that it is as that one was.

        Each setting is an object of its own. A worker refuses an object with a wrong value whole, and what somebody
        set without success must not cost it its memory.

        Args:
            ending: whether the session is to end. Then a pause is over: nobody may come who would end it.
        """
        fields: dict[str, Any] = {}
        if self.was_paused and not ending:
            fields["pause"] = True
        stayed = self.attachment is not None  # perhaps, and remembers what this session knows nothing of
        if self.recollection is not None and self.remembers and (stayed or not self.recollection.empty):
            fields["set_memory"] = self.recollection.messages
        settings = [{name: value} for name, value in self.control.settings.items()]
        return [*settings, fields] if fields else settings

    def ask_for_memory(self) -> list[bytes]:
        """Return what to send if it should say now what it remembers: nothing is under way, and it is time."""
        known = self.recollection
        if known is None or not (self.remembers and known.wants_dump and self.delivery.may_send):
            return []
        if self.delivery.oldest is not None or self.control.remembering:
            return []
        return self.control.command(GET_MEMORY)

    def take(self) -> list[Unacked]:
        """Return what to send now."""
        if self.control.awaited:  # what it says of its memory is to be true
            return []
        return self.delivery.take()

    def written(self, taken: list[Unacked]) -> Iterable[bytes]:
        """Return messages and their markers as frames."""
        traced, marked = self.plan.frames == "v2", not self.plan.compat
        if self.batches and traced and marked:
            parts = [
                (m.topic, m.payload, m.trace_id, m.span_id, unacked.seq, m.parents, unacked.marker)
                for unacked in taken
                for m in (unacked.message,)
            ]
            return encode_batch(parts, "fabric")
        frames = []
        for unacked in taken:
            m = unacked.message
            if traced:
                frames.append(encode_traced(m.topic, m.payload, m.trace_id, m.span_id, unacked.seq, m.parents))
            else:
                frames.append(encode(Data(m.topic, m.payload)))
            if marked:
                frames.append(self.delivery.marker_frame(unacked))
        return join(frames) if self.batches else frames

    @property
    def state(self) -> State:
        """Of its life."""
        return self.life.state

    @property
    def starting(self) -> bool:
        """Whether it exists and may not be trusted yet."""
        return self.state in (State.LAUNCHED, State.READY)

    @property
    def restoring(self) -> bool:
        """Whether it runs, and is not yet as the process before it was."""
        return self.state is State.RUNNING and not self.delivery.may_send and self.control.awaited

    @property
    def forgets(self) -> bool:
        """Whether something was lost that only its last process knew."""
        return self.stateful and not self.remembers and (self.delivery.counts.accepted > 0 or self.has_past)

    @property
    def away(self) -> bool:
        """Whether it has no process to send to, and will have one: messages wait for it."""
        return self.steering.away or self.supervisor.due

    @property
    def idle(self) -> bool:
        """Whether nothing waits for it or is with it."""
        return self.delivery.idle and self.control.idle

    @property
    def takes_messages(self) -> bool:
        """Whether something may come for it; perhaps it waits."""
        if self.input_ended or self.abandoned:
            return False
        return self.life.state is State.RUNNING or self.away or self.state not in (State.DRAINED, State.EXITED)

    @property
    def takes_short_way(self) -> bool:
        """Whether its outputs need nothing but to be held and committed."""
        plain = not (self.plan.release_early or self.plan.compat)
        return plain and self.state in (State.RUNNING, State.DRAINING)

    @property
    def owes(self) -> bool:
        """Whether something is expected of it: an answer, or its end."""
        return self.input_ended or self.steering.stopping or not self.idle

    @property
    def silent_since_s(self) -> float | None:
        """Since when it has a message and says nothing; ``None`` if that is not so, or as it should be."""
        has = self.delivery.oldest is not None and not (self.paused or self.away)
        return max(self.fed_s, self.shutdown.moved_s) if has else None

    @property
    def answers_pulse(self) -> bool:
        """Whether its process, if it moves at all, says so at once when it is asked, whatever it is at."""
        serves = self.state in (State.RUNNING, State.DRAINING) and self.fault is None
        return serves and self.plan.ours and not self.plan.compat and self.plan.transport == "zmq"

    @property
    def activity(self) -> Activity:
        """What it is at."""
        if self.steering.stopping:
            return "stopping"
        if self.supervisor.due:
            return "starting" if self.external else "restarting"
        return "stopped" if self.steering.stopped else activity(self.state, idle=self.delivery.idle)

    def snapshot(self, held_by: tuple[End, ...]) -> WorkerSnapshot:
        """Return how it stands, as data; ``held_by``: places that are full, because of which it gets nothing."""
        return WorkerSnapshot(
            self.name,
            self.activity,
            *self.delivery.counts,
            moved_s=max(self.fed_s, self.shutdown.moved_s),
            paused=self.paused,
            held_by=held_by,
            stalled=self.silence.told and self.silent_since_s is not None,
            output_ended=self.state is State.DRAINED,
            oldest_s=self.delivery.oldest_at_s,
            starts_at_s=self.supervisor.due_s if self.supervisor.due and not self.external else None,
            awaited=self.external and (self.starting or self.supervisor.due),
        )
