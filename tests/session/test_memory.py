"""Agents that crash: the next process remembers what the one before had answered."""

from __future__ import annotations

from literal import Run, ack, delivered, entering, out, sent

from fabric.session.events import (
    Answered,
    Asked,
    Command,
    Exited,
    Finish,
    InputClosed,
    Interrupted,
    Launch,
    LossReport,
    Opened,
    Send,
    SetTimer,
    Signal,
    Start,
    TimerFired,
    Told,
)
from fabric.session.recollection import EXCHANGES_MAX, Recollection
from fabric.session.settings import Settings, WorkerSettings
from fabric.wire.codec import decode
from fabric.wire.control import AGENT_FEATURES, read_object, ready
from fabric.wire.frame import Data, Eof, Marker

AGENT = 'let f : !int -> !int = agent { provider: "scripted" script: "m:f" }\n'
ONE = AGENT + "let main : !int -> !int = plumb(i, o) { i ; f ; o }\n"
RESTART = TimerFired(("restart", "f"))
DUMP = b'{"kind":"memory","messages":[{"role":"user","content":"so far"}],"pinned":[]}'
SET = b'{"kind":"memory_set","old_messages":0,"new_messages":2}'


class Agent(Run):
    """A session with one agent, which marks all ports and has a memory."""

    def up(self, incarnation: int = 1) -> list[Command]:
        self.frames(Data("f", ready(*AGENT_FEATURES)), port="ctrl_out")
        return self.frames(Marker("f", f"probe/f/{incarnation}"))

    def exchange(self, value: int, seq: int, incarnation: int = 1) -> list[Command]:
        self(entering("i", b"%d" % value, value))
        return self.frames(out(10 * value), ack(seq, incarnation))

    def crash(self) -> None:
        self(Exited("f", -9))
        self(RESTART)

    def started(self) -> Agent:
        self(Start())
        assert self.up() == [Opened()]
        return self


def told(commands: list[Command]) -> list[dict[str, object] | str]:
    """Return what was sent on ctrl_in: objects, and ids of markers."""
    frames = [decode(command.raw) for command in commands if isinstance(command, Send) and command.port == "ctrl_in"]
    return [read_object(f.payload) if isinstance(f, Data) else f.id for f in frames if not isinstance(f, Eof)]


def test_the_next_process_is_given_what_was_answered_before_it_gets_a_message():
    """Only what the graph has seen: the message that it crashed at comes again."""
    run = Agent(ONE).started()
    run.exchange(1, 1)
    run(entering("i", b"2", 2))
    run.frames(out(20))
    run.crash()
    commands = run.up(2)
    memory = [{"role": "user", "content": "1"}, {"role": "assistant", "content": "10"}]
    assert (told(commands), sent(commands)) == ([{"set_memory": memory}, "ctl/f/2/1"], [])
    commands = run.frames(Data("f", SET), port="ctrl_out")
    assert sent(commands) == [b"2", "ack/f/2/1"]
    assert delivered(run.frames(out(20), ack(1, 2))) == [b"20"]


def test_one_that_has_answered_nothing_has_nothing_to_remember():
    """It is started as the first was."""
    run = Agent(ONE).started()
    run(entering("i", b"1", 1))
    run.crash()
    assert sent(run.up(2)) == [b"1", "ack/f/2/1"]


def test_it_is_asked_for_its_memory_when_that_was_replaced():
    """As soon as it has no message, and before it gets another; what it says is what the next process is given."""
    run = Agent(ONE).started()
    run(entering("i", b"1", 1))
    assert told(run(Told("f", b'{"set_memory":[]}', 7))) == [{"set_memory": []}, "ctl/f/1/1"]
    assert run.frames(Marker("f", "ctl/f/1/1"), port="ctrl_out") == []  # what it says of it comes behind the message
    assert Answered(7, reply=SET) in run.frames(Data("f", SET), port="ctrl_out")
    commands = run.frames(out(10), ack(1))
    assert told(commands) == [{"get_memory": True}, "ctl/f/1/2"]
    assert run(entering("i", b"2", 2)) == []
    assert sent(run.frames(Data("f", DUMP), port="ctrl_out")) == [b"2", "ack/f/1/2"]
    run.frames(out(20), ack(2))
    run.crash()
    memory = [
        {"role": "user", "content": "so far"},
        {"role": "user", "content": "2"},
        {"role": "assistant", "content": "20"},
    ]
    assert told(run.up(2)) == [{"set_memory": memory}, "ctl/f/2/1"]


def test_what_it_says_of_its_memory_may_come_behind_the_commit_of_its_message():
    """The ports of a worker are read one after the other: whether it still has the message, ctrl_out itself tells."""
    run = Agent(ONE).started()
    run(entering("i", b"1", 1))
    run(Told("f", b'{"get_memory":true}', 7))
    run.frames(out(10), ack(1))
    assert run.frames(Marker("f", "ctl/f/1/1"), port="ctrl_out") == []
    assert Answered(7, reply=DUMP) in run.frames(Data("f", DUMP), ack(1), port="ctrl_out")


def test_who_asked_for_what_it_refuses_is_told_so_when_its_message_ends():
    """Not before, for the reply might come; and not only when somebody asks for something else."""
    run = Agent(ONE).started()
    run(entering("i", b"1", 1))
    run(Told("f", b'{"get_memory":true,"set_temp":"hot"}', 7))
    assert run.frames(Marker("f", "ctl/f/1/1"), port="ctrl_out") == []
    assert Answered(7, "worker 'f' gave no reply to that") in run.frames(ack(1), port="ctrl_out")


def test_it_is_asked_now_and_then():
    """After so many answers; the more it has said then, the later the next time."""
    known = Recollection()
    for _ in range(EXCHANGES_MAX):
        assert not known.wants_dump
        known.committed(b"1", [b"2"])
    assert known.wants_dump
    known.dumped(b'{"messages":[%s]}' % b",".join([b"1"] * 500))
    for _ in range(250):
        assert not known.wants_dump
        known.committed(b"1", [b"2"])
    assert known.wants_dump


def test_what_it_was_set_to_is_set_again():
    """Temperature and model; and a pause holds."""
    run = Agent(ONE).started()
    assert run(Told("f", b'{"set_temp":0.2}', 7))[-1] == Answered(7)
    run(Told("f", b'{"pause":true}', 8))
    run.frames(Data("f", b'{"kind":"pause_ack"}'), port="ctrl_out")
    run.frames(Marker("f", "ctl/f/1/1"), Marker("f", "ctl/f/1/2"), port="ctrl_out")
    run.crash()
    assert told(run.up(2)) == [{"set_temp": 0.2}, "ctl/f/2/1", {"pause": True}, "ctl/f/2/2"]


def test_a_setting_that_the_agent_refuses_does_not_cost_its_memory():
    """It is told apart from it: the marker behind it is back without a reply, and nobody is at fault."""
    run = Agent(ONE).started()
    run(Told("f", b'{"set_temp":"hot"}', 7))
    run.frames(Marker("f", "ctl/f/1/1"), port="ctrl_out")
    run.exchange(1, 1)
    run.crash()
    setting, first, memory, second = told(run.up(2))
    assert (setting, list(memory), first, second) == ({"set_temp": "hot"}, ["set_memory"], "ctl/f/2/1", "ctl/f/2/2")
    assert not [c for c in run.frames(Marker("f", "ctl/f/2/1"), port="ctrl_out") if isinstance(c, Signal)]
    assert not [
        c for c in run.frames(Data("f", SET), Marker("f", "ctl/f/2/2"), port="ctrl_out") if isinstance(c, Signal)
    ]


def test_a_process_that_does_not_take_its_memory_is_at_fault():
    """Another one may."""
    run = Agent(ONE).started()
    run.exchange(1, 1)
    run.crash()
    run.up(2)
    assert run(TimerFired(("ready", "f")), 31.0) == [Signal("f", "KILL")]
    assert run(Exited("f", -9), 31.0)[-1] == SetTimer(("restart", "f"), 31.0 + 1.0)


def test_an_end_of_the_input_waits_until_it_remembers():
    """It comes behind the memory, and the worker ends as any."""
    run = Agent(ONE).started()
    run.exchange(1, 1)
    run.crash()
    run.up(2)
    assert run(InputClosed()) == []
    assert sent(run.frames(Data("f", SET), Marker("f", "ctl/f/2/1"), port="ctrl_out")) == [None]


def test_one_that_is_started_by_hand_begins_anew():
    """That is what a restart by hand is for."""
    run = Agent(ONE).started()
    run.exchange(1, 1)
    run(Asked("f", "restart", 70))
    run.frames(Eof("f"))
    run(Exited("f", 0))
    assert told(run.up(2)) == []


STATEFUL = (
    'let f : !int -> !int = python { call: "m:f" state: true }\nlet main : !int -> !int = plumb(i, o) { i ; f ; o }\n'
)


def test_a_crash_takes_a_memory_that_cannot_be_rebuilt_with_it():
    """So the session fails, unless it was said that the worker may forget."""
    run = Run(STATEFUL).started()
    run(entering("i", b"1", 1))
    finish = run(Exited("f", -9))[-1]
    assert isinstance(finish, Finish)
    assert finish.error is not None
    assert finish.error[1].endswith("; its memory is gone with it, and cannot be rebuilt")
    run = Run(STATEFUL, Settings(workers={"f": WorkerSettings(on_crash="forget")})).started()
    run(entering("i", b"1", 1))
    assert run(Exited("f", -9))[-1] == SetTimer(("restart", "f"), 0.5)


def test_control_by_hand_is_answered_with_the_reply():
    """Not the graph is; of a worker that has ended that is said."""
    run = Agent(ONE).started()
    run(Told("f", b'{"get_memory":true}', 7))
    assert run.frames(Data("f", DUMP), port="ctrl_out") == [Answered(7, reply=DUMP)]
    run.frames(Marker("f", "ctl/f/1/1"), port="ctrl_out")
    run(InputClosed())
    assert run(Told("f", b'{"pause":true}', 9)) == [Answered(9, "worker 'f' has ended")]


def test_who_waits_for_a_reply_is_told_when_the_worker_is_gone():
    """It ended by itself meanwhile."""
    run = Agent(ONE).started()
    run(Told("f", b'{"pause":true}', 8))
    run.frames(Eof("f"))
    assert Answered(8, "worker 'f' has ended") in run(Exited("f", 0))


def test_a_process_that_passes_over_what_it_is_restored_by_is_at_fault():
    """Its marker is back, so no reply will come; it is not waited for."""
    run = Agent(ONE).started()
    run.exchange(1, 1)
    run.crash()
    run.up(2)
    assert run.frames(Marker("f", "ctl/f/2/1"), port="ctrl_out") == [Signal("f", "KILL")]


def test_a_worker_that_does_not_say_what_it_remembers_is_at_fault():
    """It said that it would; it is not asked again and again."""
    run = Agent(ONE).started()
    run(Told("f", b'{"set_memory":[]}', 7))
    run.frames(Data("f", SET), Marker("f", "ctl/f/1/1"), port="ctrl_out")
    run(entering("i", b"1", 1))
    assert run.frames(Marker("f", "ctl/f/1/2"), port="ctrl_out") == [Signal("f", "KILL")]


def test_nothing_is_kept_of_an_agent_that_could_not_be_given_it():
    """It would grow for ever: such an agent is never asked for its memory."""
    run = Agent(ONE)
    run(Start())
    run.ready()
    run.exchange(1, 1)
    (worker,) = run.session._workers.values()
    assert worker.recollection is not None
    assert worker.recollection.empty


def test_who_was_answered_is_not_answered_again_by_the_next_process():
    """Its marker was not back, so what asked for no reply is said again; what was replied to is not."""
    run = Agent(ONE).started()
    assert Answered(7) in run(Told("f", b'{"set_model":"m"}', 7))
    run(Told("f", b'{"get_memory":true}', 8))
    assert Answered(8, reply=DUMP) in run.frames(Data("f", DUMP), port="ctrl_out")
    run.crash()
    commands = run.up(2)
    assert told(commands) == [{"set_model": "m"}, "ctl/f/2/1", {"set_model": "m"}, "ctl/f/2/2"]
    assert not [command for command in commands if isinstance(command, Answered)]


def test_who_asked_for_no_reply_is_told_if_it_was_never_sent():
    """The worker has crashed, and then there is nothing any more to start it for."""
    run = Agent(ONE).started()
    run(Exited("f", -9))
    assert run(Told("f", b'{"set_temp":0.2}', 7)) == []
    run(Asked("f", "stop", 70))
    assert Answered(7, "worker 'f' has ended") in run(Interrupted(2))


def test_a_worker_that_was_stopped_by_hand_is_told_nothing():
    """Who would tell it something hears at once why not, instead of waiting until somebody starts it."""
    run = Agent(ONE).started()
    run(Asked("f", "stop", 70))
    assert run(Told("f", b'{"pause":true}', 7)) == [Answered(7, "worker 'f' is stopped; fabric start f")]


def test_a_pause_ends_when_the_session_is_to_end():
    """What the worker has is to be finished, and nobody may come any more who would resume it."""
    run = Agent(ONE).started()
    run(Told("f", b'{"pause":true}', 7))
    run.frames(Data("f", b'{"kind":"pause_ack"}'), Marker("f", "ctl/f/1/1"), port="ctrl_out")
    run(entering("i", b"1", 1))
    assert told(run(Interrupted(2))) == [{"resume": True}, "ctl/f/1/2"]
    assert run.frames(Data("f", b'{"kind":"resume_ack"}'), Marker("f", "ctl/f/1/2"), port="ctrl_out") == []


def test_nor_is_a_process_paused_that_comes_up_then():
    """The one before it was, and crashed."""
    run = Agent(ONE).started()
    run(Told("f", b'{"pause":true}', 7))
    run.frames(Data("f", b'{"kind":"pause_ack"}'), Marker("f", "ctl/f/1/1"), port="ctrl_out")
    run(entering("i", b"1", 1))
    run(Exited("f", -9))
    run(Interrupted(2))
    run(RESTART)
    assert sent(run.up(2)) == [b"1", "ack/f/2/1"]


def test_who_starts_a_worker_that_would_start_by_itself_does_not_make_it_forget():
    """It need not wait, and that is all."""
    run = Agent(ONE).started()
    run.exchange(1, 1)
    run(Exited("f", -9))
    assert run(Asked("f", "start", 70)) == [Launch("f", 2), SetTimer(("ready", "f"), 30.0)]
    assert "set_memory" in str(told(run.up(2)))
    assert Answered(70) in run.frames(Data("f", SET), port="ctrl_out")


def test_a_session_ends_when_a_worker_crashes_that_owed_only_a_marker():
    """Behind a reply, on ctrl_out: it had nothing left to do."""
    run = Agent(ONE).started()
    run(Told("f", b'{"get_memory":true}', 7))
    run.frames(Data("f", DUMP), port="ctrl_out")
    assert run(InputClosed()) == []
    assert run(Exited("f", -9))[-1] == Finish(0, LossReport())
