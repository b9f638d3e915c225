"""Starting one worker."""

import pytest

from fabric.errors import RemoteProtocolError
from fabric.session.events import Launch, Send, SetTimer
from fabric.session.startup import Startup
from fabric.wire.codec import encode
from fabric.wire.frame import Marker
from fabric.wire.lifecycle import Life, State


def test_a_worker_is_launched_with_a_timer():
    """The reaper belongs to Launch, so the wait for ready cannot outlast a crash."""
    assert Startup(Life("judge"), 1, 30.0).begin(now_s=5.0) == [Launch("judge"), SetTimer(("ready", "judge"), 35.0)]


def test_a_worker_that_announced_itself_is_probed():
    """A marker goes first: data follows only when it came back."""
    life = Life("judge")
    startup = Startup(life, 1, 30.0)
    assert startup.announced() == [Send("judge", "input", encode(Marker("fabric", "probe/judge/1")))]
    assert life.state is State.READY
    startup.probed()
    assert life.state is State.RUNNING


def test_a_compatible_worker_is_trusted_without_a_probe():
    """``compat: true`` says that it does not forward markers."""
    life = Life("judge")
    assert Startup(life, 1, 30.0, probe=False).announced() == []
    assert life.state is State.RUNNING


def test_a_second_announcement_is_an_error():
    """The table has no such step."""
    startup = Startup(Life("judge"), 1, 30.0)
    startup.announced()
    with pytest.raises(RemoteProtocolError, match="worker 'judge': ready on ctrl_out is not allowed in READY"):
        startup.announced()


def test_the_timer_names_what_is_missing():
    """First the announcement, then the probe, then nothing."""
    startup = Startup(Life("judge"), 1, 30.0)
    assert startup.missing() == "did not say that it is ready within 30 s"
    startup.announced()
    assert (startup.missing() or "").startswith("did not return a marker within 30 s")
    startup.probed()
    assert startup.missing() is None
