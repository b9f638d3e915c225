"""A session that writes its history, and one that is brought back from it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from literal import LOOP, ONE, WORKER, Run, ack, entering, out, sent
from plans import plan_of

from fabric.errors import ConfigError, HistoryUnfit
from fabric.session.events import Command, Deliver, Exited, Finish, InputClosed, Output, Record, Settled, Start
from fabric.session.history import (
    Answer,
    Closed,
    Entered,
    Finished,
    History,
    Resumed,
    Turn,
    bytes_of,
    decode_history,
    encode_history,
    text_of,
)
from fabric.session.reliving import Relived
from fabric.session.session import Session, Settings
from fabric.wire.frame import Eof


class Durable(Run):
    """A durable session with one worker; ``entries``: what it has recorded, as its log has it."""

    def __init__(self, text: str = ONE, past: Sequence[History] = (), settings: Settings | None = None) -> None:
        super().__init__(text, settings)
        self.session = Session(plan_of(text), settings or Settings(), random.Random(2), durable="S")
        self.entries: list[History] = [decode_history(encode_history(entry)) for entry in past]
        self.relived = self.session.relive(self.entries) if past else Relived()

    def __call__(self, event, now_s: float = 0.0) -> list[Command]:
        commands = super().__call__(event, now_s)
        self.entries += recorded(commands)
        return commands

    def started(self) -> Durable:
        """Bring worker ``f`` to RUNNING."""
        self(Start())
        self.up = self.ready()
        return self


def recorded(commands: Iterable[Command]) -> list[History]:
    return [entry for command in commands if isinstance(command, Record) for entry in command.entries]


def delivered(commands: Iterable[Command]) -> list[Output]:
    return [output for command in commands if isinstance(command, Deliver) for output in command.outputs]


def id_of(entry: History) -> str:
    assert isinstance(entry, Turn)
    return entry.message


def test_what_comes_in_is_recorded_before_anybody_gets_it():
    """The worker is behind the record: what it does with a message must not be known before the message is."""
    run = Durable().started()
    record, *rest = run(entering("i", b"1", 7))
    assert record == Record((Entered("i", text_of(b"1")[0], 7),))
    assert sent(rest) == [b"1", "ack/f/1/1"]


def test_what_a_worker_made_of_a_message_is_one_entry_before_it_goes_on():
    """All outputs and the end of the message at once; what leaves the graph is behind that, with an id."""
    run = Durable().started()
    run(entering("i", b"1", 7))
    record, deliver, settled = run.frames(out(10), out(11), ack(1))
    [turn] = record.entries
    assert (turn.node, turn.outputs) == (
        "f",
        (Answer("output", text_of(b"10")[0]), Answer("output", text_of(b"11")[0])),
    )
    assert [output.payload for output in deliver.outputs] == [b"10", b"11"]
    assert len({output.span_id for output in deliver.outputs}) == 2
    assert settled == Settled([7])


def test_a_message_that_no_worker_has_done_is_given_again():
    """Whatever had been sent for it: what was not recorded has not happened."""
    run = Durable().started()
    run(entering("i", b"1", 7))
    run(entering("i", b"2", 8))
    run.frames(out(10), ack(1))
    run.frames(out(20))
    again = Durable(past=run.entries)
    assert (again.relived.standing, again.relived.next_ticket, again.relived.settled) == (1, 9, {7})
    assert again.entries[-1] != Resumed()
    again.started()
    assert sent(again.up) == [b"2", "ack/f/1/1"]
    commands = again.frames(out(20), ack(1))
    assert [output.payload for output in delivered(commands)] == [b"20"]
    assert commands[-1] == Settled([8])


def test_what_left_the_graph_is_known_with_the_ids_that_it_had():
    """So whoever takes the output knows what it has."""
    run = Durable().started()
    run(entering("i", b"1", 7))
    outputs = delivered(run.frames(out(10), out(11), ack(1)))
    assert list(Durable(past=run.entries).relived.outputs) == outputs


def test_a_session_that_is_brought_back_says_so_first():
    """What follows is after what its clients have given it anew."""
    run = Durable().started()
    run(entering("i", b"1", 7))
    again = Durable(past=run.entries)
    assert again(Start())[0] == Record((Resumed(),))


def test_ids_follow_from_the_session_and_the_number_of_the_entry():
    """Two sessions with other chances draw the same ones; those of another session are others."""
    first, second = Durable().started(), Durable().started()
    second.session._rng.random()
    for run in (first, second):
        run(entering("i", b"1", 7))
        run.frames(out(10), ack(1))
    assert id_of(first.entries[1]) == id_of(second.entries[1])


def test_a_session_that_has_done_all_says_so_last():
    """Then another run begins with new input."""
    run = Durable().started()
    run(entering("i", b"1", 7))
    run.frames(out(10), ack(1))
    run(InputClosed())
    run.frames(Eof("f"))
    commands = run(Exited("f", 0))
    assert commands[-2] == Record((Finished(0),))
    assert isinstance(commands[-1], Finish)
    relived = Durable(past=run.entries).relived
    assert (relived.finished, relived.inputs_before, len(relived.inputs)) == (True, 1, 1)


def test_a_message_goes_round_a_loop_and_stands_where_it_was():
    """Feedback is a message like any other: it waits at the worker after the turn that made it."""
    run = Durable(LOOP).started()
    run(entering("i", b"2", 7))
    run.frames(out(1), ack(1))
    again = Durable(LOOP, past=run.entries).started()
    assert sent(again.up) == [b"1", "ack/f/1/1"]
    assert [output.payload for output in delivered(again.frames(out(0), ack(1)))] == [b"0"]


def test_an_entry_at_which_the_session_fails_is_none():
    """It would fail at it whenever it is brought back; so the message comes again."""
    run = Durable(ENDLESS).started()
    run(entering("i", b"1", 7))
    commands = run.frames(out(10), ack(1))
    assert recorded(commands) == []
    assert run.notes[-1].fields["code"] == "endless_loop"
    assert [entry for entry in run.entries if isinstance(entry, Turn)] == []
    again = Durable(ENDLESS, past=run.entries).started()
    assert sent(again.up) == [b"1", "ack/f/1/1"]


ENDLESS = WORKER + (
    "let turn : !int -> !int = map(value)\n"
    "let main : !int -> !int = plumb(i, o) {\n"
    "  i ; f\n  f ; filter(value > 5) ; turn\n  turn ; filter(value > 5) ; turn\n"
    "  turn ; filter(value <= 5) ; o\n  f ; filter(value <= 5) ; o\n}\n"
)


def test_what_cannot_have_happened_is_refused_with_the_entry():
    """The program was changed: it says which entry, what was expected, and what to do."""
    past = [Entered("i", text_of(b"1")[0], 1), Turn("g", "00" * 8)]
    with pytest.raises(HistoryUnfit, match=r"entry 1 .*\(turn of 'g'\).*no node 'g'"):
        Durable(past=past)


def test_a_message_that_is_not_there_is_refused():
    """A turn is of a message that stands at its worker."""
    past = [Entered("i", text_of(b"1")[0], 1), Turn("f", "00" * 8)]
    with pytest.raises(HistoryUnfit, match="no message 0000000000000000 stands at 'f'; there are: "):
        Durable(past=past)


def test_what_does_not_fit_is_left_out_if_that_is_allowed():
    """A message is then the one that stands first, for ids depend on the program."""
    past: list[History] = [
        Entered("i", text_of(b"1")[0], 1),
        Turn("g", "00" * 8),
        Turn("f", "00" * 8, (Answer("output", text_of(b"5")[0]),)),
    ]
    session = Session(plan_of(ONE), Settings(), random.Random(1), durable="S")
    relived = session.relive(past, allow_changed=True)
    assert [skipped.number for skipped in relived.skipped] == [1]
    assert [output.payload for output in relived.outputs] == [b"5"]


def test_a_durable_session_keeps_every_message():
    """A policy that throws some away is refused."""
    with pytest.raises(ConfigError, match="'block', not 'dead_letter'"):
        Durable(settings=Settings(policy="dead_letter"))


@given(
    st.binary(max_size=20) | st.text(max_size=20).map(str.encode) | st.sampled_from([b"", b" 1", b"1],[2", b"[" * 2000])
)
def test_a_payload_is_kept_byte_by_byte(payload: bytes):
    """Also what is no JSON text, which is refused, and what would break the entry that it stands in."""
    raw, garbled = text_of(payload)
    entry = Entered("i", raw, 1, garbled=garbled)
    known = decode_history(encode_history(entry))
    assert isinstance(known, Entered)
    assert bytes_of(known.payload, known.garbled) == payload


def test_entries_are_read_as_they_were_written():
    """What is not there is what it is by default."""
    entries: list[History] = [Closed("b"), Resumed(), Finished(3), Turn("f", "ab" * 8, declined="no")]
    assert [decode_history(encode_history(entry)) for entry in entries] == entries
