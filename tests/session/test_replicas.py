"""Several replicas of a worker in one session: order, deaths, control, ends."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec
import pytest
from literal import Run, delivered
from plans import plan_of
from span_trees import ABOUT

from fabric.plan.replicas import Replicas, replicated
from fabric.session.causes import why_stuck
from fabric.session.events import (
    Answered,
    Asked,
    Buried,
    Command,
    Exited,
    Finish,
    Frames,
    Input,
    InputClosed,
    Launch,
    Launched,
    LossReport,
    Retry,
    Send,
    Settled,
    Start,
    TimerFired,
    Told,
    Traced,
)
from fabric.session.nodes import nodes_of
from fabric.session.session import Session, Settings
from fabric.session.spans import About
from fabric.session.stall import waited_for
from fabric.wire.calls import BUDGET_EXHAUSTED, decline
from fabric.wire.codec import decode, encode, join
from fabric.wire.control import READY
from fabric.wire.frame import Data, Decline, Eof, Frame, Marker, Provenance

ONE = 'let f : !int -> !int = python { call: "m:f" }\nlet main : !int -> !int = plumb(i, o) { i ; f ; o }\n'
TWO = 'let g : !int -> !int = python { call: "m:g" }\n' + ONE.replace("f ; o", "f ; g ; o")
EARLY = ONE.replace('"m:f"', '"m:f" release: "early"')
CONTROLLED = """
let f : (!int, !json) -> !int = agent { provider: "eliza" amnesiac: true }
let main : (!int, !json) -> !int = plumb(i, c, o) {
  i ; f ; o
  c ; f@ctrl_in
}
"""


class Replicated(Run):
    """A session with replicas of ``f``, all running."""

    def __init__(
        self,
        text: str = ONE,
        replicas: int = 2,
        settings: Settings | None = None,
        window: int = 64,
        *,
        metered: bool = False,
        traced: About | None = None,
    ) -> None:
        plan = replicated(plan_of(text), {"f": Replicas(replicas)})
        replace = msgspec.structs.replace
        workers = tuple(
            replace(worker, window=window, spec=replace(worker.spec, metered=metered)) for worker in plan.workers
        )
        self.plan = replace(plan, workers=workers)
        self.session = Session(self.plan, settings or Settings(), random.Random(1), traced=traced)
        self.notes = []
        self.incarnations = dict.fromkeys((worker.name for worker in workers), 1)
        self(Start())
        for name in self.incarnations:
            self.up(name)

    def up(self, name: str, now_s: float = 0.0) -> list[Command]:
        """Let a process start as it should."""
        self(Launched(name, 7), now_s)
        self.of(name, Data("f", READY), port="ctrl_out")
        return self.of(name, Marker("f", f"probe/{name}/{self.incarnations[name]}"))

    def of(self, name: str, *frames: Frame, port: str = "output", now_s: float = 0.0) -> list[Command]:
        return self(Frames(name, port, [encode(frame) for frame in frames]), now_s)

    def enter(self, *values: int) -> list[Command]:
        return self(Input("i", [(value, b"%d" % value) for value in values]))

    def answer(self, name: str, seq: int, *values: int, now_s: float = 0.0) -> list[Command]:
        marker = Marker("f", f"ack/{name}/{self.incarnations[name]}/{seq}")
        return self.of(name, *(Data("f", b"%d" % value) for value in values), marker, now_s=now_s)

    def die(self, name: str, stderr: Sequence[str] = ()) -> list[Command]:
        return self(Exited(name, -9, tuple(stderr)))

    def again(self, name: str) -> list[Command]:
        """Let the next process of one that has died start."""
        self.incarnations[name] += 1
        started = self(TimerFired(("restart", name)), 100.0)
        assert [command.worker for command in started if isinstance(command, Launch)] == [name]
        return self.up(name, 100.0)

    def end(self, name: str) -> list[Command]:
        self.of(name, Eof("f"))
        return self(Exited(name, 0))


def given(commands: list[Command]) -> list[tuple[str, bytes]]:
    """Return which messages were given to whom."""
    frames = [(c.worker, decode(c.raw)) for c in commands if isinstance(c, Send) and c.port == "input"]
    return [(worker, frame.payload) for worker, frame in frames if isinstance(frame, Data)]


def spans_given(commands: list[Command]) -> list[tuple[str, bytes]]:
    """Return the span ids of the messages that were given, each with whom it was given to."""
    frames = [(c.worker, decode(c.raw)) for c in commands if isinstance(c, Send) and c.port == "input"]
    return [(worker, f.provenance.span_id) for worker, f in frames if isinstance(f, Data) and f.provenance is not None]


def usage(cause: bytes, tokens: int) -> Data:
    """Return telemetry of a call of a model, for the message with this span id."""
    payload = b'{"kind":"usage","completion_tokens":%d}' % tokens
    return Data("f", payload, Provenance(bytes(16), bytes(7) + b"1", 1, cause))


def works(commands: list[Command]) -> list[tuple[object, object]]:
    """Return which replica's work is told, and how many tokens of output it took."""
    spans = [span for command in commands if isinstance(command, Traced) for span in command.spans]
    return [
        (span.attributes["fabric.worker"], span.attributes.get("gen_ai.usage.output_tokens", 0))
        for span in spans
        if span.name == "invoke_agent f"
    ]


def test_outputs_have_the_order_of_the_input_whoever_is_faster():
    """The second waits for the first; what they settle, too."""
    run = Replicated()
    assert given(run.enter(1, 2, 3)) == [("f#1", b"1"), ("f#1", b"3"), ("f#2", b"2")]
    assert run.answer("f#2", 1, 20, 21) == []
    commands = run.answer("f#1", 1, 10)
    assert delivered(commands) == [b"10", b"20", b"21"]
    assert commands[-1] == Settled([1, 2])
    assert delivered(run.answer("f#1", 2, 30)) == [b"30"]


def test_what_a_replica_had_goes_to_another_and_keeps_its_place():
    """Nobody waits for the next process of it."""
    run = Replicated()
    run.enter(1, 2, 3)
    assert run.answer("f#2", 1, 20) == []
    assert given(run.die("f#1")) == [("f#2", b"1")]
    assert given(run.answer("f#2", 2, 10)) == [("f#2", b"3")]
    assert delivered(run.answer("f#2", 3, 30)) == [b"30"]
    assert given(run.enter(4)) == [("f#2", b"4")]
    assert given(run.again("f#1")) == []
    assert given(run.enter(5)) == [("f#1", b"5")]


def test_a_message_that_kills_one_replica_after_the_other_is_a_dead_letter():
    """It has killed as many as it may; what came behind it goes on, and the crashes are forgiven to all."""
    run = Replicated(settings=Settings(redeliveries_max=2, restarts_max=1))
    for number in (1, 2, 3):
        first, second = 2 * number, 2 * number + 1
        run.enter(first)
        holder = next(w.name for w in run.session.snapshot().workers if w.unacknowledged)
        other = "f#2" if holder == "f#1" else "f#1"
        assert given(run.die(holder)) == [(other, b"%d" % first)]
        run.enter(second)
        commands = run.die(other, ["boom"])
        (buried,) = [command for command in commands if isinstance(command, Buried)]
        assert (buried.letter.worker, buried.letter.payload, buried.letter.attempts) == ("f", b"%d" % first, 2)
        assert given(run.again(holder)) == [(holder, b"%d" % second)]
        assert delivered(run.answer(holder, 1, second)) == [b"%d" % second]
        run.again(other)


def test_a_dead_letter_of_replicas_is_tried_again_by_any():
    """It belongs to the node."""
    run = Replicated()
    assert given(run(Retry("f", b"9", 9))) == [("f#1", b"9")]


def test_what_is_released_early_waits_for_what_came_before():
    """Of the first message it goes on as it comes; of the next what was said so far, as soon as it is the first."""
    run = Replicated(EARLY)
    run.enter(1, 2)
    assert delivered(run.of("f#1", Data("f", b"10"))) == [b"10"]
    assert delivered(run.of("f#2", Data("f", b"20"))) == []
    assert delivered(run.answer("f#1", 1, 11)) == [b"11", b"20"]
    assert delivered(run.of("f#2", Data("f", b"21"))) == [b"21"]
    assert delivered(run.answer("f#2", 1)) == []


def test_each_replica_gets_its_end_and_the_last_ends_the_node():
    """Not before everything was answered."""
    run = Replicated()
    run.enter(1, 2)
    run(InputClosed())
    assert run.answer("f#2", 1, 20) == []
    ended = [c.worker for c in run.answer("f#1", 1, 10) if isinstance(c, Send) and isinstance(decode(c.raw), Eof)]
    assert ended == ["f#1", "f#2"]
    assert not any(isinstance(command, Finish) for command in run.end("f#1"))
    assert run.end("f#2")[-1] == Finish(0, LossReport())


def test_what_lies_behind_replicas_ends_when_the_last_has():
    """One that has ended its output may have been the faster."""
    run = Replicated(TWO)
    run(InputClosed())
    ends = [command for command in run.of("f#2", Eof("f")) if isinstance(command, Send) and command.worker == "g"]
    assert ends == []
    ends = [command for command in run.of("f#1", Eof("f")) if isinstance(command, Send) and command.worker == "g"]
    assert [decode(command.raw) for command in ends] == [Eof("fabric")]


def test_who_has_left_gets_nothing_more_and_the_last_leaves_dead_letters():
    """As one worker that ends by itself; what it had not begun another gets."""
    run = Replicated()
    run.enter(1, 2, 3)
    assert delivered(run.of("f#1", Data("f", b"10"), Eof("f"))) == [b"10"]
    assert given(run.enter(4)) == [("f#2", b"4")]
    letters = [command.letter.payload for command in run.of("f#2", Eof("f")) if isinstance(command, Buried)]
    assert letters == [b"2", b"3", b"4"]


@pytest.mark.parametrize("wish", ["stop", "restart"])
def test_a_wish_for_all_is_told_when_all_are_so(wish: str):
    """Each is asked; what waits, waits for all of them."""
    run = Replicated()
    run(Asked("f", wish, 7))  # type: ignore[arg-type]
    answers = []
    for name in ("f#1", "f#2"):
        answers += [command for command in run.end(name) if isinstance(command, Answered)]
    if wish == "restart":
        for name in ("f#1", "f#2"):
            run.incarnations[name] += 1
            answers += [command for command in run.up(name) if isinstance(command, Answered)]
    assert answers == [Answered(7)]
    assert given(run.enter(1)) == ([] if wish == "stop" else [("f#1", b"1")])


def test_one_replica_is_stopped_and_the_others_go_on():
    """What it had not answered they get."""
    run = Replicated()
    run.enter(1, 2)
    run(Asked("f#1", "stop", 7))
    run.answer("f#1", 1, 10)
    assert Answered(7) in run.end("f#1")
    assert given(run.enter(3)) == [("f#2", b"3")]


def test_who_is_paused_gets_nothing_as_long_as_another_is_not():
    """It would keep it."""
    run = Replicated()
    run(Told("f#1", b'{"pause":true}', 7))
    paused = run.of("f#1", Data("f", b'{"kind":"pause_ack"}'), port="ctrl_out")
    assert paused == [Answered(7, None, b'{"kind":"pause_ack"}')]
    assert given(run.enter(1, 2)) == [("f#2", b"1"), ("f#2", b"2")]


def test_control_by_hand_is_answered_when_all_have():
    """With the reply of each; an error says whose it is."""
    run = Replicated()
    assert run(Told("f", b'{"pause":true}', 7))[0].worker == "f#1"  # type: ignore[union-attr]
    assert run.of("f#2", Data("f", b'{"kind":"pause_ack"}'), port="ctrl_out") == []
    (answer,) = run.of("f#1", Data("f", b'{"kind":"pause_ack"}'), port="ctrl_out")
    assert isinstance(answer, Answered)
    assert (answer.ticket, answer.reply) == (7, b'{"f#1":{"kind":"pause_ack"},"f#2":{"kind":"pause_ack"}}')
    run(Asked("f#2", "stop", 8))
    run.end("f#2")
    run(Told("f", b'{"resume":true}', 9))
    (answer,) = run.of("f#1", Data("f", b'{"kind":"resume_ack"}'), port="ctrl_out")
    assert answer == Answered(9, "worker 'f#2' is stopped; fabric start f#2; done by f#1")


def test_control_of_the_graph_goes_to_each_and_is_kept_for_the_next_process():
    """A setting is one of the node."""
    run = Replicated(CONTROLLED)
    commands = run(Input("c", [(1, b'{"set_temp":0.5}')]))
    told = [c for c in commands if isinstance(c, Send) and isinstance(decode(c.raw), Data)]
    assert [(c.worker, c.port) for c in told] == [("f#1", "ctrl_in"), ("f#2", "ctrl_in")]
    run.die("f#2")
    payloads = [decode(c.raw) for c in run.again("f#2") if isinstance(c, Send) and c.port == "ctrl_in"]
    assert next(frame.payload for frame in payloads if isinstance(frame, Data)) == b'{"set_temp":0.5}'


def test_it_is_said_for_which_replica_the_others_wait():
    """In the one line of a standstill, and in the snapshot."""
    run = Replicated(window=1)
    run.enter(*range(1, 10))
    run.answer("f#2", 1, 20)
    run.answer("f#2", 2, 30)
    snapshot = run.session.snapshot()
    (queue,) = snapshot.queues
    assert (queue.node, queue.waiting, queue.ahead, queue.waits_for, queue.full) == ("f", 6, 2, "f#1", True)
    said = waited_for(run.plan, snapshot, 60.0)
    assert said is not None
    assert "worker 'f#1' has 1 message and has been silent for 60 s" in said
    assert "2 messages that others answered wait for it" in said
    assert [chain.root.name for chain in why_stuck(run.plan, snapshot, 60.0)] == ["f#1"]


def test_replicas_that_are_all_stopped_are_one_cause():
    """With the word that starts them."""
    run = Replicated()
    run(Asked("f", "stop", 7))
    run.end("f#1")
    run.end("f#2")
    run.enter(1)
    assert waited_for(run.plan, run.session.snapshot(), 1.0) == (
        "worker 'f' is stopped and 1 message waits for it; fabric start f"
    )


def test_a_dead_letter_may_be_tried_again_by_the_name_of_a_replica():
    """It is its node's all the same."""
    run = Replicated()
    commands = run(Retry("f#2", b"9", 9))
    assert given(commands) == [("f#1", b"9")]
    (buried,) = [c for c in run.of("f#1", Eof("f")) + run.of("f#2", Eof("f")) if isinstance(c, Buried)]
    assert (buried.letter.worker, buried.letter.payload) == ("f", b"9")


@pytest.mark.parametrize(("leaves", "abandoned"), [(("f#1", "f#2"), True), (("f#2", "f#1"), False)])
def test_a_node_is_abandoned_if_the_last_to_leave_was(leaves: tuple[str, str], abandoned: bool):
    """One ends by itself and then the other is given up that was stopped; or the other way round."""
    plan = replicated(plan_of(ONE), {"f": Replicas(2)})
    node = nodes_of(plan, Settings(), {})["f"]
    for worker in sorted(node.workers, key=lambda each: leaves.index(each.name)):
        worker.abandoned = worker.name == "f#2"
        node.leave(worker)
    assert node.abandoned is abandoned


def test_each_replica_has_its_own_latency():
    """From when it was given a message to when it had done it: that it waited for another one's is not its time."""
    run = Replicated()
    run.enter(1, 2)
    run.answer("f#2", 1, 20, now_s=1.0)
    run.answer("f#1", 1, 10, now_s=50.0)
    latency = run.session.figures(51.0).latency
    assert {name: (sum(one.counts), one.total_s) for name, one in latency.items()} == {
        "f#1": (1, 50.0),
        "f#2": (1, 1.0),
    }


def test_each_replica_that_reads_batches_has_its_own_latency():
    """On the short way, as on the long one."""
    run = Replicated()
    run.enter(1, 2)
    for name, now_s in (("f#2", 1.0), ("f#1", 50.0)):
        frames = [encode(Data("f", b"7")), encode(Marker("f", f"ack/{name}/1/1"))]
        (batch,) = join(frames)
        run(Frames(name, "output", [batch]), now_s)
    latency = run.session.figures(51.0).latency
    assert {name: one.total_s for name, one in latency.items()} == {"f#1": 50.0, "f#2": 1.0}


AGENTS = """
let f : !int -> !int = agent { provider: "eliza" amnesiac: true }
let main : !int -> !int = plumb(i, o) { i ; f ; o }
"""


def test_what_a_call_of_a_model_took_is_told_of_the_replica_that_made_it():
    """Its usage may come when another one has let its answer go on."""
    run = Replicated(AGENTS, traced=ABOUT)
    causes = dict(spans_given(run.enter(1, 2)))
    run.answer("f#2", 1, 20)
    run.answer("f#1", 1, 10)
    assert works(run.of("f#1", Marker("f", "ack/f#1/1/1"), port="telemetry")) == [("f#1", 0)]
    run.of("f#2", usage(causes["f#2"], 5), port="telemetry")
    assert works(run.of("f#2", Marker("f", "ack/f#2/1/1"), port="telemetry")) == [("f#2", 5)]


def test_what_a_replica_did_that_is_gone_is_told_when_it_goes_on():
    """Nothing more comes of it; what another one says is not waited for."""
    run = Replicated(AGENTS, traced=ABOUT)
    run.enter(1, 2)
    run.answer("f#2", 1, 20)
    run.die("f#2")
    assert works(run.answer("f#1", 1, 10)) == [("f#2", 0)]
    run.again("f#2")
    assert works(run.of("f#1", Marker("f", "ack/f#1/1/1"), port="telemetry")) == [("f#1", 0)]


def test_what_a_process_before_did_is_told_when_it_goes_on():
    """The next one begins its numbers anew."""
    run = Replicated(AGENTS, traced=ABOUT)
    run.enter(1, 2)
    run.answer("f#2", 1, 20)
    run.die("f#2")
    run.again("f#2")
    assert given(run.enter(3)) == [("f#2", b"3")]
    assert works(run.answer("f#1", 1, 10)) == [("f#2", 0)]


def test_a_replica_that_had_no_call_of_its_model_is_named():
    """It, and not the one that let its message go on."""
    run = Replicated(AGENTS, metered=True)
    run.enter(1, 2)
    run.of("f#2", Decline("f", decline(BUDGET_EXHAUSTED, "no calls are left")), Marker("f", "ack/f#2/1/1"))
    letters = [command.letter for command in run.answer("f#1", 1, 10) if isinstance(command, Buried)]
    assert [(letter.worker, letter.cause) for letter in letters] == [("f", "budget")]
    assert "'f#2' has no call of its model" in letters[0].detail
