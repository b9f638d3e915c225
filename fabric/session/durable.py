"""The messages of a durable session: whatever sets them in motion is an entry of its history.

Here an entry is enacted in one way, whether it happens now or is relived, and from the entry alone. So a session that
is brought back cannot come to stand elsewhere than the one that was recorded. What workers have at the moment, and in
which order they will answer, is no part of it: a message *stands* at its node from when it came until an entry takes it
away, wherever it is in between.

What tools are made of is as in any session: their messages belong to calls, and calls to messages of their callers.
"""

from __future__ import annotations

__all__ = ["ENTRY_STEPS_MAX", "DurableTraffic"]

import random
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

import msgspec

from fabric.errors import HistoryUnfit
from fabric.graph.ir import End
from fabric.plan.plan import Plan, Sink
from fabric.session import history
from fabric.session.counterparts import Counterparts
from fabric.session.delivery import Message, Unacked
from fabric.session.enacting import Broken, Enacting
from fabric.session.events import DeathCause, Input, Level, Output
from fabric.session.failure import Failure, name_of
from fabric.session.history import Answer, History, bytes_of, text_of
from fabric.session.nodes import NodeState
from fabric.session.outbox import Outbox
from fabric.session.recall import Recall
from fabric.session.routes import CompiledRoute, Put
from fabric.session.traffic import LOOP_MESSAGES_MAX, STEPS_PER_EVENT_MAX, Traffic
from fabric.session.worker_state import WorkerState
from fabric.wire.control import kind_of, paused_by

ENTRY_STEPS_MAX = 250_000
"""Routes taken for one entry; one that sets more in motion goes round for ever without a worker. The most that a worker
may answer to one message takes some ten thousand."""


class DurableTraffic(Traffic):
    """The messages of one durable session.

    Args:
        plan, routes, nodes, out, rng, fail, others: as of any traffic.
        durable: the session's id.
        paid: takes what a worker's telemetry tells of a call of a model.
        recall: knows what is recorded of calls of tools.

    Attributes:
        history: what happens.
        recall: calls of tools that belong to messages which are not done.
    """

    def __init__(
        self,
        plan: Plan,
        routes: Mapping[End, CompiledRoute],
        nodes: Mapping[str, NodeState],
        out: Outbox,
        rng: random.Random,
        *,
        durable: str,
        paid: Callable[[str, bytes], None],
        recall: Recall,
        fail: Callable[[Failure], None],
        **others: Any,
    ) -> None:
        self._in_tools = frozenset(node.id for node in plan.graph.nodes.values() if node.tool)
        for node in nodes.values():
            if node.name not in self._in_tools:
                node.standing = {}
        super().__init__(plan, routes, nodes, out, rng, fail=fail, **others)
        self._paid = paid
        self._fail_for_good, self._fail = fail, self._break
        self.recall = recall
        self.history = Enacting(durable, self._out, self._traces, self._enact, fail)
        self._through = frozenset()
        self._keys: dict[int, str] = {}
        self._closed_merges: set[str] = set()
        self._given: dict[tuple[str, bytes], None] = {}
        self._steps = 0
        closed = self._closed
        self._closed = lambda node: closed(node) if node in self._in_tools else node in self._closed_merges

    # --- what sets messages in motion ---

    def tap(self, sinks: frozenset[int]) -> None:
        """Look at what comes to these sinks, and to no others."""
        super().tap(sinks)
        self._through = frozenset()

    def take_in(self, event: Input) -> None:
        """Messages come from outside."""
        if event.keys:
            tickets = (ticket for ticket, _ in event.messages)
            self._keys |= {ticket: key for ticket, key in zip(tickets, event.keys, strict=True) if key}
        super().take_in(event)

    def advance(self) -> None:
        """Go on with what is under way in tools, then take new input, one after the other."""
        self._steps = 0
        self._move(STEPS_PER_EVENT_MAX)
        waiting = self.entrance.waiting
        while waiting and self._steps < STEPS_PER_EVENT_MAX and not self._stopped:
            self._steps += 1
            port, ticket, payload = waiting.popleft()
            raw, garbled = text_of(payload)
            self.history.happen(history.Entered(port, raw, ticket, self._keys.pop(ticket, ""), garbled))

    def pass_on_all(self, worker: WorkerState, committed: list[Unacked]) -> None:
        """Pass on messages that are done, in order: each is a turn of its worker."""
        node = self._node_of(worker)
        if node.standing is None or not committed:
            super().pass_on_all(worker, committed)
            return
        several = len(node.workers) > 1
        for unacked in committed:
            if self._spans.wanted:
                doer = next(one for one in node.workers if one.name == unacked.worker) if several else worker
                self._committed(doer, unacked)
            outputs = tuple(_answer(*held) for held in unacked.outputs)
            name = unacked.worker if several else ""
            self.history.happen(history.Turn(node.name, unacked.message.span_id.hex(), outputs, name, unacked.declined))
        if worker.plan.release_early and (leading := node.leading) is not None:  # what it has said so far may go on
            held, leading.outputs, leading.size_bytes = leading.outputs, [], 0
            for port, payload, span in held:
                self.pass_on(worker, leading.message, port, payload, span)

    def pass_on(self, worker: WorkerState, cause: Message, port: str, payload: bytes, span: bytes | None) -> None:
        """Pass on one outcome of a message before its worker is done with it."""
        node = self._node_of(worker)
        if node.standing is None:
            super().pass_on(worker, cause, port, payload, span)
            return
        name = worker.name if len(node.workers) > 1 else ""
        answer = _answer(port, payload, span)
        self.history.happen(history.Released(node.name, cause.span_id.hex(), answer, name))

    def spontaneous(
        self, worker: WorkerState, port: str, payload: bytes, span: bytes | None, *, answers: int = 0
    ) -> None:
        """Send on what no input brought about. What somebody only looks at is no part of the history."""
        node = self._node_of(worker)
        if node.standing is None or port not in worker.wired:
            super().spontaneous(worker, port, payload, span)
            return
        name = worker.name if len(node.workers) > 1 else ""
        self.history.happen(history.Said(node.name, _answer(port, payload, span), name, answers))

    def retry(self, name: str, payload: bytes, ticket: int) -> None:
        """Give a node a message that was a dead letter, or what somebody made of one."""
        raw, garbled = text_of(payload)
        self.history.happen(history.Retried(self._node_names[name], raw, ticket, garbled))

    def poisoned(
        self, worker: WorkerState, message: Message, detail: str, attempts: int, stderr: tuple[str, ...]
    ) -> None:
        """A worker died of a message again and again, or says that it cannot do it."""
        node = self._node_of(worker)
        if node.standing is None:
            super().poisoned(worker, message, detail, attempts, stderr)
            return
        turned = worker.delivery.remove(message)
        self._dies(node, message, "poison", detail, attempts, stderr)
        self.pass_on_all(worker, turned)

    def _leave(self, worker: WorkerState, committed: list[Unacked], left: list[Message]) -> None:
        node = self._node_of(worker)
        if node.standing is None:
            super()._leave(worker, committed, left)
            return
        self._rest(worker)
        self._flow.took(node)
        self.pass_on_all(worker, committed)
        for message in left:
            self._left_over(node, message)

    def _left_over(self, node: NodeState, message: Message) -> None:
        """A node takes no messages any more."""
        cause: DeathCause = "worker_stopped" if node.abandoned else "worker_ended"
        self._dies(node, message, cause, f"{name_of(node.name)} {'was stopped' if node.abandoned else 'has ended'}")

    def give_up(self, worker: WorkerState) -> None:
        """What a worker had and did not acknowledge must not happen twice: it is lost. It may have been the last."""
        node = self._node_of(worker)
        if node.standing is None:
            super().give_up(worker)
            return
        for message in worker.delivery.give_up():
            self._dies(node, message, "lost", "its worker is gone, and may have done it")
        self._rest(worker)

    def _dies(
        self,
        node: NodeState,
        message: Message,
        cause: str,
        detail: str,
        attempts: int = 0,
        stderr: tuple[str, ...] = (),
    ) -> None:
        id_ = message.span_id.hex()
        self.history.happen(history.Buried(node.name, id_, cause, detail, attempts, stderr))

    def took(self, worker: WorkerState, taken: list[Unacked]) -> None:
        """A worker is given some of what waited for it; if it must not get that twice, it is noted before."""
        super().took(worker, taken)
        node = self._node_of(worker)
        if worker.plan.compat and node.standing is not None:
            for unacked in taken:
                self.history.happen(history.Given(node.name, unacked.message.span_id.hex()))

    # --- what is said of workers ---

    def order(self, worker: WorkerState, payload: bytes, ticket: int) -> None:
        """An operator has a control message for a worker."""
        if self._node_of(worker).standing is None:
            super().order(worker, payload, ticket)
            return
        raw, garbled = text_of(payload)
        if garbled is not None:  # who sees to it that it is an object has let it through
            raise ValueError(f"a control message for {worker.name} is no JSON text: {payload[:40]!r}")
        self.history.happen(history.Ordered(worker.name, raw, ticket))

    def steered(self, worker: WorkerState, done: int = 0) -> None:
        """Nothing more will come of some control messages."""
        over, worker.control.over = worker.control.over, []
        if self._node_of(worker).standing is None:
            return
        for number in over:
            self.history.happen(history.Steered(worker.name, number))
        if done:
            self.history.happen(history.Steered(worker.name, done, taken=True))

    def remembered(self, worker: WorkerState, dump: bytes) -> None:
        """An agent says what it remembers. What is no JSON text remembers nothing."""
        if self._node_of(worker).standing is None:
            super().remembered(worker, dump)
        else:
            self.history.happen(history.Remembered(worker.name, text_of(dump)[0]))

    def forgotten(self, worker: WorkerState) -> None:
        """A worker is started anew by hand."""
        if self._node_of(worker).standing is not None:
            self.history.happen(history.Forgotten(worker.name))

    def close_barrier(self, barrier: str, *, for_now: bool) -> None:
        """A barrier will never fire again: report what is left in it; it is kept for the next run if there may be one.

        Args:
            barrier: its name.
            for_now: whether it might, had nobody ended the session before its time.
        """
        if barrier in self._in_tools:
            super().close_barrier(barrier, for_now=for_now)
        elif for_now:
            self._pairing.report_waiting(barrier)
        else:
            self.history.happen(history.Closed(barrier))

    def close_merge(self, merge: str) -> None:
        """A ``merge_any`` passes on nothing any more."""
        if merge not in self._in_tools:
            self.history.happen(history.Closed(merge))

    def finished(self, exit_code: int) -> None:
        """All that came was done, and nothing more is to come."""
        self.history.happen(history.Finished(exit_code))

    def resumed(self) -> None:
        """The session was brought back, and goes on."""
        self.history.happen(history.Resumed())
        for paid in self.recall.untold:
            self.history.happen(paid)

    def stop(self) -> None:
        """The session has failed: what is inside stays there, what waits to come in is refused."""
        self.history.stop()
        super().stop()

    def _break(self, failure: Failure) -> None:
        """The session cannot go on: with what is under way in tools, or beyond the entry that is being enacted."""
        if self.history.under_way:
            raise Broken(failure)
        self._fail_for_good(failure)

    # --- what follows from an entry ---

    def _enact(self, entry: History) -> None:
        """Do what follows from an entry, until nothing moves that needs no worker."""
        work, self._work = self._work, deque()  # what is under way in tools has its own time, and its own ids
        admitting, self._flow.admitting = self._flow.admitting, {}
        try:
            self._begin(entry)
            if not self._move(ENTRY_STEPS_MAX):
                where = f" by '{self._work[0][0].node}'" if self._work else ""
                text = f"one message has moved {ENTRY_STEPS_MAX} times{where}, to no worker: it goes round for ever"
                self._fail(Failure(1, "endless_loop", text))
        finally:
            self._work, self._flow.admitting = work, admitting

    def _begin(self, entry: History) -> None:
        match entry:
            case history.Entered(port, payload, ticket, _, garbled):
                if port not in self._entries:
                    raise HistoryUnfit(f"the program has no input '{port}'")
                self._enter(port, ticket, bytes_of(payload, garbled))
            case history.Turn():
                self._take_turn(entry)
            case history.Released(name, id_, answer, worker):
                node = self._standing_at(name)
                message = self._found(node, id_)
                self._give(_worker_of(node, worker), message, answer)
            case history.Said(name, answer, worker, answers):
                self._say(_worker_of(self._standing_at(name), worker), answer, answers)
            case history.Buried():
                self._bury_recorded(entry)
            case history.Retried(name, payload, ticket, garbled):
                self._standing_at(name)
                super().retry(name, bytes_of(payload, garbled), ticket)
            case history.Given(name, id_):
                self._given[self._standing_at(name).name, bytes.fromhex(id_)] = None
            case history.Closed(name):
                self._close(name)
            case history.Resumed():
                self._open_again()
            case history.Finished():
                self._end()
            case history.Paid(name, usage):
                self._paid(name, bytes(usage))
                self._relived(entry)
            case history.Intended() | history.Called():
                self._relived(entry)
            case history.Emitted():
                pass
            case _:
                self._tell_worker(entry)

    def _relived(self, entry: History) -> None:
        """Take note of what a worker did; of one that is there that is known already."""
        if not self.history.reliving:
            return
        if isinstance(entry, history.Paid):  # what is told behind the turn belongs to none that is under way
            node = self._nodes[self._worker_named(entry.worker).plan.node]
            if not entry.message or bytes.fromhex(entry.message) not in (node.standing or {}):
                return
        self.recall.relived(entry, self.history.session)

    def _tell_worker(self, entry: History) -> None:
        """Enact what is about one worker, and no message."""
        match entry:
            case history.Ordered(name, payload, ticket):
                worker = self._worker_named(name)
                worker.control.ask(bytes(payload), "past" if self.history.reliving else ticket)
                if not self.history.reliving:
                    self.send_control(worker)
            case history.Steered(name, number, taken):
                self._settle(self._worker_named(name), number, taken=taken)
            case history.Remembered(name, dump):
                super().remembered(self._worker_named(name), bytes(dump))
            case history.Forgotten(name):
                self._worker_named(name).forget()
            case _:
                raise HistoryUnfit(f"nothing is known of entries such as {type(entry).__name__}")

    def _move(self, steps_max: int) -> bool:
        """Go on until nothing moves that needs no worker; return whether that is so after so many steps at most."""
        for _ in range(steps_max):
            if self._stopped:
                return True
            self._steps += 1
            if self._work:
                source, message = self._work.popleft()
                self._travel(self._routes[source], message)
                self._traces.consume(message)
            elif self._pairing.bereaved:
                self._pairing.settle()
            elif self._flow.admitting:
                self._admit(next(iter(self._flow.admitting)))
            else:
                return True
        return False

    def _say(self, worker: WorkerState, answer: Answer, answers: int) -> None:
        if answer.port not in worker.ways:
            raise HistoryUnfit(f"nothing reads {worker.name}@{answer.port}")
        payload, span = _payload_and_span(answer)
        if self.history.reliving and answer.port == "ctrl_out":
            worker.was_paused = paused_by(payload, before=worker.was_paused)
            replaced = worker.control.settle_part(answers, payload)
            if worker.recollection is not None and kind_of(payload) == "memory_set":
                worker.recollection.replaced(replaced)
        super().spontaneous(worker, answer.port, payload, span)

    def _take_turn(self, turn: history.Turn) -> None:
        node = self._standing_at(turn.node)
        worker = _worker_of(node, turn.worker)
        message = self._fallen(node, turn.message)
        if turn.declined:
            self._unpaid(worker, message, turn.declined)
        outputs = sorted(turn.outputs, key=lambda answer: answer.port != "output") if worker.wired else turn.outputs
        for answer in outputs:
            self._give(worker, message, answer)
        if worker.recollection is not None and (worker.remembers or self.history.reliving):
            texts = [bytes_of(one.payload, one.garbled) for one in outputs if one.port == "output"]
            worker.recollection.committed(message.payload, texts)
        worker.has_past |= self.history.reliving
        self._done(node, message)

    def _give(self, worker: WorkerState, cause: Message, answer: Answer) -> None:
        if answer.port in worker.ways:
            super().pass_on(worker, cause, answer.port, *_payload_and_span(answer))

    def _bury_recorded(self, burial: history.Buried) -> None:
        node = self._standing_at(burial.node)
        message = self._fallen(node, burial.message)
        if burial.cause == "lost":
            self.losses.lost += 1
            self._out.note("error", "message.lost", worker=node.name, reason=burial.detail)
            if self._spans.wanted:
                self._spans.buried(node.plan, message, burial.detail)
        else:
            level: Level = "error"
            if burial.cause in ("worker_ended", "worker_stopped"):
                level = "warning" if node.left_messages else "error"  # the first is told, the others counted
                node.left_messages = True
            cause = cast("DeathCause", burial.cause)
            self._write_letter(
                message, node.name, cause, burial.detail, attempts=burial.attempts, stderr=burial.stderr, level=level
            )
        self._done(node, message)

    def _recorded_as(self) -> tuple[str, int] | None:
        return (self.history.session, self.history.count) if self.history.under_way else None

    def _done(self, node: NodeState, message: Message) -> None:
        """A message stands at its node no more, and what came of it is there."""
        self._traces.consume(message)
        self._inflight -= 1
        self._flow.done(node)
        self._rested.add(node.name)
        self.recall.over(node.name, message.span_id.hex())

    def _settle(self, worker: WorkerState, number: int, *, taken: bool) -> None:
        """Of a control message nothing more will come. What this process of the worker was told it has heard itself."""
        fields = worker.control.settle(number) if self.history.reliving and number else {}
        if not (taken and fields):
            return
        if fields.get("pause") is True or fields.get("resume") is True:
            worker.was_paused = fields.get("resume") is not True
        if worker.recollection is not None and isinstance(fields.get("set_memory"), list):
            worker.recollection.replaced(fields["set_memory"])

    def _close(self, name: str) -> None:
        if name in self._pairing.barriers:
            self._pairing.close(name)
        else:
            self._closed_merges.add(name)

    def _open_again(self) -> None:
        """What had closed is open. What a worker of the past had that must not get it twice is lost."""
        self.entrance.closed.clear()  # by an input that was refused, and may be another by now
        self.refused_any = False
        self._closed_merges.clear()
        for barrier in self._pairing.barriers.values():
            barrier.closed = False
        if not self.history.reliving:  # else their burials follow, unless somebody was killed before they were written
            for name, id_ in self._given:
                node = self._nodes[name]
                assert node.standing is not None
                detail = "its worker had it when the session was ended by force, and may have done it"
                self._dies(node, node.standing[id_], "lost", detail)

    def _end(self) -> None:
        """A run is over: the next one begins with what its workers remember, and nothing else."""
        self.refused_any = False
        self.entrance.closed.clear()
        self.losses.begin()
        for monitor in self._monitors.values():
            monitor.begin()

    # --- where messages stand ---

    def _queue_of(self, node: NodeState) -> Put:
        return super()._queue_of(node) if node.standing is None else partial(self._offer, node)

    def _offer(self, node: NodeState, message: Message) -> None:
        if node.standing is None:
            super()._offer(node, message)
            return
        if not self._fits(node.name, message):
            return
        if message.span_id in node.standing:  # a worker has given one id to several
            message = self._traces.changed(message, message.payload)
        self._traces.appear(message)
        node.standing[message.span_id] = message
        self._inflight += 1
        if node.inside > LOOP_MESSAGES_MAX:
            self._amplified(node.name)
        if self.history.reliving:  # it is offered when all is known that became of it
            return
        if node.takes_messages:
            node.delivery.offer(message)
            self._to_feed[node.name] = node
        else:
            self._left_over(node, message)

    @property
    def standing(self) -> int:
        """How many messages stand at nodes."""
        return sum(len(node.standing or ()) for node in self._nodes.values())

    def take_settled(self) -> list[int]:
        """Return the tickets of what has settled by what was enacted."""
        return self._traces.take_settled()

    def meant_by(self, entry: History, counterparts: Counterparts) -> History:
        """Return an entry of another program as one of this, as far as its message is there."""
        counterparts.begin(self.history.count, self.history.source.span, entry)
        if isinstance(entry, history.Turn | history.Released | history.Buried | history.Given):
            node = self._nodes.get(entry.node)
            standing = node.standing if node is not None else None
            found = counterparts.find(entry.node, bytes.fromhex(entry.message), standing or {})
            if found is not None:
                return msgspec.structs.replace(entry, message=found.hex())
        return entry

    def taken_by(self, entry: History) -> Message | None:
        """Return the message that a worker has taken, by an entry that is to be enacted; ``None``: there is none."""
        if not isinstance(entry, history.Turn | history.Released):
            return None
        node = self._nodes.get(entry.node)
        standing = node.standing if node is not None else None
        return (standing or {}).get(bytes.fromhex(entry.message))

    def offer_standing(self) -> None:
        """All that was is relived: offer to workers what is left, but for what they must not get twice."""
        for node in self._nodes.values():
            for id_, message in (node.standing or {}).items():
                if (node.name, id_) not in self._given:
                    node.delivery.offer(message)
            self._to_feed[node.name] = node

    def _control_one(self, worker: WorkerState, message: Message) -> None:
        if self._node_of(worker).standing is None:
            super()._control_one(worker, message)
        elif self.history.reliving:
            worker.control.tell(message, bounded=False)
        elif worker.takes_messages:
            super()._control_one(worker, message)
        else:
            self._out.note("info", "control.dropped", worker=worker.name)
            worker.control.drop()
            self.steered(worker)

    def _put_of(self, sink: Sink) -> Put:
        if sink.kind == "output" and sink.end.node not in self._plan.extras:
            return partial(self._leaves, self._plan.outputs[sink.end.node])
        return super()._put_of(sink)

    def _leaves(self, port: str, message: Message) -> None:
        """A message leaves the graph, by an id that no other one has, whatever ids workers give."""
        self._out.outputs.append(Output(port, message.payload, message.tickets, self._traces.left(message)))

    def _standing_at(self, name: str) -> NodeState:
        node = self._nodes.get(name)
        if node is None or node.standing is None:
            raise HistoryUnfit(f"the program has no node '{name}' that workers run")
        return node

    def _worker_named(self, name: str) -> WorkerState:
        node = self._nodes.get(self._node_names.get(name, ""))
        worker = next((worker for worker in node.workers if worker.name == name), None) if node is not None else None
        if worker is None:
            raise HistoryUnfit(f"the program has no worker '{name}'")
        return worker

    def _found(self, node: NodeState, id_: str) -> Message:
        standing = node.standing or {}
        message = standing.get(bytes.fromhex(id_))
        if message is None:
            there = ", ".join(one.hex() for one in list(standing)[:3]) or "none"
            more = ", ..." if len(standing) > 3 else ""
            raise HistoryUnfit(f"no message {id_} stands at '{node.name}'; there are: {there}{more}")
        return message

    def _fallen(self, node: NodeState, id_: str) -> Message:
        """Return a message that stands at a node no more."""
        message = self._found(node, id_)
        assert node.standing is not None
        del node.standing[message.span_id]
        self._given.pop((node.name, message.span_id), None)
        return message


def _worker_of(node: NodeState, name: str) -> WorkerState:
    """Return the worker that an entry is about: of several replicas the named one, or, if that is gone, the first."""
    return next((worker for worker in node.workers if worker.name == name), node.workers[0])


def _answer(port: str, payload: bytes, span: bytes | None) -> Answer:
    raw, garbled = text_of(payload)
    return Answer(port, raw, span.hex() if span else "", garbled)


def _payload_and_span(answer: Answer) -> tuple[bytes, bytes | None]:
    return bytes_of(answer.payload, answer.garbled), bytes.fromhex(answer.span) if answer.span else None
