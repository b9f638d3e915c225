"""Where sessions are kept, and which one is meant."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from fabric.errors import ConfigError
from fabric.settings import (
    Current,
    Place,
    ProjectSettings,
    choose_bucket,
    choose_session,
    forget_current,
    read_current,
    read_settings,
    state_home,
    write_current,
)
from fabric.settings.values import absolute_url

NOTHING = ProjectSettings()
HERE = Path("/here")


@pytest.fixture
def home(tmp_path: Path):
    """An environment with a place for states."""
    return {"XDG_STATE_HOME": str(tmp_path / "state"), "HOME": "/nobody"}


@pytest.mark.parametrize("level", range(5))
def test_what_is_said_nearer_wins(level: int, home: dict[str, str], tmp_path: Path):
    """A flag, a variable, the settings, the current session, the user's own folder."""
    if level <= 3:
        write_current(Current("file:///current", "s"), home)
    settings = ProjectSettings(store="s3://settings/x") if level <= 2 else NOTHING
    environment = home | ({"FABRIC_STORE": "file:///variable"} if level <= 1 else {})
    expected = [
        Place("file:///flag", "flag"),
        Place("file:///variable", "environment"),
        Place("s3://settings/x", "settings"),
        Place("file:///current", "current"),
        Place(f"file://{tmp_path}/state/fabric/sessions", "default"),
    ]
    assert choose_bucket("file:///flag" if level == 0 else None, settings, HERE, environment) == expected[level]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("file:///tmp/pug", "file:///tmp/pug"),
        ("file://localhost/tmp/pug", "file:///tmp/pug"),
        ("file:/tmp/pug", "file:///tmp/pug"),
        ("file:pug", "file:///here/pug"),
        ("pug", "file:///here/pug"),
        ("./a b", "file:///here/a%20b"),
        ("file:///a%20b/../c%25", "file:///c%25"),
        ("file:~/x", f"file://{Path.home()}/x"),
        ("~nobody-of-that-name/x", "~nobody-of-that-name/x"),
        ("/tmp/pug", "file:///tmp/pug"),
        ("memory:", "memory:"),
        ("s3://bucket/prefix/", "s3://bucket/prefix"),
        ("file://host/share", "file://host/share"),
        ("file:", "file:"),
    ],
)
def test_a_bucket_means_the_same_from_everywhere(said: str, meant: str):
    """Paths are seen from where they were said; URLs of others are not looked into."""
    assert absolute_url(said, HERE) == meant


def test_the_settings_name_a_bucket_beside_their_file(tmp_path: Path):
    """A relative one is seen from there, whichever folder asks."""
    (tmp_path / "fabric.toml").write_text('[store]\nurl = "sessions"\n')
    (tmp_path / "below").mkdir()
    assert read_settings(tmp_path / "below").store == f"file://{tmp_path}/sessions"


def test_the_settings_complain_of_what_no_bucket_has(tmp_path: Path):
    """With the key that was meant."""
    (tmp_path / "fabric.toml").write_text('[store]\nuri = "sessions"\n')
    with pytest.raises(ConfigError, match=r"fabric\.toml:2: unknown key 'uri'; did you mean 'url'\?"):
        read_settings(tmp_path)


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({"XDG_STATE_HOME": "/state", "HOME": "/home/me"}, "/state/fabric"),
        ({"XDG_STATE_HOME": "not/absolute", "HOME": "/home/me"}, "/home/me/.local/state/fabric"),
        ({"HOME": "/home/me"}, "/home/me/.local/state/fabric"),
    ],
)
def test_the_place_for_states(environment: dict[str, str], place: str):
    """As the base directory specification has it."""
    assert state_home(environment) == Path(place)


def test_without_a_home_a_bucket_has_to_be_named():
    """There is no place that would be the user's."""
    with pytest.raises(ConfigError, match="HOME is not set; -b URL"):
        choose_bucket(None, NOTHING, HERE, {})
    assert choose_bucket("x", NOTHING, HERE, {}).url == "file:///here/x"


def test_an_empty_flag_is_no_bucket(home: dict[str, str]):
    """A variable of a shell that was not set is not taken for the default."""
    with pytest.raises(ConfigError, match="got nothing"):
        choose_bucket("", NOTHING, HERE, home)


def test_the_current_session_is_the_users_alone(home: dict[str, str]):
    """What others may not read they cannot be led by; a new one takes its place."""
    write_current(Current("file:///a", "one"), home)
    write_current(Current("file:///a", "two"), home)
    assert read_current(home) == Current("file:///a", "two")
    folder = state_home(home)
    assert [path.name for path in folder.iterdir()] == ["session.json"]
    assert stat.S_IMODE((folder / "session.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("said", "environment", "meant"),
    [
        ("flag", {"FABRIC_SESSION": "ours", "PUGMARK_SESSION_ID": "theirs"}, "flag"),
        (None, {"FABRIC_SESSION": "ours", "PUGMARK_SESSION_ID": "theirs"}, "ours"),
        (None, {"PUGMARK_SESSION_ID": "theirs"}, "theirs"),
        (None, {}, "current"),
    ],
)
def test_which_session_is_meant(said: str | None, environment: dict[str, str], meant: str, home: dict[str, str]):
    """A flag, our variable, that of handlers, the current one."""
    write_current(Current("file:///a", "current"), home)
    assert choose_session(said, Place("file:///a", "flag"), home | environment) == meant


def test_the_current_session_of_another_bucket_is_not_meant(home: dict[str, str]):
    """Who says it is told of both buckets, and what to say."""
    write_current(Current("file:///a", "one"), home)
    with pytest.raises(ConfigError, match=r"one, is in file:///a, and FABRIC_STORE names file:///b; .* -s ID"):
        choose_session(None, Place("file:///b", "environment"), home)


def test_no_session_is_meant_where_none_was_started(home: dict[str, str]):
    """The hint says how to start one."""
    with pytest.raises(ConfigError, match="fabric session start"):
        choose_session(None, Place("file:///a", "default"), home)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"bucket": 1, "session": "s"}', b"\xff"])
def test_a_damaged_note_is_named(raw: bytes, home: dict[str, str]):
    """It is not taken for none: another bucket would be used in silence."""
    state_home(home).mkdir(parents=True)
    (state_home(home) / "session.json").write_bytes(raw)
    with pytest.raises(ConfigError, match=r"session\.json, .* damaged.*remove it"):
        read_current(home)


def test_a_session_that_is_gone_is_not_the_current_one(home: dict[str, str]):
    """But another one of its name elsewhere is not touched."""
    write_current(Current("file:///a", "one"), home)
    assert not forget_current("one", "file:///b", home)
    assert read_current(home) is not None
    assert forget_current("one", "file:///a", home)
    assert read_current(home) is None


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path):
    """A file where a folder is to be."""
    (tmp_path / "state").touch()
    with pytest.raises(ConfigError, match="cannot write"):
        write_current(Current("file:///a", "one"), {"XDG_STATE_HOME": str(tmp_path / "state")})
