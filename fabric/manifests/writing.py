"""Put a deployment into a folder, with its keys."""

from __future__ import annotations

__all__ = ["Written", "write_made"]

from pathlib import Path
from typing import NamedTuple

from fabric.manifests.deployment import Deployment
from fabric.manifests.folder import Change, apply, changes, make_folder, unused
from fabric.manifests.making import Made


class Written(NamedTuple):
    """What was written, or would be.

    Attributes:
        changes: of files, by path.
        unused: files of ours that nothing needs any more; they stay.
    """

    changes: list[Change]
    unused: list[str]

    @property
    def fresh(self) -> list[str]:
        """Files that were not there before."""
        return [change.path for change in self.changes if change.kind == "new"]


def write_made(output: Path, made: Made, deployment: Deployment, *, dry_run: bool) -> Written:
    """Write what is new and what has changed.

    Raises:
        ConfigError: a file cannot be read or written.
    """
    found = changes(output, made.files)
    left = unused(output, made.files, made.ours)
    if not dry_run:
        apply(output, found, made.owner)
        for name in made.folders:
            make_folder(output / name, made.owner)
    return Written(found, left)
