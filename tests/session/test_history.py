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
from fabric.session import events
from fabric.session.events import (
    Asked,
    Command,
    Deliver,
    Exited,
    Finish,
    Input,
    InputClosed,
    Interrupted,
    Launched,
    Output,
    Record,
    Send,
    Settled,
    Start,
    Told,
)
from fabric.session.history import (
    Answer,
    Buried,
    Closed,
    Entered,
    Finished,
    Forgotten,
    Given,
    History,
    Ordered,
    Paid,
    Remembered,
    Resumed,
    Retried,
    Steered,
    Turn,
    bytes_of,
    decode_history,
    encode_history,
    text_of,
)
from fabric.session.reliving import Inherited, Relived
from fabric.session.session import Session, Settings
from fabric.session.settings import WorkerSettings
from fabric.wire.codec import decode
from fabric.wire.control import AGENT_FEATURES, READY, read_object, ready
from fabric.wire.frame import Data, Eof, Marker

MAIN = "let main : !int -> !int = plumb(i, o) { i ; f ; o }\n"
AGENT = 'let f : !int -> !int = agent { provider: "scripted" script: "m:f" }\n' + MAIN
COMPAT = 'let f : !int -> !int = worker { command: ["w"] compat: true }\n' + MAIN
PAIRS = "let main : (!int, !int) -> !(int, int) = plumb(a, b, o) { (a * b) ; barrier ; o }\n"
FIRST = WORKER + "let main : (!int, !int) -> !int = plumb(a, b, o) { (a * b) ; merge_any ; f ; o }\n"


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


class Agents(Durable):
    """The same with an agent."""

    def __init__(self, text: str = AGENT, past: Sequence[History] = (), settings: Settings | None = None) -> None:
        super().__init__(text, past, settings)

    def up(self) -> Agents:
        """Bring the agent to RUNNING; ``started_with``: what it was sent then."""
        self(Start())
        self(Launched("f", 7))
        self.frames(Data("f", ready(*AGENT_FEATURES)), port="ctrl_out")
        self.started_with = self.frames(Marker("f", "probe/f/1"))
        return self


def told(commands: Iterable[Command]) -> list[dict[str, object]]:
    """Return the objects that were sent on ctrl_in."""
    raws = [command.raw for command in commands if isinstance(command, Send) and command.port == "ctrl_in"]
    return [read_object(frame.payload) for frame in map(decode, raws) if isinstance(frame, Data)]


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


def refused_at(run: Durable, ticket: int) -> list[Command]:
    """Give a run with a worker an input that is no number, and let it end by that."""
    run(Input("i", [(ticket, b'"x"'), (ticket + 1, b"3")]))
    run.frames(Eof("f"))
    return run(Exited("f", 0))


def test_a_run_that_a_refusal_has_ended_has_not_done_all():
    """The rest of its input was never taken: the next run goes on with that, and has nothing to do again."""
    run = Durable(settings=Settings(refusal_ends=True)).started()
    run(entering("i", b"1", 1))
    run.frames(out(10), ack(1))
    commands = refused_at(run, 2)
    assert [command.exit_code for command in commands if isinstance(command, Finish)] == [1]
    again = Durable(past=run.entries, settings=Settings(refusal_ends=True))
    assert not again.relived.finished
    assert [entry.ticket for entry in again.relived.inputs] == [1, 2]
    assert again.relived.inputs_refused == {2}
    again.started()
    assert sent(again(entering("i", b"5", 4))) == [b"5", "ack/f/1/1"]
    again.frames(out(50), ack(1))
    again(InputClosed())
    again.frames(Eof("f"))
    assert [command.exit_code for command in again(Exited("f", 0)) if isinstance(command, Finish)] == [0]
    assert again.entries[-1] == Finished(0)


def test_what_is_refused_in_the_next_run_ends_that_too():
    """Whether an input is refused is a matter of the run that takes it."""
    run = Durable(settings=Settings(refusal_ends=True)).started()
    refused_at(run, 1)
    again = Durable(past=run.entries, settings=Settings(refusal_ends=True)).started()
    commands = refused_at(again, 3)
    assert [command.exit_code for command in commands if isinstance(command, Finish)] == [1]
    assert Durable(past=again.entries).relived.inputs_refused == {1, 3}


def test_a_conversation_that_the_end_cuts_short_is_told():
    """The next run begins it anew, so it is told before all is done."""
    text = (
        "protocol Ask = send int . recv int . end\n"
        'let f : !int -> !int = python { call: "m:f" }\n'
        "let asker : (!int, !int) -> (!int, !int) = plumb(order, answer, ask, report) {\n"
        "  order ; ask\n"
        "  answer ; report\n"
        "}\n"
        "let main : !int -> !int = plumb(i, o) { i ; asker@order asker@report ; o asker@(ask, answer) <-> f : Ask }\n"
    )
    run = Durable(text).started()
    run(entering("i", b"1", 1))
    run.frames(ack(1))
    run(InputClosed())
    run.frames(Eof("f"))
    run(Exited("f", 0))
    assert run.entries[-1] == Finished(0)
    assert [note.event for note in run.notes if note.event.startswith("protocol")] == ["protocol.unfinished"]


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


def test_an_agent_is_given_its_memory_back():
    """By its first process, from what it has answered; and what it was set to."""
    run = Agents().up()
    run(Told("f", b'{"set_temp":0.5}', 5))
    run(entering("i", b"1", 7))
    run.frames(Marker("f", "ctl/f/1/1"), port="ctrl_out")
    run.frames(out(10), ack(1))
    again = Agents(past=run.entries)
    commands = again.up().started_with
    memory = [{"role": "user", "content": "1"}, {"role": "assistant", "content": "10"}]
    assert told(commands) == [{"set_temp": 0.5}, {"set_memory": memory}]


def test_what_an_agent_says_of_its_memory_is_where_the_next_begins():
    """After that comes what it has answered since."""
    past: list[History] = [
        Remembered("f", text_of(b'{"kind":"memory","messages":[{"role":"user","content":"so far"}]}')[0]),
    ]
    commands = Agents(past=past).up().started_with
    assert told(commands) == [{"set_memory": [{"role": "user", "content": "so far"}]}]


def test_what_an_operator_wants_is_done_once():
    """Recorded before the worker gets it; once the worker has done it, it is over."""
    run = Agents().up()
    record, *_ = run(Told("f", b'{"pause":true}', 5))
    assert record == Record((Ordered("f", text_of(b'{"pause":true}')[0], 5),))
    again = Agents(past=run.entries).up()
    assert told(again.started_with) == [{"pause": True}]
    commands = run.frames(Data("f", b'{"kind":"pause_ack"}'), port="ctrl_out")
    assert recorded(commands) == [Steered("f", 1, taken=True)]
    over = Agents(past=run.entries).up()
    assert told(over.started_with) == [{"pause": True}]  # as it was, and no message of the operator's
    assert over.session._workers["f"].control.waiting == 0


def test_one_that_is_started_anew_by_hand_has_forgotten():
    """It begins with nothing the next time, too."""
    run = Agents().up()
    run(entering("i", b"1", 7))
    run.frames(out(10), ack(1))
    run(Asked("f", "restart", 5))
    run.frames(Eof("f"))
    assert Forgotten("f") in recorded(run(Exited("f", 0)))
    assert told(Agents(past=run.entries).up().started_with) == []


def test_a_worker_that_cannot_be_given_back_what_it_knew_ends_the_session():
    """Unless it is allowed to forget; then that is told."""
    text = 'let f : !int -> !int = python { call: "m:f" state: true }\n' + MAIN
    run = Durable(text).started()
    run(entering("i", b"1", 7))
    run.frames(out(10), ack(1))
    again = Durable(text, past=run.entries).started()
    assert [note.fields["code"] for note in again.notes if note.event == "session.failed"] == ["memory_lost"]
    forget = Settings(workers={"f": WorkerSettings(on_crash="forget")})
    again = Durable(text, past=run.entries, settings=forget).started()
    assert "worker.forgot" in [note.event for note in again.notes]


def test_what_a_call_of_a_model_took_is_counted_once_and_for_good():
    """In an entry of its own, at once: whatever becomes of the message, it was paid for."""
    run = Agents().up()
    run(entering("i", b"1", 7))
    usage = b'{"kind":"usage","prompt_tokens":3,"completion_tokens":4,"model":"m"}'
    [record] = run.frames(Data("f", usage), port="telemetry")
    assert record == Record((Paid("f", text_of(usage)[0]),))
    relived = Agents(past=run.entries).relived
    assert [(row.worker, row.model, row.calls, row.completion_tokens) for row in relived.usage] == [("f", "m", 1, 4)]


def test_a_message_that_a_worker_cannot_say_it_has_done_is_not_given_twice():
    """It is noted before the worker gets it; whoever comes after that knows nothing, and counts it as lost."""
    run = Durable(COMPAT)
    run(Start())
    run(Launched("f", 7))
    run.frames(Data("f", READY), port="ctrl_out")
    commands = run(entering("i", b"1", 7))
    entered, noted = recorded(commands)
    assert isinstance(noted, Given)
    assert [type(command) for command in commands] == [Record, Send]
    again = Durable(COMPAT, past=run.entries)
    assert [type(entry) for entry in recorded(again(Start()))] == [Resumed, Buried]
    cut = Durable(COMPAT, past=again.entries[:-1])  # killed when the one was written and the other was not
    assert [type(entry) for entry in recorded(cut(Start()))] == [Resumed, Buried]
    third = Durable(COMPAT, past=again.entries)
    assert third.relived.standing == 0
    assert recorded(third(Start())) == [Resumed()]
    assert entered == run.entries[0]


def test_what_a_merge_passed_over_is_passed_over_again():
    """It has closed with its first input. In the next run it is open until that input closes again."""
    run = Durable(FIRST).started()
    run(entering("a", b"1", 1))
    assert recorded(run(InputClosed("a"))) == [Closed(merge_of(FIRST))]
    run(entering("b", b"2", 2))
    again = Durable(FIRST, past=run.entries)
    assert (len(again.relived.inputs), again.relived.standing) == (2, 1)
    again.started()
    again(entering("b", b"3", 3))
    run.frames(out(10), ack(1))
    assert Durable(FIRST, past=again.entries).relived.standing == 2


def merge_of(text: str) -> str:
    return next(node.id for node in plan_of(text).graph.nodes.values() if node.kind == "merge_any")


def test_halves_of_pairs_wait_for_the_next_run_if_the_session_was_interrupted():
    """Its input has not ended: the other half may still come. It is told all the same."""
    run = Durable(PAIRS)
    run(Start())
    run(entering("a", b"1", 1))
    commands = run(Interrupted(2))
    assert [note.event for note in run.notes if note.event == "barrier.unpaired"]
    assert [type(command) for command in commands] == [Finish]
    again = Durable(PAIRS, past=run.entries)
    again(Start())
    assert [output.payload for output in delivered(again(entering("b", b"2", 2)))] == [b"[1,2]"]


def test_halves_of_pairs_are_no_more_when_the_input_has_ended():
    """Nothing of the old input meets what is new."""
    run = Durable(PAIRS)
    run(Start())
    run(entering("a", b"1", 1))
    run(InputClosed())
    assert run.entries[-1] == Finished(0)
    again = Durable(PAIRS, past=run.entries)
    again(Start())
    assert delivered(again(entering("b", b"2", 2))) == []


def test_halves_of_pairs_wait_for_the_next_run_if_an_input_was_refused():
    """The rest of the input was not taken."""
    run = Durable(PAIRS, settings=Settings(refusal_ends=True))
    run(Start())
    run(entering("a", b"1", 1))
    run(entering("b", b'"x"', 2))
    again = Durable(PAIRS, past=run.entries)
    again(Start())
    assert [output.payload for output in delivered(again(entering("b", b"2", 3)))] == [b"[1,2]"]


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


def test_branches_of_a_run_share_the_ids_of_what_they_inherit_and_of_nothing_else():
    """A server that knows a call again by its key must not take one branch's for the other's."""
    text = "let main : !int -> !int = plumb(i, o) { i ; map(value + 1) ; o }\n"
    past = [Entered("i", text_of(payload)[0], ticket) for ticket, payload in enumerate((b"1", b"2", b"3"), 1)]

    def ids(session: str, *inherited: Inherited) -> list[bytes]:
        relived = Session(plan_of(text), Settings(), random.Random(3), durable=session).relive(
            past, inherited=inherited
        )
        return [output.span_id for output in relived.outputs]

    parent, fork = ids("S"), ids("fork", Inherited("S", 1))
    forked_again = ids("again", Inherited("S", 1), Inherited("fork", 1))
    assert (fork[0], forked_again[0], forked_again[1]) == (parent[0], parent[0], fork[1])
    assert len({*parent, *fork, *forked_again}) == 3 + 2 + 1


def test_a_dead_letter_says_which_entry_it_is_and_is_known_again_until_it_is_tried_again():
    """So whoever keeps letters writes each once, even if he was killed behind the entry and before the file."""
    run = Durable(settings=Settings(redeliveries_max=1, restarts_max=0)).started()
    run(entering("i", b"1", 1))
    (letter,) = [command.letter for command in run(Exited("f", 1)) if isinstance(command, events.Buried)]
    number = next(number for number, entry in enumerate(run.entries) if isinstance(entry, Buried))
    assert letter.recorded == ("S", number)
    assert Durable(past=run.entries).relived.letters == (letter,)
    again = [*run.entries, Retried("f", text_of(b"1")[0], 2)]
    assert Durable(past=again).relived.letters == ()
