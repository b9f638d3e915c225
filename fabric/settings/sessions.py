"""Where durable sessions are kept, and which one is meant if none is named.

The bucket is the one that a flag names; else that of ``FABRIC_STORE``; else ``[store] url`` of the settings; else the
one of the current session; else a folder of the user's state. The current session is the one that was started last:
a small file in the same folder. ``FABRIC_SESSION`` wins over it, and ``PUGMARK_SESSION_ID``, which handlers have.
"""

from __future__ import annotations

__all__ = [
    "Current",
    "Place",
    "choose_bucket",
    "choose_session",
    "current_file",
    "forget_current",
    "read_current",
    "state_home",
    "write_current",
]

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from fabric.errors import ConfigError
from fabric.settings.project import ProjectSettings
from fabric.settings.values import absolute_url

From: TypeAlias = Literal["flag", "environment", "settings", "current", "default"]


class Place(NamedTuple):
    """Where sessions are kept: the URL of a bucket, and who named it."""

    url: str
    source: From


class Current(msgspec.Struct, frozen=True):
    """The session that was started last, and its bucket.

    Attributes:
        bucket: its URL; that of a file is absolute.
        session: its id.
    """

    bucket: str
    session: str
    v: int = 1


def state_home(environment: Mapping[str, str]) -> Path:
    """Return the folder of what we keep for the user.

    Raises:
        ConfigError: the environment names no home.
    """
    named = environment.get("XDG_STATE_HOME", "")
    if named.startswith("/"):  # anything else is to be ignored, says the specification
        return Path(named) / "fabric"
    home = environment.get("HOME", "")
    if not home.startswith("/"):
        raise ConfigError("there is no place for sessions: HOME is not set; -b URL names a bucket, -s ID a session")
    return Path(home, ".local", "state", "fabric")


def choose_bucket(said: str | None, settings: ProjectSettings, here: Path, environment: Mapping[str, str]) -> Place:
    """Return the bucket that is meant.

    Args:
        said: by a flag.
        settings: of the project and the user.
        here: from where paths of the flag and the environment are seen.
        environment: with what ``.env`` adds.

    Raises:
        ConfigError: what is said is no text, the file of the current session cannot be read, or there is no home.
    """
    if said is not None:
        if not said:
            raise ConfigError("-b: expected the URL of a bucket, such as file:///var/lib/sessions, got nothing")
        return Place(_whole(said, here, "-b"), "flag")
    if variable := environment.get("FABRIC_STORE"):
        return Place(_whole(variable, here, "FABRIC_STORE"), "environment")
    if settings.store is not None:
        return Place(settings.store, "settings")
    if (current := read_current(environment)) is not None:
        return Place(current.bucket, "current")
    return Place((state_home(environment) / "sessions").as_uri(), "default")


def _whole(url: str, here: Path, name: str) -> str:
    try:
        url.encode()
    except UnicodeEncodeError:  # an URL has its bytes as %FF, and nobody could tell it from another one
        raise ConfigError(f"{name} {url!r}: expected UTF-8 text") from None
    return absolute_url(url, here)


def choose_session(said: str | None, place: Place, environment: Mapping[str, str]) -> str:
    """Return the session that is meant.

    Raises:
        ConfigError: none is named, and there is no current one; or that is in another bucket.
    """
    if said is not None:
        return said
    named = environment.get("FABRIC_SESSION") or environment.get("PUGMARK_SESSION_ID")
    if named:
        return named
    current = read_current(environment)
    if current is None:
        raise ConfigError(
            "which session? There is no current one: name it with -s ID, or start one: fabric session start"
        )
    if current.bucket != place.url:
        raise ConfigError(
            f"which session? The current one, {current.session}, is in {current.bucket}, and {_named_by(place)} "
            f"{place.url}; name a session there with -s ID, or the other bucket with -b"
        )
    return current.session


def _named_by(place: Place) -> str:
    said = {"flag": "-b names", "environment": "FABRIC_STORE names", "settings": "the settings name [store] url ="}
    return said.get(place.source, "the bucket is")


# --- the current session ----------------------------------------------------------------------------------------------


def current_file(environment: Mapping[str, str]) -> Path:
    """Return where it is noted. Raises ConfigError: the environment names no home."""
    return state_home(environment) / "session.json"


def read_current(environment: Mapping[str, str]) -> Current | None:
    """Return the current session; ``None`` if there is none, or there is no home.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        path = current_file(environment)
    except ConfigError:
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Current)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        return None
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}, which says which session is the current one: {error.strerror}"
        ) from None
    except msgspec.DecodeError as error:
        raise ConfigError(
            f"{path}, which says which session is the current one, is damaged: {error}; remove it"
        ) from None


def write_current(current: Current, environment: Mapping[str, str]) -> None:
    """Note the current session: whoever reads finds the old one or this.

    Raises:
        ConfigError: it cannot be written.
    """
    path = current_file(environment)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".session-")  # 0600
        try:
            with open(descriptor, "wb") as file:
                file.write(msgspec.json.encode(current) + b"\n")
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise ConfigError(f"cannot write {error.filename or path}: {error.strerror}") from None


def forget_current(session: str, bucket: str, environment: Mapping[str, str]) -> bool:
    """Note that there is no current session any more, if it is this one. Return whether it was."""
    current = read_current(environment)
    if current is None or (current.session, current.bucket) != (session, bucket):
        return False
    current_file(environment).unlink(missing_ok=True)
    return True
