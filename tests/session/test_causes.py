"""From what is missed to the first cause."""

from __future__ import annotations

import re

import msgspec
import pytest
from plans import plan_of

from fabric.graph.ir import End
from fabric.plan.plan import Plan
from fabric.session.causes import STILL_S, Chain, Link, is_stuck, why_stuck
from fabric.session.snapshot import Activity, Snapshot, WorkerSnapshot

WORKERS = "".join(f'let {name} : !int -> !int = python {{ call: "m:f" }}\n' for name in "fgh")
LINE = plan_of(WORKERS + "let main : !int -> !int = plumb(i, o) { i ; f ; g ; o }\n")
JOIN = plan_of(WORKERS + "let main : (!int, !int) -> !(int, int) = plumb(a, b, o) { (a ; f * b ; g) ; barrier ; o }\n")
NOW_S = 100.0


class At:
    """A moment of a plan: idle workers, no message anywhere, unless something else is said."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        workers = tuple(WorkerSnapshot(worker.name, "ready", 0, 0, 0, 0) for worker in plan.workers)
        barriers = {
            node.id: {port.name: 0 for port in node.inputs}
            for node in plan.graph.nodes.values()
            if node.kind == "barrier"
        }
        self.snapshot = Snapshot(workers, barriers, taken=(0,) * len(plan.routes), arrived=(0,) * len(plan.sinks))

    def worker(
        self, name: str, activity: Activity, given: int = 0, answered: int = 0, waiting: int = 0, **more: object
    ):
        counts = given, answered, waiting, given - answered
        found = WorkerSnapshot(name, activity, *counts, **({"moved_s": 25.0} | more))  # type: ignore[arg-type]
        workers = tuple(found if worker.name == name else worker for worker in self.snapshot.workers)
        self.snapshot = msgspec.structs.replace(self.snapshot, workers=workers)
        return self

    def moved(self, source: str, count: int, *, arrived: int | None = None):
        """So many messages took the routes of a node; so many came to their ends."""
        taken, came = list(self.snapshot.taken), list(self.snapshot.arrived)
        for number, route in enumerate(self.plan.routes):
            if route.source.node == source or self.plan.inputs.get(source) == route.source.node:
                taken[number] = count
                for sink in _sinks(route.steps):
                    came[sink] = count if arrived is None else arrived
        self.snapshot = msgspec.structs.replace(self.snapshot, taken=tuple(taken), arrived=tuple(came))
        return self

    def paired(self, *counts: int, since_s: float = 25.0):
        (barrier,) = self.snapshot.barriers
        slots = dict(zip(self.snapshot.barriers[barrier], counts, strict=True))
        self.snapshot = msgspec.structs.replace(
            self.snapshot, barriers={barrier: slots}, barriers_since_s={barrier: since_s}
        )
        return self

    def chains(self, quiet_s: float = 75.0) -> tuple[Chain, ...]:
        quiet = dict.fromkeys(self.plan.outputs.values(), quiet_s)
        return why_stuck(self.plan, self.snapshot, NOW_S, quiet)

    def texts(self) -> list[list[str]]:
        """Return the words; without the lines of the program that nodes are named after."""
        return [[re.sub(r"@\d+", "", link.text) for link in chain.links] for chain in self.chains()]


def _sinks(steps: object) -> list[int]:
    from fabric.plan.plan import sinks_of

    return list(sinks_of(steps))  # type: ignore[arg-type]


def test_where_nothing_is_under_way_nothing_is_stuck():
    """Idle is well."""
    assert At(LINE).chains() == ()
    assert At(JOIN).moved("a", 3).moved("b", 3).moved("f", 3).chains() == ()


def test_a_silent_worker_is_the_cause_of_a_missing_output():
    """With its figures, and for how long."""
    moment = At(LINE).worker("f", "busy", given=3, answered=2)
    (chain,) = moment.chains()
    assert chain == Chain(
        (
            Link("output", "o", "nothing came to output 'o' for 75 s"),
            Link("worker", "g", "worker 'g' has nothing to do"),
            Link(
                "worker",
                "f",
                "worker 'f' has 1 message and has been silent for 75 s (it answered 2 before)",
                "silent",
                1,
                75.0,
            ),
        )
    )
    assert is_stuck(chain)


def test_one_that_has_just_got_a_message_is_not_stuck():
    """It is named all the same."""
    (chain,) = At(LINE).worker("f", "busy", given=1, moved_s=NOW_S - STILL_S / 2).chains()
    assert not is_stuck(chain)
    (chain,) = At(LINE).worker("f", "busy", given=1, moved_s=NOW_S - STILL_S).chains()
    assert is_stuck(chain)


def test_the_chain_goes_through_a_barrier():
    """From the output to the worker on whose side nothing waits."""
    moment = At(JOIN).moved("f", 3).paired(3, 0).worker("g", "busy", given=1)
    assert moment.texts() == [
        [
            "nothing came to output 'o' for 75 s",
            "barrier 'barrier' has 3 from 'f.output', waits on 'g.output'",
            "worker 'g' has 1 message and has been silent for 75 s (it has never answered anything)",
        ]
    ]
    assert is_stuck(moment.chains()[0])


@pytest.mark.parametrize(
    ("activity", "more", "words", "help_"),
    [
        ("busy", {"given": 2, "paused": True}, "worker 'f' is paused and holds 2 messages", "fabric ctl f resume"),
        ("stopped", {"waiting": 1}, "worker 'f' is stopped and 1 message waits for it", "fabric start f"),
        (
            "restarting",
            {"waiting": 2, "starts_at_s": 102.0},
            "worker 'f' has crashed and is started again in 2 s; 2 messages wait for it",
            "",
        ),
        ("stopping", {"paused": True}, "worker 'f' was told to end, and is paused", "fabric ctl f resume"),
    ],
)
def test_what_does_not_go_on_by_itself_is_stuck_at_once(activity: Activity, more: dict, words: str, help_: str):
    """However short it has been so; with what helps."""
    (chain,) = At(LINE).worker("f", activity, moved_s=NOW_S, **more).chains()
    assert (chain.root.text, chain.root.help, is_stuck(chain)) == (words, help_, True)


def test_a_side_of_a_barrier_on_which_nothing_has_come():
    """It is stuck when what waits has waited for long."""
    moment = At(JOIN).moved("f", 2).paired(2, 0)
    assert moment.texts()[0][1:] == [
        "barrier 'barrier' has 2 from 'f.output', waits on 'g.output'",
        "worker 'g' has nothing to do",
        "input 'b': nothing has come",
    ]
    assert is_stuck(moment.chains()[0])
    assert not is_stuck(moment.paired(2, 0, since_s=NOW_S - 1).chains()[0])


def test_a_worker_that_answers_nothing_starves_a_barrier():
    """In figures."""
    moment = At(JOIN).moved("f", 2).paired(2, 0).worker("g", "ready", given=4, answered=4)
    assert moment.texts()[0][-1] == "'g.output': for 4 that it was given it sent nothing"


def test_a_filter_that_lets_nothing_pass_explains_an_empty_output_and_holds_nothing_up():
    """It may be meant so."""
    plan = plan_of(WORKERS + "let main : !int -> !int = plumb(i, o) { i ; f ; filter(value > 5) ; o }\n")
    (chain,) = At(plan).worker("f", "ready", given=3, answered=3).moved("f", 3, arrived=0).chains()
    assert re.sub(r"@\d+", "", chain.root.text) == "'f.output': of 3 that it sent, none passed 'filter'"
    assert not is_stuck(chain)
    assert At(plan).worker("f", "ready", given=3, answered=3).moved("f", 3, arrived=1).chains() == ()


def test_a_full_loop_leads_to_the_worker_inside_that_does_not_move():
    """What waits before it is not the cause."""
    plan = plan_of(
        WORKERS + "let main : !int -> !int = plumb(i, o) {\n  i ; f ; g\n  g ; filter(value > 0) ; f\n"
        "  g ; filter(value <= 0) ; o\n}\n"
    )
    moment = At(plan).worker("g", "busy", given=16)
    moment.snapshot = msgspec.structs.replace(moment.snapshot, entering={"f": 5})
    (chain,) = moment.chains()
    assert [link.name for link in chain.links] == ["o", "g"]
    moment = At(plan)
    moment.snapshot = msgspec.structs.replace(moment.snapshot, entering={"f": 5})
    (chain,) = moment.chains()
    assert (chain.root.kind, chain.root.text) == ("loop", "5 messages wait before the loop of 'f', which is full")


def test_a_worker_that_is_held_back_leads_to_who_has_no_room():
    """The full queue's worker is the cause, or the side of a barrier that is empty."""
    held = At(LINE).worker("f", "busy", waiting=5, held_by=(End("g", "input"),))
    assert held.texts() == [["worker 'f' has 5 messages waiting for it, until there is room at 'g'"]]
    (chain,) = held.worker("g", "busy", given=1, waiting=1000).chains()
    assert [link.name for link in chain.links] == ["o", "g"]
    (barrier,) = At(JOIN).snapshot.barriers
    moment = At(JOIN).moved("f", 3).paired(3, 0).worker("f", "busy", waiting=5, held_by=(End(barrier, "l"),))
    assert [link.name for link in moment.chains()[0].links] == ["o", barrier, "g", "b"]


def test_a_conversation_that_waits_for_an_idle_worker_is_the_cause():
    """What comes next is told."""
    plan = plan_of(WORKERS + "let main : !int -> !int = plumb(i, o) { i ; f ; o }\n")
    moment = At(plan)
    moment.snapshot = msgspec.structs.replace(moment.snapshot, monitors={"wire": "protocol P, step 1: expected int"})
    (chain,) = moment.chains()
    assert (chain.root.cause, chain.root.text) == ("protocol", "protocol P, step 1: expected int")


def test_each_cause_is_told_once_by_the_shortest_way():
    """Two outputs that miss the same worker."""
    plan = plan_of(WORKERS + "let main : !int -> (!int, !int) = plumb(i, x, y) {\n  i ; f\n  f ; x\n  f ; g ; y\n}\n")
    chains = At(plan).worker("f", "busy", given=1).chains()
    assert [[link.name for link in chain.links] for chain in chains] == [["x", "f"]]


def test_a_worker_whose_output_leads_nowhere_is_told_by_itself():
    """Nobody misses anything, and a message is stuck."""
    plan = plan_of(WORKERS + "let main : !int -> !int = plumb(i, o) {\n  i ; o\n  i ; f ; discard\n}\n")
    (chain,) = At(plan).worker("f", "busy", given=1).chains()
    assert [link.name for link in chain.links] == ["f"]
    assert is_stuck(chain)
