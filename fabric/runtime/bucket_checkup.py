"""Whether sessions can be kept where they are to be kept."""

from __future__ import annotations

__all__ = ["NETWORK_FILE_SYSTEMS", "check_bucket", "file_system"]

import os
from pathlib import Path

from fabric.errors import FabricError
from fabric.runtime.checkup import Check
from fabric.store.file import FileStore
from fabric.store.objects import ObjectStore
from fabric.store.opening import open_store
from fabric.store.probe import probe

_NETWORK = (
    "9p afs ceph cifs fuse.ceph fuse.gcsfuse fuse.glusterfs fuse.s3fs fuse.sshfs gfs2 glusterfs lustre nfs nfs4 ocfs2",
    "smb2 smb3 smbfs",
)
NETWORK_FILE_SYSTEMS = frozenset(" ".join(_NETWORK).split())
"""One machine hears late there of what another one has created: two of them may both create a key."""

MOUNTS = Path("/proc/self/mounts")


def check_bucket(url: str, mounts: str | None = None) -> Check:
    """Look whether a bucket keeps what it has to. One that is there is tried with a key, once; none is made.

    Args:
        url: of the bucket.
        mounts: what is mounted on this host, as the system lists it; ``None``: it is asked.
    """
    try:
        store = open_store(url)
        kind = _kind(store, mounts)
        if isinstance(store, FileStore):
            if kind in NETWORK_FILE_SYSTEMS:
                hint = 'keep sessions on a local disk, or in object storage: [store] url = "s3://BUCKET/PREFIX"'
                return Check("sessions", False, f"{url} is on {kind}, where two machines may create the same key", hint)
            if not store.root.exists():
                return _can_be_made(store, url, kind)
        probe(store)
    except FabricError as error:
        return Check("sessions", False, str(error), "FABRIC_STORE or [store] url names another bucket")
    return Check("sessions", True, f"{url} creates a key once" + (f", on {kind}" if kind else ""))


def _kind(store: ObjectStore, mounts: str | None) -> str:
    if not isinstance(store, FileStore):
        return ""
    if mounts is None:
        mounts = MOUNTS.read_text(errors="surrogateescape") if MOUNTS.exists() else ""
    return file_system(Path(os.path.realpath(store.root)), mounts)


def _can_be_made(store: FileStore, url: str, kind: str) -> Check:
    place = next(parent for parent in store.root.parents if parent.exists())
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        return Check("sessions", True, f"{url} is made with the first one" + (f", on {kind}" if kind else ""))
    hint = "FABRIC_STORE or [store] url names another bucket"
    return Check("sessions", False, f"{url} cannot be made: {place} cannot be written", hint)


def file_system(path: Path, mounts: str) -> str:
    """Return the kind of file system that a path is on, such as ``ext4``; empty if nobody knows.

    Args:
        path: absolute, without links.
        mounts: lines of device, directory, kind and more; of those of one directory the last counts.
    """
    found, kind = Path(), ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        directory = Path(_unescape(fields[1]))
        if path.is_relative_to(directory) and len(directory.parts) >= len(found.parts):
            found, kind = directory, fields[2]
    return kind


def _unescape(field: str) -> str:
    for escape in ("\\040", "\\011", "\\012", "\\134"):
        field = field.replace(escape, chr(int(escape[1:], 8)))
    return field
