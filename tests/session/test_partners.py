"""A message that dies on its way to a barrier: its partner is taken out, and the later pairs are right."""

from __future__ import annotations

from literal import Workers, delivered, entering

from fabric.session.events import Buried, Command, Exited, InputClosed, Retry, Settled, TimerFired
from fabric.session.settings import Settings, WorkerSettings
from fabric.wire.control import READY
from fabric.wire.frame import Data, Marker

PAIR = "let main : !int -> !(int, int) = plumb(i, o) { i ; (a * b) ; barrier ; o }\n"
FORGET = Settings(workers={name: WorkerSettings(on_crash="forget") for name in "abc"})
TOLD = ('{"error":"no","code":"python_error"}',)


def dies(run: Workers, name: str) -> list[Command]:
    """Let a worker say that it cannot do the message that it has; start it again."""
    commands = run(Exited(name, 1, TOLD))
    assert [command for command in commands if isinstance(command, Buried)]
    run(TimerFired(("restart", name)))
    run.of(name, Data(name, READY), port="ctrl_out")
    return [*commands, *run.of(name, Marker(name, f"probe/{name}/2"))]


def second(run: Workers, name: str, seq: int, value: int) -> list[Command]:
    """Let the second process of a worker answer."""
    return run.of(name, Data(name, b"%d" % value), Marker(name, f"ack/{name}/2/{seq}"))


def test_the_partner_of_a_dead_letter_is_taken_out_at_once():
    """It stands first on its side, and nothing else of its input is left: its client need not wait."""
    run = Workers(PAIR, "ab", FORGET)
    run(entering("i", b"1", 1))
    run.answer("a", 1, 10)
    assert Settled([1]) in dies(run, "b")
    assert run.session.snapshot().unpaired == 1
    run(entering("i", b"2", 2))
    run.answer("a", 2, 20)
    assert delivered(second(run, "b", 1, 21)) == [b"[20,21]"]


def test_a_partner_that_comes_later_is_taken_out_then():
    """And what comes behind it finds its own."""
    run = Workers(PAIR, "ab", FORGET)
    run(entering("i", b"1", 1))
    run(entering("i", b"2", 2))
    dies(run, "b")
    assert delivered(second(run, "b", 1, 21)) == []
    assert Settled([1]) in run.answer("a", 1, 10)
    assert delivered(run.answer("a", 2, 20)) == [b"[20,21]"]


def test_pairs_before_it_are_made():
    """The dead one was behind them."""
    run = Workers(PAIR, "ab", FORGET)
    run(entering("i", b"1", 1))
    run(entering("i", b"2", 2))
    run.answer("b", 1, 11)
    dies(run, "b")
    assert delivered(run.answer("a", 1, 10)) == [b"[10,11]"]
    assert Settled([2]) in run.answer("a", 2, 20)


def test_a_letter_that_is_tried_again_has_no_partner_any_more():
    """What comes of it is taken out, too, and shifts nothing."""
    run = Workers(PAIR, "ab", FORGET)
    run(entering("i", b"1", 1))
    run.answer("a", 1, 10)
    dies(run, "b")
    run(Retry("b", b"1", 9))
    second(run, "b", 1, 11)
    run(entering("i", b"2", 2))
    run.answer("a", 2, 20)
    assert delivered(second(run, "b", 2, 21)) == [b"[20,21]"]
    assert run.session.snapshot().unpaired == 2


def test_a_refused_answer_is_missed_likewise():
    """It is lost, not dead; its partner is alone all the same."""
    run = Workers(PAIR, "ab", FORGET)
    run(entering("i", b"1", 1))
    run.answer("a", 1, 10)
    assert Settled([1]) in run.of("b", Data("b", b'"x"'), Marker("b", "ack/b/1/1"))
    run(entering("i", b"2", 2))
    run.answer("a", 2, 20)
    assert delivered(run.answer("b", 2, 21)) == [b"[20,21]"]


BEFORE = "let main : !int -> !(int, int) = plumb(i, o) { i ; c ; (a * b) ; barrier ; o }\n"


def test_what_dies_before_the_fork_is_missed_on_no_side():
    """Neither side gets it; nothing is taken out."""
    run = Workers(BEFORE, "abc", FORGET)
    run(entering("i", b"1", 1))
    run(entering("i", b"2", 2))
    dies(run, "c")
    second(run, "c", 1, 2)
    run.answer("a", 1, 20)
    assert delivered(run.answer("b", 1, 21)) == [b"[20,21]"]
    assert run.session.snapshot().unpaired == 0


TWO = "let main : (!int, !int) -> !(int, int) = plumb(i, j, o) { i ; a\n j ; b\n (a * b) ; barrier ; o }\n"


def test_sides_of_different_inputs_are_paired_as_they_come():
    """Nothing says what belongs together but the order; what died there is not missed by anybody in particular."""
    run = Workers(TWO, "ab", FORGET)
    run(entering("i", b"1", 1))
    run(entering("j", b"1", 2))
    run(entering("j", b"2", 3))
    run.answer("a", 1, 10)
    dies(run, "b")
    assert delivered(second(run, "b", 1, 22)) == [b"[10,22]"]
    run(InputClosed())
    assert run.session.snapshot().unpaired == 0
