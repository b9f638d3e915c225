"""Key files: who the fabric is, who a worker is, and whom the fabric lets in. CURVE keys are Z85 text (ZeroMQ RFC 32).

coordinator.json    {"public": ..., "secret": ...}
workers/NAME.json   {"public": ..., "secret": ..., "server": ...}     what this worker needs, and nothing else
allowed.json        {NAME: PUBLIC, ...}
"""

from __future__ import annotations

__all__ = [
    "KEY_BYTES",
    "KEY_CHARACTERS",
    "KeyPair",
    "decode_allowed",
    "decode_key_pair",
    "decode_worker_key",
    "decode_z85",
    "encode_keys",
    "is_key",
]

import base64
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from fabric.errors import ConfigError
from fabric.wire.spec import WorkerKey

KEY_BYTES = 32
KEY_CHARACTERS = 40

_Z85 = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_B85 = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_TO_B85 = bytes.maketrans(_Z85, _B85)


class KeyPair(msgspec.Struct, frozen=True):
    """Keys of the fabric, as Z85 text."""

    public: str
    secret: str

    def __repr__(self) -> str:
        """A secret is not to be read in a traceback."""
        return f"KeyPair(public={self.public!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """The same for who prints in colours."""
        return [("public", self.public)]


def decode_z85(text: str) -> bytes:
    """Return a key's bytes. Raises ValueError: it is none."""
    if not text.isascii() or len(text) != KEY_CHARACTERS or any(byte not in _Z85 for byte in text.encode()):
        raise ValueError(f"expected {KEY_CHARACTERS} characters of Z85")
    return base64.b85decode(text.encode().translate(_TO_B85))


def is_key(text: str) -> bool:
    """Whether a text is a CURVE key."""
    try:
        return len(decode_z85(text)) == KEY_BYTES
    except ValueError:
        return False


_Keys = TypeVar("_Keys", KeyPair, WorkerKey, dict[str, str])


def _decode(text: bytes, file: str, kind: type[_Keys]) -> _Keys:
    try:
        keys = msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # it says where, and of which type, never the text
        raise ConfigError(f"{file}: no key file: {error}") from None
    named = keys if isinstance(keys, dict) else msgspec.structs.asdict(keys)
    for name, key in named.items():
        if not is_key(key):
            raise ConfigError(f"{file}: no key file: {name!r} is no CURVE key, {KEY_CHARACTERS} characters of Z85")
    return keys


def decode_key_pair(text: bytes, file: str) -> KeyPair:
    """Read ``coordinator.json``. Raises ConfigError, which names ``file`` and repeats nothing of what is in it."""
    return _decode(text, file, KeyPair)


def decode_worker_key(text: bytes, file: str) -> WorkerKey:
    """Read a worker's file; raises as :func:`decode_key_pair`."""
    return _decode(text, file, WorkerKey)


def decode_allowed(text: bytes, file: str) -> dict[str, str]:
    """Read ``allowed.json``; raises as :func:`decode_key_pair`."""
    return _decode(text, file, dict[str, str])


def encode_keys(keys: KeyPair | WorkerKey | Mapping[str, str]) -> bytes:
    """Return the text of a key file."""
    return msgspec.json.format(msgspec.json.encode(keys), indent=2) + b"\n"
