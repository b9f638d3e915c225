"""What a cassette keeps: requests and their responses, one pair in a line of JSON; and which of them answers a request.

A request is known by its path and its body, whatever the order of keys. What names the caller to the provider is left
out of it. Several equal requests are answered in the order in which they were recorded; those of one agent by its own.
"""

from __future__ import annotations

__all__ = [
    "Matched",
    "Recording",
    "Tape",
    "data_of",
    "leaks",
    "matched",
    "read_tape",
    "redact",
    "text_of",
    "written_tape",
]

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias
from urllib.parse import quote

import msgspec

from fabric.errors import ConfigError
from fabric.testing.differences import differences

Matched: TypeAlias = Callable[[dict[str, Any]], Any]
"""Takes the body of a request and returns what of it has to be the same."""

NO_MATTER = ("metadata", "user", "safety_identifier", "prompt_cache_key")
"""Fields that name the caller and change no answer."""

DIFFERENCES_SHOWN = 5

SECRET_CHARS_MIN = 8
"""A shorter key is a placeholder, such as ``none``, and may be a word of an answer."""

REDACTED = "[key]"


class Recording(msgspec.Struct, omit_defaults=True):
    """A request and its response.

    Attributes:
        path: of the request.
        request: its body.
        agent: who asked; empty if it was no agent of ours.
        status: of the response.
        headers: of the response, those that matter: what it is, when to come again.
        response: its body: a value if it is JSON, else its text.
        cut: whether it was cut off before its end.
    """

    agent: str = ""
    path: str = ""
    request: dict[str, Any] = {}
    status: int = 0
    headers: dict[str, str] = {}
    response: Any = None
    cut: bool = False


def matched(body: dict[str, Any]) -> Any:
    """Return what has to be the same in the body of a request."""
    return {name: value for name, value in body.items() if name not in NO_MATTER}


# --- The file ---------------------------------------------------------------------------------------------------------


def written_tape(recordings: Iterable[Recording], secrets: Iterable[str]) -> bytes:
    """Return the text of a cassette, without the secrets.

    The order is that of the agents' names, and of each agent's requests: agents that ask at the same time would
    otherwise change places from one recording to the next.
    """
    ordered = sorted(recordings, key=lambda recording: recording.agent)
    hidden = list(secrets)
    plain = (redact(msgspec.to_builtins(recording), hidden) for recording in ordered)
    return b"".join(msgspec.json.encode(fields) + b"\n" for fields in plain)


def read_tape(data: bytes, name: str) -> list[Recording]:
    """Read a cassette; ``name`` is for messages.

    Raises:
        ConfigError: a line is not what it has to be.
    """
    recordings = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            try:
                recordings.append(msgspec.json.decode(line, type=Recording))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise ConfigError(f"{name}:{number}: expected a recorded request and its response: {error}") from None
    return recordings


def redact(value: Any, secrets: Iterable[str]) -> Any:
    """Return a JSON value without the secrets, be they plain or escaped."""
    kinds = [kind for secret in secrets if len(secret) >= SECRET_CHARS_MIN for kind in _escaped(secret)]
    if not kinds:
        return value
    pattern = re.compile("|".join(sorted(map(re.escape, kinds), key=len, reverse=True)), re.IGNORECASE)
    return _redacted(value, pattern)


def _redacted(value: Any, pattern: re.Pattern[str]) -> Any:
    match value:
        case str():
            return pattern.sub(REDACTED, value)
        case list():
            return [_redacted(item, pattern) for item in value]
        case dict():
            return {_redacted(name, pattern): _redacted(item, pattern) for name, item in value.items()}
    return value


def leaks(recording: Recording, secrets: Iterable[str]) -> bool:
    """Whether a stream says a secret in pieces, which :func:`redact` cannot find."""
    if not isinstance(recording.response, str):
        return False
    said: dict[str, list[str]] = {}
    for line in recording.response.splitlines():
        if line.startswith("data:"):
            try:
                _collect(msgspec.json.decode(line[5:].strip()), said)
            except msgspec.DecodeError:
                continue  # [DONE], or an event that was cut off
    texts = ["".join(pieces).lower() for pieces in said.values()]
    kinds = {kind.lower() for secret in secrets if len(secret) >= SECRET_CHARS_MIN for kind in _escaped(secret)}
    return any(kind in text for kind in kinds for text in texts)


def _collect(value: Any, said: dict[str, list[str]], name: str = "") -> None:
    """Append every text in a value to those of the same field."""
    match value:
        case str():
            said.setdefault(name, []).append(value)
        case list():
            for item in value:
                _collect(item, said, name)
        case dict():
            for key, item in value.items():
                _collect(item, said, key)


def _escaped(secret: str) -> set[str]:
    in_json = msgspec.json.encode(secret).decode()[1:-1]
    return {secret, quote(secret, safe=""), quote(secret), in_json, secret.replace("/", "\\/")}


# --- Finding ----------------------------------------------------------------------------------------------------------


class Tape:
    """Recordings that answer requests, each once.

    Args:
        recordings: in the order of the file.
        match: what of a body has to be the same.
        name: of the file, for messages.
    """

    def __init__(self, recordings: Iterable[Recording], match: Matched, name: str) -> None:
        self._recordings = list(recordings)
        self._match = match
        self._name = name
        self._keys = [self._key(each.path, each.request) for each in self._recordings]
        self._used: set[int] = set()

    def _key(self, path: str, body: dict[str, Any]) -> tuple[str, bytes]:
        return path, msgspec.json.encode(self._match(body), order="sorted")

    def take(self, path: str, body: dict[str, Any], agent: str) -> Recording | None:
        """Return the answer to a request; from now on it is used."""
        key = self._key(path, body)
        equal = [number for number, other in enumerate(self._keys) if other == key and number not in self._used]
        if not equal:
            return None
        own = [number for number in equal if self._recordings[number].agent == agent]
        self._used.add((own or equal)[0])
        return self._recordings[(own or equal)[0]]

    @property
    def unused(self) -> list[str]:
        """Which lines of the file answered nothing."""
        unused = (number for number in range(len(self._recordings)) if number not in self._used)
        return [f"{self._name}:{number + 1}: {self._recordings[number].path}" for number in unused]

    def refusal(self, path: str, body: dict[str, Any]) -> str:
        """Say why there is no answer to a request: what was recorded instead."""
        times = self._keys.count(self._key(path, body))
        if times:
            return f"{self._name} has this request {times} times, and it came once more"
        found = [
            (list(differences(self._match(recording.request), self._match(body))), number)
            for number, recording in enumerate(self._recordings, 1)
            if recording.path == path
        ]
        if not found:
            return f"{self._name} has no request to {path}"
        different, number = min(found, key=lambda pair: (len(pair[0]), pair[1]))
        lines = "".join(f"\n  {line}" for line in different[:DIFFERENCES_SHOWN])
        more = f"\n  and {len(different) - DIFFERENCES_SHOWN} more" if len(different) > DIFFERENCES_SHOWN else ""
        return f"{self._name} has no such request; the nearest is in line {number}, and differs:{lines}{more}"


def text_of(headers: Mapping[str, str], data: bytes) -> Any:
    """Return how the body of a response is kept: as a value if it is JSON, else as text."""
    if headers.get("content-type", "").partition(";")[0].strip() == "application/json":
        try:
            return msgspec.json.decode(data)
        except msgspec.DecodeError:
            pass  # cut off, or no JSON after all
    return data.decode("utf-8", "replace")


def data_of(response: Any) -> bytes:
    """Return the body of a response that was kept."""
    return response.encode() if isinstance(response, str) else msgspec.json.encode(response)
