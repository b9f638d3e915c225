"""Outside of a worker the functions of one do no harm."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from fabric.worker import Message, MessageFailed, fail, log, message, telemetry


def test_in_a_test_of_a_users_function_they_say_nothing_or_what_they_say_anywhere(capfd: pytest.CaptureFixture[str]):
    """No message, no port; a log line is one."""
    assert message() == Message("", "")
    telemetry("step", number=1)
    assert capfd.readouterr().err == ""
    log("seen", number=1)
    assert json.loads(capfd.readouterr().err) == {"log": "info", "event": "seen", "number": 1}
    with pytest.raises(MessageFailed, match="no twos"):
        fail("no twos")


def test_what_json_cannot_say_is_refused_where_it_is_said():
    """Not later."""
    with pytest.raises(TypeError):
        log("seen", value=object())


def test_importing_them_loads_neither_loop_nor_sockets():
    """A test of a function starts fast."""
    code = "import fabric.worker, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & {"trio", "zmq", "asyncio", "pydantic", "fabric.lang"} == set()
