"""Sessions as their manifests tell of them: begins them, finds their children, and what they inherit."""

from __future__ import annotations

__all__ = ["begin_session", "children", "inheritance", "lives", "manifest_of", "read_manifest"]

import msgspec

from fabric.errors import LogDamaged, SessionNotFound
from fabric.store.keys import child_key, children_prefix, index_key, manifest_key, session_id, text_of
from fabric.store.record import Commit, Manifest, Origin, decode_manifest, encode_manifest
from fabric.store.replay import Placed, beginning, inherited_from
from fabric.store.tail import Tail
from fabric.store.world import World, create_surely


def read_manifest(world: World, session: str) -> Manifest:
    """Return the manifest of a session, deleted or not.

    Raises:
        SessionNotFound: there is none.
    """
    key = manifest_key(session_id(session))
    raw = world.store.get(key)
    if raw is None:
        raise SessionNotFound(
            f"there is no session {session} in {world.store.url}: 'fabric session ls' lists those that are"
        )
    return manifest_of(session, raw)


def manifest_of(session: str, raw: bytes) -> Manifest:
    """Return the manifest of a session from its bytes. Raises LogDamaged: it is not what was written."""
    key = manifest_key(session)
    manifest = decode_manifest(raw, key)
    if manifest.id != session:
        raise LogDamaged(f"{key}: it is the manifest of session {manifest.id}")
    return manifest


def lives(world: World, session: str) -> bool:
    """Say whether there is such a session, and it was not deleted."""
    if world.store.get(manifest_key(session)) is None:
        return False
    commits = Tail(world.store, session, world.tell).refresh()
    return not (commits and commits[-1].tombstone)


def begin_session(world: World, manifest: Manifest) -> bool:
    """Create a manifest if there is none of that id; return whether it was created.

    Those who list find it by two hints. They come first: so what is there is found, and what is found may not be there.
    """
    if world.store.get(manifest_key(session_id(manifest.id))) is not None:
        return False
    if manifest.parent is not None:
        create_surely(world.store, child_key(manifest.parent.session, manifest.id), b"")
    create_surely(world.store, index_key(manifest.id), b"")
    return create_surely(world.store, manifest_key(manifest.id), encode_manifest(manifest))


def children(world: World, session: str) -> list[str]:
    """Return the ids of the children of a session, in the order of the places where they were forked."""
    found: list[tuple[int, float, float, str]] = []
    for key in world.store.list(children_prefix(session)):
        child = text_of(key.rpartition("/")[2])
        raw = world.store.get(manifest_key(child)) if child is not None else None
        if child is None or raw is None:
            continue  # its maker was killed before the manifest, and will make it when he is back
        manifest = decode_manifest(raw, manifest_key(child))
        if (origin := manifest.parent) is not None and origin.session == session:
            index = float("inf") if origin.index is None else origin.index
            found.append((origin.seq, index, manifest.created, child))
    return [child for *_, child in sorted(found)]


def inheritance(world: World, manifest: Manifest) -> tuple[list[Placed], list[Placed]]:
    """Return what a session inherits, and what it begins with.

    Raises:
        LogDamaged: what it was forked from is not there.
    """
    inherited: list[Placed] = []
    commits, origin = _parent_log(world, manifest)
    begins = beginning(manifest, commits)
    seen = {manifest.id}
    while origin is not None:
        if origin.session in seen:
            raise LogDamaged(f"{manifest_key(origin.session)}: it is its own ancestor")
        seen.add(origin.session)
        parent = read_manifest(world, origin.session)
        own = inherited_from(origin, commits)
        commits, origin = _parent_log(world, parent)
        first = [msgspec.structs.replace(each, inherited=True) for each in beginning(parent, commits)]
        inherited[:0] = [*first, *own]
    return inherited, begins


def _parent_log(world: World, manifest: Manifest) -> tuple[list[Commit], Origin | None]:
    """Return the commits of the session from which one was forked."""
    origin = manifest.parent
    if origin is None:
        return [], None
    commits = Tail(world.store, origin.session, world.tell).refresh()
    at_end = origin.index is None and 0 <= origin.seq <= len(commits)
    if not at_end and not (0 <= origin.seq < len(commits) and _has(commits[origin.seq], origin.index)):
        raise LogDamaged(f"{manifest_key(manifest.id)}: it was forked at {origin}, which is not in its parent's log")
    return commits, origin


def _has(commit: Commit, index: int | None) -> bool:
    return index is not None and 0 <= index < len(commit.entries)
