"""Attaching to a worker that may have been there before: literal events in, commands out."""

from __future__ import annotations

import random

import msgspec
import pytest
from literal import ONE, Run, ack, delivered, entering, out, sent
from plans import plan_of

from fabric.plan.plan import Runner
from fabric.session.attachment import AGAIN_MAX_S, PROBES_MAX, Attachment
from fabric.session.causes import why_stuck
from fabric.session.events import (
    Answered,
    Asked,
    Command,
    Exited,
    Finish,
    InputClosed,
    Launch,
    Launched,
    LaunchFailed,
    LossReport,
    Opened,
    Release,
    Send,
    SetTimer,
    Signal,
    Start,
    TimerFired,
)
from fabric.session.session import Session, Settings
from fabric.wire.codec import decode
from fabric.wire.control import ready
from fabric.wire.frame import Data, Eof, Marker
from fabric.wire.lifecycle import BROKE_OFF


def probes(commands: list[Command]) -> list[str]:
    """Return the ids of the markers that are sent on data_in."""
    frames = [decode(command.raw) for command in commands if isinstance(command, Send) and command.port == "input"]
    return [frame.id for frame in frames if isinstance(frame, Marker)]


class Outside(Run):
    """A session whose one worker somebody else starts, or an engine."""

    def __init__(
        self, text: str = ONE, settings: Settings | None = None, seed: int = 1, runner: Runner = "external"
    ) -> None:
        super().__init__(text, settings)
        plan = plan_of(text)
        (worker,) = plan.workers
        plan = msgspec.structs.replace(plan, workers=(msgspec.structs.replace(worker, runner=runner),))
        self.session = Session(plan, settings or Settings(), random.Random(seed))

    def opened(self, now_s: float = 0.0) -> str:
        """Open the sockets; return the first probe, without its number."""
        (probe,) = probes(self(Launched("f", None), now_s))
        assert probe.startswith("probe/f/")
        assert probe.endswith("/1")
        return probe[:-1]

    def said(self, *frames: Data | Marker | Eof, now_s: float = 0.0) -> list[Command]:
        return self.frames(*frames, port="ctrl_out", now_s=now_s)

    def attached(self, incarnation: int = 5, now_s: float = 0.0) -> list[Command]:
        """Let the worker say who it is and return its probes; return what follows from the last."""
        prefix = self.opened(now_s)
        self.said(announced(incarnation), Marker("f", f"{prefix}control"), now_s=now_s)
        assert probes(self.frames(Marker("f", f"{prefix}1"), now_s=now_s)) == [f"{prefix}2"]
        return self.frames(Marker("f", f"{prefix}2"), now_s=now_s)


def announced(incarnation: int | None) -> Data:
    return Data("f", ready(incarnation=incarnation))


def test_a_worker_is_waited_for_without_a_limit():
    """No timer of its start; what is sent to it waits for it."""
    run = Outside()
    assert run(Start()) == [Launch("f", 1)]
    commands = run(Launched("f", None))
    assert [command.port for command in commands if isinstance(command, Send)] == ["ctrl_in", "ctrl_in", "input"]
    assert {command.key[0] for command in commands if isinstance(command, SetTimer)} == {"attach", "awaited"}


def test_one_that_was_asked_for_in_time_fails_the_session():
    """The limit that somebody set holds."""
    run = Outside(settings=Settings(handshake_timeout_s=7.0))
    assert run(Start()) == [Launch("f", 1)]
    run.opened()
    assert Signal("f", "TERM") in run(TimerFired(("ready", "f")), 7.0)
    said = str(run.notes[-1].fields["message"])
    assert "has not connected and returned a marker within 7 s (tried " in said
    assert said.endswith("; start it where it runs: fabric worker f")


def test_its_time_begins_when_our_sockets_are_open():
    """Until then an address may be in use, which is the cause to be told, and not that nobody came."""
    run = Outside(settings=Settings(handshake_timeout_s=2.0))
    assert run(Start()) == [Launch("f", 1)]
    run(LaunchFailed("f", "cannot bind tcp://h:1: Address already in use"), 3.0)
    assert run.notes[-1].fields["code"] == "worker_not_started"
    assert "cannot bind tcp://h:1: Address already in use" in str(run.notes[-1].fields["message"])
    run = Outside(settings=Settings(handshake_timeout_s=2.0))
    run(Start())
    assert SetTimer(("ready", "f"), 5.0) in run(Launched("f", None), 3.0)


def test_who_has_it_restarted_is_told_when_it_has_ended_and_is_waited_for():
    """Nobody knows how long whoever starts it takes; the same for `start`, also while it is waited for."""
    run = Outside()
    run(Start())
    run.attached()
    assert Answered(1) not in run(Asked("f", "restart", 1))
    run.frames(Eof("f"))
    commands = run(Exited("f", 0), 1.0)
    assert Launch("f", 2) in commands
    assert Answered(1) not in commands
    assert Answered(1) in run(Launched("f", None), 1.0)
    assert run(Asked("f", "start", 2), 2.0) == [Answered(2)]


def test_as_long_as_nobody_comes_the_cause_says_how_he_does():
    """With the command, also by itself."""
    run = Outside()
    run(Start())
    run.opened()
    (link,) = {chain.links[-1] for chain in why_stuck(run.session.plan, run.session.snapshot(), 9.0)}
    assert "has not been ready since its start 9 s ago (start it where it runs: fabric worker f)" in link.text
    assert link.help == "fabric worker f"


def test_who_has_it_stopped_while_it_is_waited_for_is_told_when_it_is():
    """Not when our sockets open, which they may do after he has asked."""
    run = Outside()
    run(Start())
    run(Asked("f", "stop", 1))
    assert Answered(1) not in run(Launched("f", None))
    assert Answered(1) in run(Exited("f", BROKE_OFF), 1.0)


def test_it_runs_when_two_probes_are_back_and_it_has_said_who_it_is():
    """Of two connections that it knows one would have got one of the two."""
    run = Outside()
    run(Start())
    assert run.attached() == [Opened()]


def test_a_probe_that_is_swallowed_proves_nothing():
    """The next one is sent behind it after a while, and begins the proof anew."""
    run = Outside()
    run(Start())
    prefix = run.opened()
    run.said(announced(5), Marker("f", f"{prefix}control"))
    assert probes(run.frames(Marker("f", f"{prefix}1"))) == [f"{prefix}2"]
    assert probes(run(TimerFired(("attach", "f")), 2.0)) == [f"{prefix}3"]
    assert probes(run.frames(Marker("f", f"{prefix}3"), now_s=2.0)) == [f"{prefix}4"]
    assert run.frames(Marker("f", f"{prefix}4"), now_s=2.0) == [Opened()]


def test_one_that_does_not_say_who_it_is_gets_time_for_it():
    """Two seconds, from the proof that it is there: it has said so to somebody before."""
    run = Outside()
    run(Start())
    prefix = run.opened()
    run.frames(Marker("f", f"{prefix}1"))
    run.frames(Marker("f", f"{prefix}2"))
    assert Opened() not in run(TimerFired(("attach", "f")), 1.5)
    assert Opened() in run(TimerFired(("attach", "f")), 2.0)


def test_what_comes_before_is_of_the_past():
    """Refused, counted and told once; not lost, and no fault of the worker's."""
    run = Outside()
    run(Start())
    prefix = run.opened()
    assert run.frames(out(10), ack(1), Marker("f", "probe/f/0/1"), Eof("f")) != []
    run.said(announced(5), Marker("f", f"{prefix}control"))
    run.frames(Marker("f", f"{prefix}1"), out(20))
    assert run.frames(Marker("f", f"{prefix}2")) == [Opened()]
    assert [note.fields["frames"] for note in run.notes if note.event == "worker.past_refused"] == [5]
    assert run.session.snapshot().rejected == {"f": {"past": 5}}
    assert run.session.snapshot().lost == 0


def test_probes_of_another_session_prove_nothing():
    """A coordinator that was killed had the same numbers; what it sent may come back to the next one."""
    before, run = Outside(seed=1), Outside(seed=2)
    before(Start())
    run(Start())
    old = before.opened()
    run.opened()
    assert run.frames(Marker("f", f"{old}1"), Marker("f", f"{old}2")) == []
    assert run.session.snapshot().rejected == {"f": {"past": 2}}


def test_one_that_has_ended_its_output_is_dismissed():
    """Who asked for its end is gone, and would have ended its ctrl_in."""
    run = Outside()
    run(Start())
    run.opened()
    commands = run.frames(Eof("f"))
    assert [decode(command.raw) for command in commands if isinstance(command, Send)] == [
        Data("fabric", b'{"announce":true}'),
        Eof("fabric"),
    ]


@pytest.mark.parametrize(("runner", "status"), [("external", 0), ("external", BROKE_OFF), ("container", 0)])
def test_one_that_was_left_over_and_goes_is_followed_by_another(runner: Runner, status: int):
    """Its end was asked for by who is gone: it says nothing of the program."""
    run = Outside(runner=runner)
    run(Start())
    run.opened()
    run.frames(Eof("f"))
    exited = run(Exited("f", status))
    assert [command.key for command in exited if isinstance(command, SetTimer)] == [("restart", "f")]
    assert not any(isinstance(command, Finish) for command in exited)
    shown = [note.event for note in run.notes if note.event in ("worker.exited", "worker.disconnected")]
    assert shown == ["worker.disconnected" if runner == "external" else "worker.exited"]


def test_a_container_that_ends_by_itself_before_it_was_ready_fails_the_session():
    """It would do so again."""
    run = Outside(runner="container")
    run(Start())
    run.opened()
    (finish,) = [command for command in run(Exited("f", 0)) if isinstance(command, Finish)]
    assert finish.exit_code == 4


def test_what_one_said_who_was_just_started_is_no_loss():
    """It announces itself, is asked to once more, and tells of its settings before its probes are back."""
    run = Outside(runner="container")
    run(Start())
    prefix = run.opened()
    run.frames(Data("f", b'{"kind":"config"}'), port="telemetry")
    run.said(announced(5), announced(5), Data("f", b'{"kind":"resume_ack"}'), Marker("f", f"{prefix}control"))
    run.frames(Marker("f", f"{prefix}1"))
    assert run.frames(Marker("f", f"{prefix}2")) == [Opened()]
    assert run.session.snapshot().rejected == {"f": {"past": 1}}
    assert {note.level for note in run.notes} == {"info"}
    run(InputClosed())
    run.frames(Eof("f"))
    assert run(Exited("f", 0))[-1] == Finish(0, LossReport())


def test_another_process_gets_what_the_one_before_had():
    """Its announcement ends the connection; the next is opened soon, and does not count as a restart."""
    run = Outside(settings=Settings(restarts_max=0))
    run(Start())
    run.attached(5)
    assert sent(run(entering("i", b"1", 1))) == [b"1", "ack/f/1/1"]
    assert run.said(announced(5)) == []
    assert run.said(announced(6)) == [Signal("f", "KILL")]
    assert run.frames(out(10), ack(1)) == []
    assert run(Exited("f", BROKE_OFF), 1.0) == [Release("f"), SetTimer(("restart", "f"), 1.1)]
    assert run(TimerFired(("restart", "f")), 1.1) == [Launch("f", 2)]
    assert sent(run.attached(6, 1.2)) == [b"1", "ack/f/2/1"]
    assert delivered(run.frames(out(10), ack(1, 2), now_s=1.3)) == [b"10"]


@pytest.mark.parametrize("incarnation", [None, 6])
def test_a_process_without_a_number_is_always_another(incarnation: int | None):
    """Nothing tells it from one of before."""
    run = Outside()
    run(Start())
    prefix = run.opened()
    run.said(announced(None))
    assert run.said(announced(incarnation)) == [Signal("f", "KILL")]
    assert prefix


def test_nobody_is_waited_for_when_there_is_nothing_to_do():
    """The input has ended, and no message waits: that nobody came is no loss."""
    run = Outside()
    run(Start())
    run.opened()
    assert Signal("f", "KILL") in run(InputClosed())
    assert isinstance(run(Exited("f", BROKE_OFF))[-1], Finish)


def test_probes_become_rarer_and_have_a_bound():
    """Nobody may come for days; what is sent waits in a socket."""
    attachment = Attachment("f", probe=True, ours=True)
    attachment.opened("n", 0.0)
    now_s, sent_probes, gaps = 0.0, 1, []
    for _ in range(2 * PROBES_MAX):
        (timer,) = [command for command in attachment.timer(now_s) if isinstance(command, SetTimer)]
        gaps.append(timer.at_s - now_s)
        now_s = timer.at_s
        sent_probes += len(probes(attachment.timer(now_s)))
    assert max(gaps) == AGAIN_MAX_S
    assert sent_probes == PROBES_MAX


@pytest.mark.parametrize("ours", [True, False])
def test_one_that_returns_no_markers_is_asked_who_it_is_so_often_only(ours: bool):
    """What is sent waits in a socket as long as nobody is there."""
    attachment = Attachment("f", probe=False, ours=ours)
    asked = 0
    commands, now_s = attachment.opened("n", 0.0), 0.0
    for _ in range(2 * PROBES_MAX):
        asked += sum(isinstance(command, Send) and isinstance(decode(command.raw), Data) for command in commands)
        (now_s,) = [command.at_s for command in commands if isinstance(command, SetTimer)]
        commands = attachment.timer(now_s)
    assert asked == PROBES_MAX
