"""A directory of keys."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from fabric.errors import ConfigError
from fabric.launch.keys import make_keys, read_keyring, worker_file
from fabric.transport.sockets import make_key_pair
from fabric.wire.keys import KeyPair, decode_allowed, decode_key_pair, decode_worker_key, encode_keys
from fabric.wire.spec import WorkerKey


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Of two workers."""
    make_keys(tmp_path / "keys", ["a", "b#1"])
    return tmp_path / "keys"


def modes(folder: Path) -> dict[str, int]:
    found = {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}
    return found | {".": stat.S_IMODE(folder.stat().st_mode)}


def done(folder: Path, made: dict[Path, str]) -> dict[str, str]:
    return {str(path.relative_to(folder)): how for path, how in made.items()}


def test_they_are_for_their_owner_alone_whatever_the_umask(tmp_path: Path):
    """Files 0600, folders 0700."""
    before = os.umask(0)
    try:
        make_keys(tmp_path / "new" / "keys", ["a"])
    finally:
        os.umask(before)
    assert modes(tmp_path / "new" / "keys") == {
        ".": 0o700,
        "workers": 0o700,
        "workers/a.json": 0o600,
        "coordinator.json": 0o600,
        "allowed.json": 0o600,
        ".gitignore": 0o600,
    }


def test_version_control_does_not_take_them_in(keys: Path):
    """Whatever is in the directory; what somebody else has said there stays."""
    assert (keys / ".gitignore").read_text() == "*\n"
    (keys / ".gitignore").write_text("workers\n")
    make_keys(keys, ["c"])
    assert (keys / ".gitignore").read_text() == "workers\n"


def test_what_is_there_is_kept_and_what_is_missing_is_made(keys: Path):
    """To the byte; and the new worker knows the same fabric."""
    before = {path: path.read_bytes() for path in keys.rglob("*.json") if path.name != "allowed.json"}
    assert done(keys, make_keys(keys, ["a", "b#1", "c"])) == {
        "coordinator.json": "kept",
        "workers/a.json": "kept",
        "workers/b#1.json": "kept",
        "workers/c.json": "made",
        "allowed.json": "rotated",
    }
    assert {path: path.read_bytes() for path in before} == before
    ring = read_keyring(keys, ["c"], ["a"])
    assert ring.given["c"].server == ring.server.public
    assert set(ring.allowed) == {"a", "c"}


def test_a_workers_file_may_be_where_the_worker_is(keys: Path):
    """The coordinator needs two files; the key is not made again."""
    worker_file(keys, "a").unlink()
    assert done(keys, make_keys(keys, ["a"]))["workers/a.json"] == "kept"
    assert not worker_file(keys, "a").exists()
    assert set(read_keyring(keys, [], ["a", "b#1"]).allowed) == {"a", "b#1"}


def test_a_key_is_replaced_when_it_is_said_and_that_of_others_stays(keys: Path):
    """All of them with the fabric's, where nobody is named."""
    before = read_keyring(keys, ["a", "b#1"], [])
    make_keys(keys, ["a", "b#1"], ["a"])
    after = read_keyring(keys, ["a", "b#1"], [])
    assert (after.given["a"] != before.given["a"], after.given["b#1"], after.server) == (
        True,
        before.given["b#1"],
        before.server,
    )
    make_keys(keys, ["a", "b#1"], None)
    last = read_keyring(keys, ["a", "b#1"], [])
    assert last.server != after.server
    assert {key.server for key in last.given.values()} == {last.server.public}


def test_who_was_interrupted_before_he_wrote_down_whom_to_let_in_goes_on(keys: Path):
    """The worker's file was there first."""
    key = decode_worker_key(worker_file(keys, "a").read_bytes(), "")
    (keys / "allowed.json").unlink()
    make_keys(keys, ["a", "b#1"])
    assert decode_allowed((keys / "allowed.json").read_bytes(), "")["a"] == key.public


def test_workers_that_we_hand_theirs_get_new_ones_and_others_have_to_have_them(tmp_path: Path):
    """Made on the fly, and named with the command that makes them."""
    ring = read_keyring(tmp_path / "keys", ["c"], [])
    assert set(ring.given) == {"c"}
    with pytest.raises(ConfigError, match="no key for worker 'x'; make what is missing with: fabric keys"):
        read_keyring(tmp_path / "keys", ["c"], ["x"])
    with pytest.raises(ConfigError, match=r"no coordinator.json and allowed.json; .*: fabric keys"):
        read_keyring(tmp_path / "none", [], ["x"])
    assert not (tmp_path / "none").exists()


def another_pair(keys: Path) -> None:
    (keys / "coordinator.json").write_bytes(encode_keys(KeyPair(*make_key_pair())))


def unlike_pair(keys: Path) -> None:
    pair = decode_key_pair((keys / "coordinator.json").read_bytes(), "")
    (keys / "coordinator.json").write_bytes(encode_keys(KeyPair(make_key_pair()[0], pair.secret)))


def another_key(keys: Path) -> None:
    server = decode_key_pair((keys / "coordinator.json").read_bytes(), "").public
    worker_file(keys, "a").write_bytes(encode_keys(WorkerKey(*make_key_pair(), server)))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda keys: (keys / "coordinator.json").write_text("{}"), "coordinator.json: no key file: .*`public`"),
        (lambda keys: (keys / "allowed.json").write_text('{"a": "short"}'), "allowed.json: no key file: 'a' is no"),
        (lambda keys: worker_file(keys, "a").write_bytes(b"\xff"), "a.json: no key file"),
        (unlike_pair, "coordinator.json: its public key does not belong to its secret key"),
        (another_pair, "a.json is for another fabric than .*coordinator.json; fabric keys --rotate a"),
        (another_key, "a.json has another key than .*allowed.json allows; fabric keys --rotate a"),
        (lambda keys: (keys / "coordinator.json").chmod(0o644), "mode 0644, .* expected 0600: chmod 600 "),
        (lambda keys: worker_file(keys, "a").chmod(0o640), "mode 0640, .* expected 0600"),
        (lambda keys: keys.chmod(0o755), "mode 0755, .* expected 0700: chmod 700 "),
    ],
)
def test_what_is_damaged_or_does_not_fit_is_refused_and_nothing_is_changed(
    damage: Callable[[Path], object], said: str, keys: Path
):
    """It is said which file, and what to do; no secret is repeated."""
    secrets = [decode_key_pair((keys / "coordinator.json").read_bytes(), "").secret]
    secrets.append(decode_worker_key(worker_file(keys, "a").read_bytes(), "").secret)
    damage(keys)
    before = {path: path.read_bytes() for path in keys.rglob("*.json")}
    with pytest.raises(ConfigError, match=said) as caught:
        read_keyring(keys, ["a"], ["b#1"])
    assert not any(secret in str(caught.value) for secret in secrets)
    assert {path: path.read_bytes() for path in keys.rglob("*.json")} == before


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path):
    """By its name."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot write .*file"):
        make_keys(tmp_path / "file" / "keys", ["a"])
