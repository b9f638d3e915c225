"""Who is at a socket."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from fabric.transport.peers import PEERS_MAX, Peers


def test_a_peer_that_comes_back_is_no_second_one():
    """It had gone before."""
    peers = Peers()
    for connection in (5, 6, 5):
        peers.handle("began", connection)
        peers.handle("joined", 0)
        peers.handle("ended", connection)
    assert (peers.joined, peers.left, peers.doubled, peers.present) == (3, 3, 0, 0)


def test_a_peer_that_comes_while_one_is_there_is_a_second_one():
    """Whichever of them goes then."""
    peers = Peers()
    for connection in (5, 6):
        peers.handle("began", connection)
        peers.handle("joined", 0)
    assert (peers.doubled, peers.present) == (1, 2)
    peers.handle("ended", 5)
    assert (peers.left, peers.present) == (1, 1)


def test_who_gets_through_no_handshake_is_nobody():
    """However many of them come and go around a peer, before it and behind it."""
    peers = Peers()
    for connection in range(10, 20):
        peers.handle("began", connection)
    peers.handle("joined", 0)
    for connection in range(10, 19):
        peers.handle("ended", connection)
    assert (peers.left, peers.present) == (0, 1)
    for connection in range(20, 30):
        peers.handle("began", connection)
    peers.handle("ended", 19)  # only this one can have been the peer
    assert (peers.left, peers.present) == (1, 0)
    for connection in range(20, 30):
        peers.handle("ended", connection)
    assert (peers.joined, peers.left, peers.doubled) == (1, 1, 0)


STEPS = st.lists(st.tuples(st.sampled_from(["began", "joined", "ended"]), st.integers(0, 5)))
CROWD = st.lists(
    st.tuples(st.sampled_from(["began", "joined", "joined", "ended"]), st.integers(0, 2 * PEERS_MAX)), max_size=200
)


@given(STEPS | CROWD)
def test_there_are_never_fewer_peers_than_there_are_and_none_too_many_once_strangers_are_gone(
    steps: list[tuple[str, int]],
):
    """Against one who sees which connection succeeds."""
    peers = Peers()
    waiting: set[int] = set()
    inside: set[int] = set()
    for happening, connection in steps:
        if happening == "began" and connection not in waiting | inside:
            waiting.add(connection)
            peers.handle("began", connection)
        elif happening == "joined" and connection in waiting:
            waiting.remove(connection)
            inside.add(connection)
            peers.handle("joined", 0)
        elif happening == "ended" and connection in waiting | inside:
            waiting.discard(connection)
            inside.discard(connection)
            peers.handle("ended", connection)
        assert peers.present >= len(inside)
        assert peers.joined == peers.left + peers.present
        if not waiting:
            assert peers.present == len(inside)


@given(st.randoms(use_true_random=False), st.booleans())
def test_a_crowd_costs_few_steps(random: Random, strangers: bool):
    """Three hundred peers, however they come and go: so many steps for each event as a few peers cost, not as they."""
    peers = Peers()
    connections = list(range(300))
    random.shuffle(connections)
    events = 0
    if strangers:  # who say nothing, and are there all the time
        for connection in range(1_000, 1_300):
            peers.handle("began", connection)
            events += 1
    for happening in ("began", "joined", "ended"):
        random.shuffle(connections)
        for connection in connections:
            peers.handle(happening, connection)
            events += 1
        if happening == "joined":
            assert (peers.joined, peers.doubled, peers.present) == (300, 299, 300)
    assert peers.joined == peers.left + peers.present
    assert peers.present == (300 if strangers else 0)
    assert peers.steps <= events * PEERS_MAX**3
