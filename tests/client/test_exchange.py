"""What a program and its callers give each other, without either."""

from __future__ import annotations

import traceback
import tracemalloc

import pytest

from fabric.client.exchange import (
    OUTPUT_BYTES_UNREAD_MAX,
    OUTPUTS_UNREAD_MAX,
    SENT_MAX,
    SIDE_MAX,
    Ending,
    Exchange,
    Ticket,
)
from fabric.errors import PipelineError, RunError
from fabric.session.events import Heard, Output, Refuse


def output(number: int, *tickets: int, payload: bytes = b"") -> Output:
    return Output("output", payload or str(number).encode(), tickets)


def heard(number: int, label: str = "telemetry") -> Heard:
    return Heard(label, "worker", str(number).encode())


def test_messages_wait_until_there_is_room():
    """So many, and no more."""
    exchange = Exchange(bounded=True)
    assert [exchange.send("input", b"1") for _ in range(SENT_MAX + 1)] == [True] * SENT_MAX + [None]
    taken = exchange.take_sent(2)
    assert taken is not None
    assert [message.payload for message in taken] == [b"1", b"1"]
    assert exchange.send("input", b"2")


def test_the_end_of_the_input_is_behind_what_was_sent():
    """The program is told when it has all of it."""
    exchange = Exchange(bounded=True)
    exchange.send("input", b"1")
    exchange.close_input()
    assert len(exchange.take_sent(64) or ()) == 1
    assert exchange.take_sent(64) is None
    with pytest.raises(PipelineError, match="the input is closed"):
        exchange.send("input", b"2")


@pytest.mark.parametrize(
    "outputs", [[output(1)] * OUTPUTS_UNREAD_MAX, [output(1, payload=b"x" * OUTPUT_BYTES_UNREAD_MAX)]]
)
def test_outputs_that_nobody_reads_hold_back_messages(outputs: list[Output]):
    """By number, and by size; reading one lets them go on, and so does the end of all interest."""
    exchange = Exchange(bounded=True)
    exchange.send("input", b"1")
    exchange.deliver(outputs)
    assert (exchange.send("input", b"2"), exchange.take_sent(1), exchange.has_sent()) == (None, [], False)
    stirred: list[bool] = []
    exchange.stir = lambda: stirred.append(True)
    assert exchange.take_output() is outputs[0]
    assert (exchange.send("input", b"2"), exchange.has_sent(), stirred[:1]) == (True, True, [True])
    exchange.deliver(outputs)
    exchange.ignore_unread()
    assert exchange.has_sent()


@pytest.mark.parametrize("size", [1, 10_000])
def test_a_call_is_not_held_back_but_bounded(size: int):
    """It reads all at its end, and has to end when that is too much: by the memory that it takes, not its payload."""
    most = 1_000_000
    exchange = Exchange(bounded=False, collected_bytes_max=most)
    tracemalloc.start()
    try:
        number = 1_000
        while exchange.deliver([output(number, number, payload=b"x" * (size - 1) + b"%d" % (number % 10))]):
            number += 1
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most * 0.6 < taken < most * 1.2
    assert len(exchange.take_all()) == number - 999


def test_what_comes_for_somebody_who_has_gone_is_kept_by_nobody():
    """Neither for him, though his message is not settled yet, nor for those who read."""
    exchange = Exchange(bounded=True)
    ticket = Ticket()
    exchange.send("input", b"1", ticket)
    (message,) = exchange.take_sent(1) or ()
    exchange.deliver([output(1, message.ticket)])
    exchange.forget(ticket)
    exchange.deliver([output(2, message.ticket)])
    assert (ticket.outputs, exchange.take_output()) == ([], None)


def test_an_output_goes_to_those_who_wait_for_it():
    """To all of them; and to who reads, if it comes of something else as well."""
    exchange = Exchange(bounded=True)
    tickets = [Ticket(), Ticket(), None]
    for ticket in tickets:
        exchange.send("input", b"1", ticket)
    first, second, third = (message.ticket for message in exchange.take_sent(3) or ())
    outputs = [output(1, first), output(2, first, second), output(3, second, third), output(4)]
    exchange.deliver(outputs)
    exchange.settle([first])
    assert tickets[0] is not None
    assert tickets[1] is not None
    assert (tickets[0].outputs, tickets[0].settled) == (outputs[:2], True)
    assert (tickets[1].outputs, tickets[1].settled) == (outputs[1:3], False)
    assert [exchange.take_output(), exchange.take_output(), exchange.take_output()] == [*outputs[2:], None]


def test_a_refusal_is_told_to_those_who_wait_or_in_its_place():
    """Never to nobody, where somebody wants to hear of each."""
    exchange = Exchange(bounded=True)
    ticket = Ticket()
    exchange.send("input", b"1", ticket)
    (message,) = exchange.take_sent(1) or ()
    error = PipelineError("no")
    exchange.refuse(Refuse("x", "no", "", (message.ticket,)), error, tell=True)
    assert str(ticket.failure) == "no"
    exchange.deliver([output(1)])
    exchange.refuse(Refuse("x", "no", "", (99,)), error, tell=True)
    exchange.deliver([output(2)])
    assert exchange.take_output() == output(1)
    with pytest.raises(PipelineError, match="no"):
        exchange.take_output()
    assert exchange.take_output() == output(2)


def test_a_refusal_that_is_read_makes_room():
    """As an output does: who waits for it is woken up."""
    exchange = Exchange(bounded=True)
    exchange.refuse(Refuse("x", "no", "", (99,)), PipelineError("no"), tell=True)
    exchange.deliver([output(1)] * (OUTPUTS_UNREAD_MAX - 1))
    stirred: list[bool] = []
    exchange.stir = lambda: stirred.append(True)
    assert exchange.send("input", b"1") is None
    with pytest.raises(PipelineError, match="no"):
        exchange.take_output()
    assert stirred == [True]
    assert exchange.send("input", b"1")


def test_events_come_in_the_order_in_which_they_came():
    """Of both kinds; who reads one kind leaves the other."""
    exchange = Exchange(bounded=True, telemetry=True)
    exchange.hear([heard(1)])
    exchange.deliver([output(2)])
    exchange.hear([heard(3), heard(4)])
    exchange.deliver([output(5)])
    assert exchange.take_telemetry() == heard(1)
    found = [exchange.take_event() for _ in range(5)]
    assert found == [output(2), heard(3), heard(4), output(5), None]


def test_the_newest_telemetry_is_kept_and_the_rest_counted():
    """Each observed port by itself; what nobody asked for is not kept at all."""
    exchange = Exchange(bounded=True, telemetry=True, extra=["ctrl_out"])
    dropped = exchange.hear([heard(number) for number in range(SIDE_MAX + 5)])
    exchange.hear([heard(1, "ctrl_out"), heard(2, "other")])
    assert exchange.telemetry is not None
    assert (dropped, exchange.telemetry.dropped, exchange.extras["ctrl_out"].dropped) == (5, 5, 0)
    assert exchange.take_telemetry() == heard(5)
    assert [one for _, one in exchange.extras["ctrl_out"].heard] == [heard(1, "ctrl_out")]


def test_each_is_told_of_a_failure_with_an_error_of_his_own():
    """Tracebacks of one do not grow in that of another. The first end is the one that counts."""
    exchange = Exchange(bounded=True)
    exchange.end(Ending(3, ("too much", "budget_exhausted"), "last words"))
    exchange.end(Ending(0))
    errors = []
    for _ in range(2):
        with pytest.raises(PipelineError) as caught:
            exchange.raise_failure()
        errors.append(caught.value)
    assert errors[0] is not errors[1]
    assert [(error.detail, error.code, error.returncode, error.stderr) for error in errors] == [
        ("too much", "budget_exhausted", 3, "last words")
    ] * 2
    exchange.raise_untold()


@pytest.mark.parametrize("when", ["before", "behind"])
def test_what_a_call_that_was_given_up_was_refused_for_is_told_to_others(when: str):
    """A dead letter that nobody hears of would be one in silence."""
    exchange = Exchange(bounded=True)
    ticket = Ticket()
    exchange.send("input", b"1", ticket)
    (message,) = exchange.take_sent(1) or ()
    if when == "before":
        exchange.forget(ticket)
    exchange.refuse(Refuse("x", "no", "", (message.ticket,)), PipelineError("no", 0), tell=True)
    exchange.forget(ticket)
    exchange.settle([message.ticket])
    exchange.end(Ending(5, ("no", "dead_lettered"), told_one_by_one=True))
    exchange.raise_failure()
    with pytest.raises(PipelineError, match="no"):
        exchange.raise_untold()


def test_a_failure_whose_cause_was_told_is_not_told_again():
    """Who called has heard of what the program ended of."""
    exchange = Exchange(bounded=True)
    ticket = Ticket()
    exchange.send("input", b"1", ticket)
    exchange.take_sent(1)
    exchange.refuse(Refuse("x", "no", "", (1,)), PipelineError("no", 1, code="x"))
    exchange.end(Ending(1, ("no", "x")))
    with pytest.raises(PipelineError, match="no"):
        exchange.fail(ticket)
    exchange.raise_untold()


class _Odd(Exception):
    """Cannot be copied."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} {two}")


@pytest.mark.parametrize("error", [RunError("no key", 7), RuntimeError("a bug")])
def test_each_who_waits_raises_an_error_of_his_own(error: Exception):
    """The same in all that it says; its traceback is that of one, however many raise it."""
    exchange = Exchange(bounded=True)
    error.__cause__ = LookupError("a file")
    exchange.end(Ending(7, error=error))
    told = []
    for _ in range(3):
        with pytest.raises(type(error)) as caught:
            exchange.raise_failure()
        told.append(caught.value)
    assert len({id(one) for one in [*told, error]}) == 4
    assert [(str(one), vars(one), one.__cause__) for one in told] == [(str(error), vars(error), error.__cause__)] * 3
    assert error.__traceback__ is None
    assert len({len(traceback.extract_tb(one.__traceback__)) for one in told}) == 1


def test_an_error_that_cannot_be_copied_is_raised_itself():
    """It is better than none."""
    exchange = Exchange(bounded=True)
    error = _Odd(1, 2)
    exchange.end(Ending(70, error=error))
    with pytest.raises(_Odd) as caught:
        exchange.raise_failure()
    assert caught.value is error


def test_each_message_of_one_refusal_fails_by_itself():
    """A message that came of two has two who wait for it."""
    exchange = Exchange(bounded=True)
    tickets = [Ticket(), Ticket()]
    for ticket in tickets:
        exchange.send("input", b"1", ticket)
    numbers = tuple(message.ticket for message in exchange.take_sent(2) or ())
    exchange.refuse(Refuse("x", "no", "", numbers), PipelineError("no"))
    first, second = (ticket.failure for ticket in tickets)
    assert str(first) == str(second) == "no"
    assert first is not second
