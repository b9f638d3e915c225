"""What a worker finds in its environment."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from fabric.errors import ConfigError
from fabric.transport.gate import Refusal
from fabric.transport.given import forget_given, key_for, read_spec, say_once
from fabric.transport.sockets import make_key_pair
from fabric.wire.keys import encode_keys
from fabric.wire.payload import STRING
from fabric.wire.spec import WorkerKey, WorkerSpec

KEY = WorkerKey(*make_key_pair(), make_key_pair()[0])
SPEC = WorkerSpec("w", "worker", STRING, STRING)
AWAY = {"input": "tcp://10.0.0.1:5600", "output": "tcp://0.0.0.0:5601"}


def test_a_spec_may_be_in_a_file(tmp_path: Path):
    """No variable: none."""
    (tmp_path / "spec").write_bytes(msgspec.json.encode(SPEC))
    assert read_spec({"FABRIC_SPEC_FILE": str(tmp_path / "spec")}) == SPEC
    assert read_spec({}) is None


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ({"FABRIC_SPEC_FD": "x"}, "FABRIC_SPEC_FD must be the number of a descriptor, got 'x'"),
        ({"FABRIC_SPEC_FD": "999"}, "FABRIC_SPEC_FD=999: Bad file descriptor"),
        ({"FABRIC_SPEC_FILE": "/none"}, "FABRIC_SPEC_FILE=/none: No such file or directory"),
        ({"FABRIC_SPEC_FILE": "/dev/null"}, "FABRIC_SPEC_FILE=/dev/null: "),
    ],
)
def test_where_there_is_no_spec_it_is_said(variable: dict[str, str], said: str):
    """With the variable that names the place."""
    with pytest.raises(ConfigError, match=said):
        read_spec(variable)


def test_the_key_is_that_of_the_spec_or_that_of_the_file(tmp_path: Path):
    """The spec's wins."""
    (tmp_path / "key").write_bytes(encode_keys(KEY))
    named = {"FABRIC_KEY_FILE": str(tmp_path / "key")}
    other = WorkerKey(*make_key_pair(), KEY.server)
    assert key_for(AWAY, SPEC, named) == KEY
    assert key_for(AWAY, None, named) == KEY
    assert key_for(AWAY, msgspec.structs.replace(SPEC, key=other), named) == other
    assert key_for({"input": "ipc:///x"}, SPEC, named) is None
    with pytest.raises(ConfigError, match="cannot read the file of FABRIC_KEY_FILE, /none: No such file"):
        key_for(AWAY, SPEC, {"FABRIC_KEY_FILE": "/none"})


@pytest.mark.parametrize(("mode", "count"), [(0o600, 0), (0o400, 0), (0o644, 1), (0o444, 1), (0o640, 1)])
def test_a_key_that_others_may_read_is_used_and_warned_of(tmp_path: Path, mode: int, count: int):
    """Mounted secrets are often so, and cannot be otherwise."""
    file = tmp_path / "key"
    file.write_bytes(encode_keys(KEY))
    file.chmod(mode)
    said: list[str] = []
    assert key_for(AWAY, SPEC, {"FABRIC_KEY_FILE": str(file)}, said.append) == KEY
    assert len(said) == count
    assert all(f"{file}: it has mode {mode:04o}" in text for text in said)


def test_a_refusal_names_the_key_that_was_used_and_what_may_be_wrong():
    """It is said for as long as the worker runs; so it has to be of use."""
    said: list[str] = []
    say_once(said.append, {"FABRIC_KEY_FILE": "/k/b.json"})(Refusal("tcp://h:1", "", "it refuses our key"))
    (text,) = said
    assert "the key is that of /k/b.json; perhaps the fabric does not know it" in text
    assert "FABRIC_INSECURE=1" in text


@pytest.mark.parametrize("host", ["10.0.0.1", "0.0.0.0", "*", "127.evil.example", "h", "[fe80::1]", "[::]"])
def test_without_a_key_nothing_is_opened_that_others_reach(host: str):
    """Unless it is said aloud."""
    endpoints = {"input": "tcp://127.0.0.1:5600", "output": f"tcp://{host}:5601"}
    with pytest.raises(ConfigError, match=r"output is at tcp://.*FABRIC_KEY_FILE .*FABRIC_INSECURE=1"):
        key_for(endpoints, SPEC, {})
    assert key_for(endpoints, SPEC, {"FABRIC_INSECURE": "1"}) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "localhost", "[::1]"])
def test_loopback_may_be_spoken_over_without(host: str):
    """As by hand."""
    assert key_for({"input": f"tcp://{host}:1"}, SPEC, {}) is None


def test_each_kind_of_refusal_is_said_once():
    """They may come by thousands."""
    said: list[str] = []
    hear = say_once(said.append)
    for _ in range(1_000):
        hear(Refusal("tcp://h:1", "", "unknown key"))
    hear(Refusal("tcp://h:1", "", "no key"))
    assert len(said) == 2


def test_what_a_worker_was_given_by_is_forgotten():
    """Nothing that it starts finds its key, or takes its spec for its own."""
    environment = {"FABRIC_SPEC_FD": "3", "FABRIC_SPEC_FILE": "s", "FABRIC_KEY_FILE": "k", "FABRIC_WORKER": "w"}
    forget_given(environment)
    assert environment == {"FABRIC_WORKER": "w"}
