"""Many commits in one object, so that reading a long log is a few requests: a pure function of the log.

A line that says whose and how many commits follow, then the commits, byte for byte as they are in the log; all of it
compressed, with a check sum. A snapshot is disposable: what is torn or of somebody else is not used.
"""

from __future__ import annotations

__all__ = ["decode_snapshot", "encode_snapshot", "is_due", "snapshot_lines"]

from collections.abc import Sequence

import msgspec
import zstandard

from fabric.errors import LogDamaged
from fabric.store.record import FORMAT, Commit, decode_commit

COMMITS = 64
TAIL_BYTES = 1024 * 1024
"""A snapshot is due when the log has so many commits, or bytes, that are in none."""

SMALL_BYTES = 1024 * 1024
SHARE = 16
"""Of a log over ``SMALL_BYTES``, not before a sixteenth of it is new: or they would cost the square of its size."""

LEVEL = 3


class _Head(msgspec.Struct, frozen=True):
    session: str
    commits: int
    v: int = FORMAT


def is_due(commits: int, tail_bytes: int, bytes_before: int) -> bool:
    """Say whether a snapshot is due.

    Args:
        commits, tail_bytes: that are in no snapshot.
        bytes_before: in the last snapshot, as in the log.
    """
    if commits < COMMITS and tail_bytes < TAIL_BYTES:
        return False
    return bytes_before <= SMALL_BYTES or tail_bytes * SHARE >= bytes_before


def encode_snapshot(session: str, commits: Sequence[bytes]) -> bytes:
    """Return a snapshot of commits, as they are in the log."""
    head = msgspec.json.encode(_Head(session, len(commits)))
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(b"\n".join([head, b"".join(commits)]))


def decode_snapshot(raw: bytes, session: str, key: str) -> list[tuple[bytes, Commit]]:
    """Return the commits of a snapshot, as bytes of the log and decoded.

    Raises:
        LogDamaged: it is torn, or of another session.
    """
    lines = snapshot_lines(raw, session, key)
    return [(line, decode_commit(line, f"{key}, line {number}")) for number, line in enumerate(lines, 2)]


def snapshot_lines(raw: bytes, session: str, key: str) -> list[bytes]:
    """Return the commits of a snapshot as bytes of the log; what they say is not looked at. Raises as above."""
    try:
        lines = zstandard.ZstdDecompressor().decompress(raw).splitlines(keepends=True)
        head = msgspec.json.decode(lines[0] if lines else b"", type=_Head)
    except (zstandard.ZstdError, msgspec.DecodeError) as error:
        raise LogDamaged(f"{key}: it is no snapshot: {error}") from None
    if head.session != session or head.commits != len(lines) - 1 or head.v > FORMAT:
        raise LogDamaged(
            f"{key}: it says that it has {head.commits} commits of {head.session}, format {head.v}; "
            f"expected {len(lines) - 1} of {session}"
        )
    return lines[1:]
