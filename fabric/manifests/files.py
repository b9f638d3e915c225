"""Files to be written, as data."""

from __future__ import annotations

__all__ = ["PRIVATE", "PUBLIC", "File", "Files", "digest_of", "spec_file"]

import hashlib
from typing import TypeAlias

import msgspec

from fabric.wire.spec import WorkerSpec

PUBLIC, PRIVATE = 0o644, 0o600


class File(msgspec.Struct, frozen=True):
    """A file.

    Attributes:
        content: of it.
        mode: of it.
        keep: one that is there stays as it is: somebody has filled it in, or it is a secret.
    """

    content: bytes
    mode: int = PUBLIC
    keep: bool = False


Files: TypeAlias = dict[str, File]
"""By path, relative to the folder that they are written to, with slashes."""


def digest_of(files: Files) -> str:
    """Return a text that is another one if a file is: what is mounted does not tell compose that it has changed."""
    digest = hashlib.blake2b(digest_size=8)
    for path, file in sorted(files.items()):
        digest.update(f"{len(path.encode())} {path} {len(file.content)} ".encode() + file.content)
    return digest.hexdigest()


def spec_file(spec: WorkerSpec) -> File:
    """Return what a worker is told as a file: what is not as it usually is, over several lines.

    So a change is seen where it is, and what others are told one day changes nothing here.
    """
    said = {
        field.encode_name: value
        for field in msgspec.structs.fields(spec)
        if (value := getattr(spec, field.name)) != _usual(field)
    }
    return File(msgspec.json.format(msgspec.json.encode(said), indent=2) + b"\n")


def _usual(field: msgspec.structs.FieldInfo) -> object:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
