"""Addresses and tokens: what may be meant, and what is refused before anything starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fabric.errors import ConfigError
from fabric.runtime.http_listen import bind, keep_token, read_token

TOKEN = "0123456789abcdef-._~"


def token_file(folder: Path, text: str = TOKEN, mode: int = 0o600) -> Path:
    file = folder / "token"
    file.write_text(text)
    file.chmod(mode)
    return file


@pytest.mark.parametrize(
    "said",
    [
        "",
        "9464",
        "here",
        "example.org:80",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "1.2.3:80",
        "::1:80",
        "[::1]",
        "on",
    ],
)
def test_what_is_no_address_is_refused(said: str):
    """A name is none: what it means may change between the check and the use."""
    with pytest.raises(ConfigError, match="expected ADDRESS:PORT"):
        bind(said or " ", None)


@pytest.mark.parametrize(("said", "url"), [("127.0.0.1:0", "http://127.0.0.1:"), ("localhost:0", "http://127.0.0.1:")])
def test_a_loopback_address_needs_no_token(said: str, url: str):
    """Port 0 is any that is free, and is told."""
    listening, _ = bind(said, None)
    assert listening is not None
    with listening.socket:
        assert (listening.local, listening.token) == (True, "")
        assert listening.url == f"{url}{listening.socket.getsockname()[1]}"


@pytest.mark.parametrize("said", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"])
def test_another_address_needs_a_token(said: str):
    """Whoever reaches it could read what the session does."""
    with pytest.raises(ConfigError, match="--token-file"):
        bind(said, None)


def test_with_a_token_another_address_is_bound(tmp_path: Path):
    """And is not of this machine alone."""
    listening, _ = bind("0.0.0.0:0", token_file(tmp_path))
    assert listening is not None
    with listening.socket:
        assert (listening.local, listening.token) == (False, TOKEN)
        assert keep_token(listening, tmp_path / "other") is listening


def test_a_taken_address_is_an_error_only_if_it_was_asked_for():
    """The usual one is not worth failing for."""
    first, _ = bind("127.0.0.1:0", None)
    assert first is not None
    with first.socket:
        taken = first.url.removeprefix("http://")
        with pytest.raises(ConfigError, match=f"cannot listen on {taken}: Address already in use"):
            bind(taken, None)
        assert bind(None, None, usual=taken) == (None, f"cannot listen on {taken}: Address already in use")


def test_off_is_nowhere():
    """Without a reason: that is what was wanted."""
    assert bind("off", None) == (None, "")


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (TOKEN, 0o604, "chmod 600"),
        (TOKEN, 0o620, "chmod 600"),
        ("short", 0o600, "holds no token"),
        ("", 0o600, "holds no token"),
        ("two words that are long", 0o600, "holds no token"),
        ("é" * 20, 0o600, "holds no token"),
    ],
)
def test_a_file_that_holds_no_secret_is_refused(text: str, mode: int, said: str, tmp_path: Path):
    """One that others may read, or that could be guessed."""
    with pytest.raises(ConfigError, match=said):
        read_token(token_file(tmp_path, text, mode))


def test_a_token_may_have_an_end_of_line(tmp_path: Path):
    """As editors write it."""
    assert read_token(token_file(tmp_path, f"{TOKEN}\n")) == TOKEN


def test_a_token_is_made_for_who_has_none(tmp_path: Path):
    """Another one each time; nobody else may read it, also where a file was there that others could."""
    listening, _ = bind("127.0.0.1:0", None)
    assert listening is not None
    file = token_file(tmp_path, "old", 0o644)
    with listening.socket:
        first, second = keep_token(listening, file).token, keep_token(listening, file)
    assert len(first) >= 43
    assert first != second.token == read_token(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert second.token_file == os.fspath(file)
