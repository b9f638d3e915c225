"""What is written into a bucket, as data and as bytes; ``keys`` says where.

An object ends with the digest of all of its bytes before that; each entry carries the digest of its body. Both are
verified when it is read: what a disk or a gateway has changed is never taken for what was written.
"""

from __future__ import annotations

__all__ = [
    "COMMIT_BYTES_MAX",
    "FORMAT",
    "INLINE_BYTES_MAX",
    "PAUSE_TYPE",
    "TOMBSTONE",
    "Attempt",
    "Commit",
    "Entry",
    "Kind",
    "Manifest",
    "Origin",
    "Pause",
    "Undelivered",
    "Unused",
    "Version",
    "decode_attempt",
    "decode_commit",
    "decode_manifest",
    "decode_undelivered",
    "decode_unused",
    "decode_version",
    "digest",
    "encode",
    "encode_commit",
    "encode_manifest",
    "entry_of",
    "fitting",
    "shortened",
]

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec

from fabric.errors import ConfigError, LogDamaged

FORMAT = 1
"""The version of the format. A reader refuses a newer one, and reads all older ones."""

INLINE_BYTES_MAX = 32 * 1024
"""Bodies up to this size are in their commit; larger ones are objects of their own."""

COMMIT_BYTES_MAX = 8 * 1024 * 1024
"""Of the entries of a commit, which is created in one request, and read as a whole. Bodies that are too much for it
become objects of their own, whatever their size."""

REASON_CHARS_MAX = 500
"""Of a reason that is told in passing. The whole of it is the body of an entry."""

PAUSE_TYPE = "application/vnd.pugmark.pause+text"
"""The content type by which a handler says that it waits."""

TOMBSTONE = "deleted"
"""The event of the last entry of a session that was deleted."""

Kind: TypeAlias = Literal["client", "handler", "system"]
"""Who committed: somebody from outside, who decided nothing; a handler or a running fabric; we ourselves."""


class Origin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a session was forked from another one.

    Attributes:
        session: its id.
        seq: the child inherits the parent's commits before this one.
        index: and of this one the entries before this; ``None``: the fork was asked for from outside, at the end of
            what was inherited. Else it is the number of the entry that asked for it, which the child sees as its own
            first push.
    """

    session: str
    seq: int
    index: int | None = None


class Manifest(msgspec.Struct, frozen=True, rename="kebab", omit_defaults=True):
    """What a session is.

    Attributes:
        id: 1 to 128 of ``A-Z a-z 0-9 . _ -`` and ``/`` between parts.
        created: seconds since 1970.
        agent, metadata: given to its handlers.
        parent: of a fork.
        program: digest of the compiled program, of a run of one; empty for a session with handlers.
        path: of that program's file, as it was given: for people.
    """

    id: str
    created: float
    v: int = FORMAT
    agent: str = ""
    metadata: Mapping[str, Any] = {}
    parent: Origin | None = None
    program: str = ""
    path: str = ""


class Entry(msgspec.Struct, frozen=True, rename="kebab", omit_defaults=True):
    """One thing that happened.

    The body is ``text`` if it is UTF-8, else ``data``, else the object that its digest names.

    Attributes:
        event: ``push``, ``pause``, ``wake``, ``memory``; of a run what ``fabric.session.history`` lists.
        size: of the body as it is stored, in bytes.
        sha256: of the same, in hexadecimal.
        content_encoding: how the body is stored: ``gzip``, ``zstd``; anything else is as it is.
        fork: it makes a child, which inherits everything before it and begins with it.
        session: to which it is delivered.
    """

    event: str
    name: str = ""
    content_type: str = ""
    content_encoding: str = ""
    schema_url: str = ""
    metadata: Mapping[str, Any] = {}
    size: int = 0
    sha256: str = ""
    text: str | None = None
    data: bytes | None = None
    fork: bool = False
    session: str = ""

    @property
    def inline(self) -> bytes | None:
        """The body, if it is here; ``None``: it is the object ``blob_key(sha256)``."""
        if self.text is not None:
            return self.text.encode()
        return self.data if self.data is not None or self.size else b""


class Pause(msgspec.Struct, frozen=True, omit_defaults=True):
    """A handler has nothing to do until something comes.

    Attributes:
        reason: for people; a long one is cut, and ends with ``…``.
        until: seconds since 1970, when it wants to be woken; ``None``: not by time.
    """

    reason: str = ""
    until: float | None = None


class Commit(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was decided at once.

    Attributes:
        id: of this attempt to commit; tells one's own commit from somebody else's.
        kind: who decided.
        base: how many commits there were when it was decided: all with a lower number were seen.
        at: seconds since 1970.
        entries: in order.
        pause: what the handler said at its end.
        key: of a client's push; another one with this key is the same push.
        inv: of a handler's decision: equal for all attempts to decide from the same state.
    """

    id: str
    kind: Kind
    base: int
    at: float
    v: int = FORMAT
    entries: tuple[Entry, ...] = ()
    pause: Pause | None = None
    key: str = ""
    inv: str = ""

    @property
    def tombstone(self) -> bool:
        """Whether the session was deleted by it."""
        return self.kind == "system" and any(entry.event == TOMBSTONE for entry in self.entries)


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """A decision that was tried and came to nothing.

    Attributes:
        base: how many commits it saw.
        at: seconds since 1970, when it failed.
        status: what came of it, in a word or two: ``exit 1``, ``signal 9``, ``time-out``.
        reason: for people.
        stderr: the end of what it said.
    """

    base: int
    at: float
    v: int = FORMAT
    status: str = ""
    reason: str = ""
    stderr: str = ""


class Undelivered(msgspec.Struct, frozen=True, omit_defaults=True):
    """An entry that could not be delivered to another session, and why."""

    seq: int
    index: int
    session: str
    reason: str
    at: float
    v: int = FORMAT


class Version(msgspec.Struct, frozen=True, omit_defaults=True):
    """An object of a memory namespace, as it was from some time on.

    Attributes:
        entry: the object; its name is whole, with the namespace.
        origin: ``sid/seq/index`` of the entry that wrote it, by which it is known if it is written again.
        at: seconds since 1970.
    """

    entry: Entry
    origin: str
    at: float
    v: int = FORMAT


class Unused(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which bodies nobody named at some time."""

    at: float
    sha256: tuple[str, ...]
    v: int = FORMAT


_Kept = TypeVar("_Kept", Manifest, Commit, Attempt, Undelivered, Version, Unused)

_SUM = b',"sum":"'
_encoder = msgspec.json.Encoder(order="deterministic")
_commit_decoder = msgspec.json.Decoder(Commit)
_manifest_decoder = msgspec.json.Decoder(Manifest)
_attempt_decoder = msgspec.json.Decoder(Attempt)
_undelivered_decoder = msgspec.json.Decoder(Undelivered)
_version_decoder = msgspec.json.Decoder(Version)
_unused_decoder = msgspec.json.Decoder(Unused)


def digest(body: bytes) -> str:
    """Return the SHA-256 of a body, in hexadecimal."""
    return hashlib.sha256(body).hexdigest()


def entry_of(event: str, body: bytes, **fields: Any) -> Entry:
    """Return an entry with a body. One over ``INLINE_BYTES_MAX`` has to be stored under :func:`blob_key` first."""
    text: str | None = None
    data: bytes | None = None
    if body and len(body) <= INLINE_BYTES_MAX:
        try:
            text = body.decode()
        except UnicodeDecodeError:
            data = body
    return Entry(event, size=len(body), sha256=digest(body), text=text, data=data, **fields)


def fitting(entries: Sequence[Entry], bytes_max: int = COMMIT_BYTES_MAX) -> tuple[Entry, ...]:
    """Return entries that fit into a commit: some without their bodies, which are to be objects then, if need be.

    The largest bodies go first. The same entries give the same.

    Raises:
        ConfigError: they do not fit without any body.
    """
    sizes = [len(_encoder.encode(entry)) for entry in entries]
    kept, size = list(entries), sum(sizes)
    for index in sorted(range(len(kept)), key=lambda index: kept[index].size, reverse=True):
        if size <= bytes_max:
            break
        if kept[index].inline:
            kept[index] = msgspec.structs.replace(kept[index], text=None, data=None)
            size -= sizes[index] - len(_encoder.encode(kept[index]))
    if size > bytes_max:
        raise ConfigError(
            f"{len(kept)} entries are {size} bytes without their bodies, expected at most {bytes_max} in one commit: "
            "shorter names and metadata, or fewer entries at once"
        )
    return tuple(kept)


def shortened(reason: str) -> str:
    """Return a reason, cut if it is long."""
    return reason if len(reason) <= REASON_CHARS_MAX else f"{reason[: REASON_CHARS_MAX - 1]}…"


def encode_manifest(manifest: Manifest) -> bytes:
    """Return a manifest as JSON text with its digest."""
    return _summed(_encoder.encode(manifest))


def decode_manifest(raw: bytes, key: str) -> Manifest:
    """Return a manifest.

    Raises:
        LogDamaged: it is not what was written.
    """
    return _decoded(raw, key, _manifest_decoder)


def encode_commit(commit: Commit) -> bytes:
    """Return a commit as JSON text with its digest."""
    return _summed(_encoder.encode(commit))


def decode_commit(raw: bytes, key: str) -> Commit:
    """Return a commit.

    Raises:
        LogDamaged: it is not what was written, or a newer version wrote it.
    """
    commit = _decoded(raw, key, _commit_decoder)
    for number, entry in enumerate(commit.entries):
        _checked(entry, key, number)
    return commit


def encode(kept: Attempt | Undelivered | Version | Unused) -> bytes:
    """Return something smaller as JSON text with its digest."""
    return _summed(_encoder.encode(kept))


def decode_attempt(raw: bytes, key: str) -> Attempt:
    """Return an attempt; raise as :func:`decode_manifest` does."""
    return _decoded(raw, key, _attempt_decoder)


def decode_undelivered(raw: bytes, key: str) -> Undelivered:
    """Return what could not be delivered; raise as :func:`decode_manifest` does."""
    return _decoded(raw, key, _undelivered_decoder)


def decode_version(raw: bytes, key: str) -> Version:
    """Return an object of a memory namespace; raise as :func:`decode_commit` does."""
    version = _decoded(raw, key, _version_decoder)
    _checked(version.entry, key, 0)
    return version


def decode_unused(raw: bytes, key: str) -> Unused:
    """Return a list of bodies; raise as :func:`decode_manifest` does."""
    return _decoded(raw, key, _unused_decoder)


def _checked(entry: Entry, key: str, number: int) -> None:
    body = entry.inline
    if body is not None and (len(body) != entry.size or digest(body) != entry.sha256):
        raise LogDamaged(f"{key}: the body of entry {number} is not what its digest says")


def _summed(raw: bytes) -> bytes:
    return raw[:-1] + _SUM + digest(raw[:-1]).encode() + b'"}\n'


def _decoded(raw: bytes, key: str, decoder: msgspec.json.Decoder[_Kept]) -> _Kept:
    head, found, tail = raw.rpartition(_SUM)
    if not found or tail != digest(head).encode() + b'"}\n':
        raise LogDamaged(f"{key}: it is not what was written: its digest does not fit its {len(raw)} bytes")
    try:
        decoded = decoder.decode(raw)
    except msgspec.DecodeError as error:  # the digest fits: somebody else wrote this, or a newer version
        raise LogDamaged(f"{key}: this version cannot read it: {error}") from None
    if decoded.v > FORMAT:
        raise LogDamaged(f"{key}: it has format {decoded.v}, this version reads up to {FORMAT}")
    return decoded
