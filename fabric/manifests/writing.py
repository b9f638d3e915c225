"""Put a deployment into a folder, with its keys."""

from __future__ import annotations

__all__ = ["Written", "check_output", "write_made"]

import os
from pathlib import Path
from typing import NamedTuple

from fabric.errors import ConfigError
from fabric.launch.keys import make_keys
from fabric.manifests.deployment import Deployment
from fabric.manifests.files import PRIVATE, File
from fabric.manifests.folder import MARKER, Change, apply, changes, make_folder, strangers, unused
from fabric.manifests.making import KEYS, Made


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


def check_output(output: Path, *sources: Path) -> None:
    """Check that a deployment is not written over what it is made of.

    Raises:
        ConfigError: the folder is one of these, or one of them lies in it.
    """
    for source in sources:
        if source.resolve().is_relative_to(output.resolve()):
            raise ConfigError(
                f"-o {output}: {source} lies there, and its files would be replaced; name a folder of its own,"
                " such as -o deployed"
            )


def write_made(output: Path, made: Made, deployment: Deployment, *, dry_run: bool) -> Written:
    """Write what is new and what has changed.

    Keys are made where there are none, and never replaced; with --rotate, `fabric keys` does that, and the next writing
    brings the new ones to the hosts.

    Raises:
        ConfigError: a file cannot be read or written, or somebody else's files are there.
    """
    if theirs := strangers(output, made.hosts):
        shown = ", ".join([*theirs[:3], *(["and more"] if len(theirs) > 3 else [])])
        raise ConfigError(
            f"-o {output}: the folder has files that we did not write: {shown}; name an empty one, or a new one. If all"
            f" of it was written by an older fabric, say so with: touch {output / MARKER}"
        )
    found = sorted(changes(output, made.files), key=lambda change: not change.path.endswith(MARKER))
    left = unused(output, {*made.files, *made.keys}, made.ours)
    if dry_run:
        return Written(found, left)
    apply(output, found, made.owner)
    for name in made.folders:
        make_folder(output / name, made.owner, 0o700)
    return Written(found + _write_keys(output, made, deployment), left)


def _write_keys(output: Path, made: Made, deployment: Deployment) -> list[Change]:
    """Make the keys that are missing, and copy to each host those that are needed there; return what is new."""
    if not deployment.secured:
        return []
    folder = output / KEYS
    done = make_keys(folder, [container.worker.name for container in deployment.containers])
    if made.owner is not None:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, *made.owner)
    fresh = [path for path, how in done.items() if how != "kept"]
    news = [Change(str(path.relative_to(output)), "new", File(b"", PRIVATE)) for path in fresh]
    try:
        copies = {target: File((folder / source).read_bytes(), PRIVATE) for target, source in made.keys.items()}
    except OSError as error:
        raise ConfigError(f"cannot read {error.filename}: {error.strerror}") from None
    copied = changes(output, copies)
    apply(output, copied, made.owner)
    return sorted([*news, *copied], key=lambda change: change.path)
