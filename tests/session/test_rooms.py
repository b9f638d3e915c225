"""Who waits when a place is full; and in which order messages enter a loop."""

from __future__ import annotations

from literal import Workers, delivered, entering, given

from fabric.graph.ir import End
from fabric.session.events import (
    Buried,
    Exited,
    Finish,
    InputClosed,
    LossReport,
    Refuse,
    Settled,
)
from fabric.session.settings import Settings
from fabric.wire.frame import Eof

FORK = (
    ("let main : !int -> !int = plumb(i, o) {\n  i ; (a * b) ; barrier ; c ; o\n  c ; filter(value > 0) ; (a * b)\n}\n")
    .replace("c ; o", "add ; o")
    .replace("  c ;", "  add ;")
)
ADD = "let add : !(int, int) -> !int = map(value[0] - value[1])\n"


def test_what_a_fork_made_of_one_message_meets_again():
    """Though a is behind b: what comes back waits behind what came in before it, on both ways."""
    run = Workers(ADD + FORK, "ab")
    run(entering("i", b"1", 1))
    assert run(entering("i", b"2", 2)) == []
    assert given(run.answer("b", 1, 10), "b") == [b"2"]
    commands = run.answer("a", 1, 15)  # the pair (15, 10) goes round as 5
    assert delivered(commands) == [b"5"]
    assert given(commands, "a") == [b"2"]
    assert given(run.answer("b", 2, 20), "b") == [b"5"]
    assert delivered(run.answer("a", 2, 20)) == [b"0"]


def test_so_many_are_let_into_a_loop_and_the_others_wait_before_it():
    """Sixteen; when one is done the next comes in, and what waits keeps the loop open."""
    run = Workers(ADD + FORK, "ab")
    for ticket in range(1, 12):
        run(entering("i", b"%d" % ticket, ticket))
    snapshot = run.session.snapshot()
    assert {worker.name: worker.waiting + worker.unacknowledged for worker in snapshot.workers} == {"a": 8, "b": 8}
    assert snapshot.entering == {snapshot.workers[0].name: 6}
    run(InputClosed())
    run.answer("a", 1, 1)
    run.answer("b", 1, 1)
    assert run.session.snapshot().entering == {snapshot.workers[0].name: 4}


def test_what_a_fork_made_of_one_message_is_let_in_together():
    """Though there is room for one only: what goes round meanwhile would come between, on one of the ways."""
    run = Workers(ADD + FORK, "ab")
    for ticket in range(1, 10):
        run(entering("i", b"%d" % ticket, ticket))
    run.answer("a", 1, 15)  # room for one, and the ninth has two parts
    run.answer("b", 1, 10)  # the pair goes round as 5
    for name in "ab":
        row = [given(run.answer(name, seq, 0), name) for seq in range(2, 10)]
        assert row == [[b"3"], [b"4"], [b"5"], [b"6"], [b"7"], [b"8"], [b"9"], [b"5"]]


CHAIN = "let main : !int -> !int = plumb(i, o) { i ; a ; b ; o }\n"


def test_a_worker_is_given_nothing_while_what_it_feeds_is_full():
    """It goes on when there is room for some; the place that it waits for is told."""
    run = Workers(CHAIN, "ab", Settings(queue=2))
    for ticket in (1, 2, 3, 4):
        run(entering("i", b"%d" % ticket, ticket))
    run.answer("a", 1, 1)
    run.answer("a", 2, 2)
    assert given(run.answer("a", 3, 3), "a") == []  # b has one, and two wait for it
    (held,) = [worker for worker in run.session.snapshot().workers if worker.held_by]
    assert (held.name, held.held_by) == ("a", (End("b", "input"),))
    assert given(run.answer("b", 1, 1), "a") == [b"4"]


def test_input_waits_while_what_it_feeds_is_full():
    """The client is asked to wait; what it sends all the same is taken."""
    run = Workers(CHAIN, "ab", Settings(queue=2))
    assert run.session.wants_input
    for ticket in (1, 2, 3):
        run(entering("i", b"%d" % ticket, ticket))
    assert not run.session.wants_input
    run.answer("a", 1, 1)
    assert run.session.wants_input


def test_where_nobody_waits_for_room_what_is_too_much_is_a_dead_letter():
    """So the policy may say: counted, and its client is told."""
    run = Workers(CHAIN, "ab", Settings(queue=1, policy="dead_letter"))
    run(entering("i", b"1", 1))
    run(entering("i", b"2", 2))
    buried, refused, settled = run(entering("i", b"3", 3))
    assert isinstance(buried, Buried)
    assert (buried.letter.worker, buried.letter.payload, buried.letter.cause) == ("a", b"3", "queue_full")
    assert isinstance(refused, Refuse)
    assert (refused.code, settled) == ("dead_lettered", Settled([3]))


PAIRS = (
    "let pair : !(int, int) -> !int = map(value[0] + value[1])\n"
    "let odd : !int -> !int = filter(value % 2 = 1)\n"
    "let even : !int -> !int = filter(value % 2 = 0)\n"
    "let main : !int -> !int = plumb(i, o) { i ; a ; (odd * even) ; barrier ; pair ; o }\n"
)


def test_a_slot_that_is_full_holds_back_who_feeds_it():
    """As long as something else may come for the other slot."""
    run = Workers(PAIRS, "a", Settings(queue=2))
    for ticket in (1, 2, 3):
        run(entering("i", b"%d" % ticket, ticket))
    run.answer("a", 1, 1)
    assert given(run.answer("a", 2, 3), "a") == []
    assert [end.port for end in run.session.snapshot().workers[0].held_by] == ["input_0"]


def test_but_not_for_ever():
    """Nothing else will come, so what it may still give is all that there is."""
    run = Workers(PAIRS, "a", Settings(queue=2))
    for ticket in (1, 2, 3):
        run(entering("i", b"%d" % ticket, ticket))
    run.answer("a", 1, 1)
    run.answer("a", 2, 3)
    assert given(run(InputClosed()), "a") == [b"3"]
    assert delivered(run.answer("a", 3, 4)) == [b"5"]
    run.of("a", Eof("a"))
    assert run(Exited("a", 0))[-1] == Finish(0, LossReport(unpaired=1))


def test_nor_does_it_keep_the_partner_out():
    """Input may be what the other slot waits for."""
    run = Workers(PAIRS, "a", Settings(queue=2))
    run(entering("i", b"1", 1))
    run(entering("i", b"2", 2))
    run.answer("a", 1, 1, 3)
    assert run.session.wants_input
