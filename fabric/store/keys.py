"""Where things are in a bucket.

    sessions/<sid>/manifest.json                    what the session is; created once
    sessions/<sid>/log/<seq, 20 digits>.json        a commit; numbers are dense from 0; never deleted
    sessions/<sid>/snap/<seq, 20 digits>.json.zst   commits 0 to seq in one object; derived, disposable
    sessions/<sid>/errors/<base>-<attempt>.json     an attempt to decide that failed
    sessions/<sid>/children/<child>                 a hint, created before the child's manifest
    sessions/<sid>/settled/<seq>                    what this commit asked of other sessions is done
    sessions/<sid>/undelivered/<seq>-<index>.json   or cannot be done, and why
    blobs/sha256/<2>/<rest>                         a body of more than INLINE_BYTES_MAX, written before its commit
    index/<sid>                                     a hint, created before the manifest: listings need not see all logs
    memory/<namespace>/<name>/<version>.json        a version of an object of a memory namespace
    ending/<sid>                                    a hint: this session is being deleted, and may be listed still
    aside/<2>/<rest>/<milliseconds, 20 digits>      a body that is being removed, and since when
    unused/<milliseconds, 20 digits>.json           which bodies nobody named at that time

Only the manifest, the log, bodies and memory are what a bucket is for. All else follows from them, or is news for
people. An id or a name is one part of a key, whatever is in it: see :func:`part_of`.
"""

from __future__ import annotations

__all__ = [
    "aside_key",
    "aside_of",
    "aside_prefix",
    "blob_key",
    "blob_of",
    "check_namespace",
    "check_push_key",
    "child_key",
    "children_prefix",
    "ending_key",
    "error_key",
    "errors_prefix",
    "index_key",
    "log_key",
    "log_prefix",
    "manifest_key",
    "memory_key",
    "memory_prefix",
    "number_of",
    "part_of",
    "session_id",
    "settled_key",
    "settled_prefix",
    "snapshot_key",
    "snapshots_prefix",
    "text_of",
    "undelivered_key",
    "undelivered_prefix",
    "unused_key",
]

import hashlib
import re
from functools import lru_cache

from fabric.errors import ConfigError

SESSION_ID_MAX = 128
PART_MAX = 200
"""Names on file systems have 255 bytes; the rest is for endings."""

_ID_PART = re.compile(r"[A-Za-z0-9._-]+")
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.")
_OUR_PUSH = re.compile(r"(memory|message)/.*|.+/[0-9]+/[0-9]+", re.DOTALL)
_NUMBER = re.compile(r"[0-9]{20}")


def check_namespace(namespace: str) -> str:
    """Return the name of a memory namespace, if it is one.

    Raises:
        ConfigError: it is none.
    """
    if not namespace or "/" in namespace:
        raise ConfigError(f"{namespace!r} cannot be a memory namespace: expected a name without '/'")
    return namespace


def check_push_key(key: str) -> str:
    """Return the key of a push, if users may have it. Ours tell what we have pushed from what they have:

        SESSION/COMMIT/ENTRY    what another session has sent
        memory/NAMESPACE        the session was given a namespace of memory
        message/...             of a run of a program, to one of its handlers

    Raises:
        ConfigError: it has such a form.
    """
    if _OUR_PUSH.fullmatch(key):
        raise ConfigError(
            f"--key {key}: keys such as SESSION/1/0, memory/... and message/... are for what fabric itself pushes: "
            "choose another form, such as orders:2024:11"
        )
    return key


def session_id(session: str) -> str:
    """Return the id of a session, if it is one.

    Raises:
        ConfigError: it is none.
    """
    parts = session.split("/")
    if any(part in (".", "..") or not _ID_PART.fullmatch(part) for part in parts):
        raise ConfigError(
            f"{session!r} cannot be the id of a session: expected A-Z a-z 0-9 . _ - and '/' between parts, none of "
            f"them '.' or '..'"
        )
    if len(session) > SESSION_ID_MAX or text_of(part_of(session)) != session:
        raise ConfigError(
            f"{session[:40]!r}... cannot be the id of a session: more than {SESSION_ID_MAX} letters, or too many parts"
        )
    return session


@lru_cache(4096)
def part_of(text: str) -> str:
    """Return a text as one part of a key, which :func:`text_of` reads. A long one ends with its digest instead."""
    part = "".join(
        char if char in _PLAIN and (char != "." or number) else "".join(f"={byte:02X}" for byte in char.encode())
        for number, char in enumerate(text)
    )
    if len(part) > PART_MAX or not part:
        return f"{part[: PART_MAX - 66]}=-{hashlib.sha256(text.encode()).hexdigest()}"
    return part


def text_of(part: str) -> str | None:
    """Return the text of which this is the part of a key; ``None``: it is not made by :func:`part_of`, or too long."""
    raw = bytearray()
    position = 0
    while position < len(part):
        char = part[position]
        if char == "=":
            code = part[position + 1 : position + 3]
            if not re.fullmatch("[0-9A-F]{2}", code):
                return None
            raw.append(int(code, 16))
            position += 3
        else:
            raw += char.encode()
            position += 1
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def number_of(key: str) -> int | None:
    """Return the number by which a commit or a snapshot is named; ``None``: it is named otherwise."""
    name = key.rpartition("/")[2].partition(".")[0]
    return int(name) if _NUMBER.fullmatch(name) else None


def session_prefix(session: str) -> str:
    """Return the beginning of all keys of a session."""
    return f"sessions/{part_of(session)}/"


def manifest_key(session: str) -> str:
    """Return the key of a session's manifest."""
    return f"{session_prefix(session)}manifest.json"


def log_prefix(session: str) -> str:
    """Return the beginning of the keys of commits."""
    return f"{session_prefix(session)}log/"


def log_key(session: str, seq: int) -> str:
    """Return the key of a commit."""
    return f"{log_prefix(session)}{seq:020d}.json"


def snapshots_prefix(session: str) -> str:
    """Return the beginning of the keys of snapshots."""
    return f"{session_prefix(session)}snap/"


def snapshot_key(session: str, seq: int) -> str:
    """Return the key of the snapshot of commits 0 to seq."""
    return f"{snapshots_prefix(session)}{seq:020d}.json.zst"


def errors_prefix(session: str) -> str:
    """Return the beginning of the keys of attempts that failed."""
    return f"{session_prefix(session)}errors/"


def error_key(session: str, base: int, attempt: int) -> str:
    """Return the key of an attempt that failed, from 1."""
    return f"{errors_prefix(session)}{base:020d}-{attempt:06d}.json"


def children_prefix(session: str) -> str:
    """Return the beginning of the keys that name the children of a session."""
    return f"{session_prefix(session)}children/"


def child_key(session: str, child: str) -> str:
    """Return the key that names a child."""
    return f"{children_prefix(session)}{part_of(child)}"


def settled_prefix(session: str) -> str:
    """Return the beginning of the keys of commits that ask for nothing any more."""
    return f"{session_prefix(session)}settled/"


def settled_key(session: str, seq: int) -> str:
    """Return the key that says that a commit asks for nothing any more."""
    return f"{settled_prefix(session)}{seq:020d}"


def undelivered_prefix(session: str) -> str:
    """Return the beginning of the keys of what could not be delivered."""
    return f"{session_prefix(session)}undelivered/"


def undelivered_key(session: str, seq: int, index: int) -> str:
    """Return the key of one entry that could not be delivered."""
    return f"{undelivered_prefix(session)}{seq:020d}-{index:06d}.json"


def blob_key(sha256: str) -> str:
    """Return the key of a large body."""
    return f"blobs/sha256/{sha256[:2]}/{sha256[2:]}"


def blob_of(key: str) -> str | None:
    """Return the digest that is the key of a large body; ``None``: it is not the key of one."""
    sha256 = key.removeprefix("blobs/sha256/").replace("/", "", 1)
    return sha256 if re.fullmatch("[0-9a-f]{64}", sha256) and key == blob_key(sha256) else None


def aside_prefix(sha256: str) -> str:
    """Return the beginning of the keys of a large body that is being removed."""
    return f"aside/{sha256[:2]}/{sha256[2:]}/"


def aside_key(sha256: str, now: float) -> str:
    """Return the key of a large body that is being removed since a time, in seconds since 1970."""
    return f"{aside_prefix(sha256)}{int(now * 1000):020d}"


def aside_of(key: str) -> tuple[str, float] | None:
    """Return the digest of a large body that is being removed, and since when; ``None``: it is not the key of one."""
    sha256, since = key.removeprefix("aside/").replace("/", "", 1).partition("/")[0], number_of(key)
    known = since is not None and re.fullmatch("[0-9a-f]{64}", sha256) and key == f"{aside_prefix(sha256)}{since:020d}"
    return (sha256, since / 1000) if known and since is not None else None


def ending_key(session: str) -> str:
    """Return the key by which it is known that a session is being deleted."""
    return f"ending/{part_of(session)}"


def index_key(session: str) -> str:
    """Return the key by which a session is listed."""
    return f"index/{part_of(session)}"


def memory_prefix(namespace: str, name: str) -> str:
    """Return the beginning of the keys of the versions of an object of a memory namespace."""
    return f"memory/{part_of(namespace)}/{part_of(name)}/"


def memory_key(namespace: str, name: str, version: int) -> str:
    """Return the key of a version, from 0."""
    return f"{memory_prefix(namespace, name)}{version:020d}.json"


def unused_key(now: float) -> str:
    """Return the key of a list of bodies that nobody named at a time, in seconds since 1970."""
    return f"unused/{int(now * 1000):020d}.json"
