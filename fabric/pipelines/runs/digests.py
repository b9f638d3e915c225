"""What files and values are known by: the same in each process, another one if they say something else."""

from __future__ import annotations

__all__ = ["digest_of", "digest_of_file"]

import hashlib
import json
from pathlib import Path

from fabric.pipelines.runs.dumping import dumped


def digest_of(value: object) -> str:
    """Return a digest of a value: 32 hexadecimal digits.

    Raises:
        ValueError: it cannot be written as JSON.
    """
    text = json.dumps(dumped(value), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def digest_of_file(path: Path) -> str:
    """Return a digest of what is in a file: its SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
