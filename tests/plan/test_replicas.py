"""Several workers for one node: their names and addresses, and who cannot have any."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabric.errors import ConfigError
from fabric.plan.bound import bound_of
from fabric.plan.place import Host, Place, Placement, place
from fabric.plan.render import render_plan
from fabric.plan.replicas import Replicas, known_names, meant, node_of, replicated
from fabric.wire.payload import decode_json
from tests.support.plans import plan_of

PLAIN = """
let f : !int -> !int = python { call: "m:f" }
let g : !int -> !int = python { call: "m:g" }
let main : !int -> !int = plumb(i, o) { i ; f ; g ; o }
"""
ROOT = Path(__file__).parents[2]
THREE = {"f": Replicas(3)}


def test_replicas_have_the_name_of_their_node_and_a_number() -> None:
    """They are told the name of the node, for that is who speaks; one replica is the worker itself."""
    workers = replicated(plan_of(PLAIN), THREE).workers
    assert [(worker.name, worker.node, worker.spec.name) for worker in workers] == [
        ("g", "g", "g"),
        ("f#1", "f", "f"),
        ("f#2", "f", "f"),
        ("f#3", "f", "f"),
    ]


def test_each_replica_has_addresses_of_its_own() -> None:
    """The first has those that the one worker had."""
    before, plan = plan_of(PLAIN), replicated(plan_of(PLAIN), THREE)
    addresses = [address.bind for worker in plan.workers for address in worker.endpoints.values()]
    assert len(set(addresses)) == len(addresses)
    assert plan.workers[1].endpoints == before.workers[1].endpoints
    assert plan.workers[2].endpoints["input"].bind == "ipc://RUN/2.input"


def test_replicas_are_placed_like_their_node() -> None:
    """What is said of a worker is said of all of its replicas, and each draws ports of its own."""
    hosts = {"a": Host("a", "10.0.0.1"), "b": Host("b", "10.0.0.2")}
    placement = Placement(hosts, "a", {"f": Place(host="b", runner="external", replicas=2)})
    _, first, second = place(plan_of(PLAIN), placement).workers
    assert (first.host, second.host, second.runner) == ("b", "b", "external")
    assert not {a.connect for a in first.endpoints.values()} & {a.connect for a in second.endpoints.values()}


def test_names_mean_one_replica_or_all() -> None:
    """As a user writes them."""
    names = ["g", "f#1", "f#2"]
    assert known_names(names) == ["g", "f", "f#1", "f#2"]
    assert (meant("f", names), meant("f#2", names), meant("g", names)) == (["f#1", "f#2"], ["f#2"], ["g"])
    assert (node_of("f#12"), node_of("f")) == ("f", "f")


def test_a_plan_shows_each_replica_and_its_bound_counts_the_node() -> None:
    """It is one agent, whoever of it is called."""
    text = PLAIN.replace('python { call: "m:f" }', 'agent { provider: "eliza" amnesiac: true }')
    plan = replicated(plan_of(text), THREE)
    assert [agent.name for agent in bound_of(plan).agents] == ["f"]
    assert bound_of(plan).calls("i") == bound_of(plan_of(text)).calls("i")
    shown = decode_json(render_plan(plan, "json"))
    assert shown["stop"] == ["f#1", "f#2", "f#3", "g"]
    assert [worker["node"] for worker in shown["workers"]] == ["g", "f", "f", "f"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            PLAIN.replace('python { call: "m:f" }', 'agent { provider: "eliza" }'),
            "agent 'f' remembers what it was told: each replica would remember a part; say amnesiac: true, or"
            " replicas = 1",
        ),
        (
            PLAIN.replace('"m:f"', '"m:f" state: true'),
            "worker 'f' has state: true: each replica would have a state of its own; say state: false, or replicas = 1",
        ),
        (
            PLAIN.replace('python { call: "m:f" }', 'worker { command: ["./f"] compat: true }'),
            "worker 'f' has compat: true: without markers nobody knows what a replica has answered; say replicas = 1",
        ),
        (
            'let f : (!int, !json) -> (!int, !json) = agent { provider: "eliza" amnesiac: true }\n'
            "let main : (!int, !json) -> (!int, !json) = plumb(i, c, o, r) {\n"
            "  i ; f ; o\n  c ; f@ctrl_in\n  f@ctrl_out ; r\n}\n",
            "the program asks agent 'f' on ctrl_in and reads its ctrl_out: each replica would reply; say replicas = 1",
        ),
    ],
)
def test_who_cannot_have_replicas_is_told_why(text: str, reason: str) -> None:
    """With the line of the file that asks for them; one is what everybody has."""
    wanted = Replicas(2, "fabric.toml:3")
    with pytest.raises(ConfigError) as caught:
        replicated(plan_of(text), {"f": wanted})
    assert str(caught.value) == f"fabric.toml:3: {reason}"
    assert [worker.node for worker in replicated(plan_of(text), {"f": Replicas(1)}).workers if worker.node == "f"]


def test_who_takes_turns_with_another_has_no_replicas() -> None:
    """On a session wire the order of turns counts, also for one that has no state."""
    shelf = (ROOT / "compose" / "shelf" / "main.plumb").read_text().replace("state: true", "")
    for name in ("shelf", "desk.clerk"):
        with pytest.raises(ConfigError, match="is on a session wire, where the order of turns counts"):
            replicated(plan_of(shelf), {name: Replicas(2)})


def test_programs_on_lines_may_have_replicas() -> None:
    """They are processes like any other."""
    text = PLAIN.replace('python { call: "m:f" }', 'worker { command: ["./f"] transport: "stdio" markers: true }')
    assert [worker.name for worker in replicated(plan_of(text), THREE).workers][1:] == ["f#1", "f#2", "f#3"]
