"""The keys of a project in a directory: who the fabric is, who its workers are, whom it lets in.

    coordinator.json    the fabric's pair
    allowed.json        public keys by worker
    workers/NAME.json   all that this worker needs; it may be moved to where the worker runs

The coordinator needs the first two. A worker's key stays over restarts, its own and the coordinator's: it says who it
is, not which of its processes. Nothing here is ever printed but names.
"""

from __future__ import annotations

__all__ = ["Keyring", "allowed_workers", "make_keys", "read_keyring", "worker_file"]

import fcntl
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, TypeVar
from urllib.parse import quote

from fabric.errors import ConfigError
from fabric.transport.sockets import make_key_pair, public_key_of
from fabric.wire.keys import KeyPair, decode_allowed, decode_key_pair, decode_worker_key, encode_keys
from fabric.wire.spec import WorkerKey

COORDINATOR = "coordinator.json"
ALLOWED = "allowed.json"
IGNORE = ".gitignore"
"""In the directory of keys: no version control takes them in by mistake."""

Done: TypeAlias = Literal["made", "kept", "rotated"]


class Keyring(NamedTuple):
    """What a session needs.

    Attributes:
        server: the fabric's pair.
        allowed: public keys of its workers, by name.
        given: whole keys of those that are handed theirs.
    """

    server: KeyPair
    allowed: Mapping[str, str]
    given: Mapping[str, WorkerKey]


def worker_file(directory: Path, worker: str) -> Path:
    """Return where a worker's key is."""
    return directory / "workers" / f"{quote(worker, safe=' #')}.json"


def allowed_workers(directory: Path) -> list[str]:
    """Return the workers whose keys a directory allows; none, if there are no keys in it.

    Raises:
        ConfigError: the file that says so is damaged, or others may have changed it.
    """
    return sorted(_read(directory / ALLOWED, decode_allowed, 0o077) or {})


def read_keyring(directory: Path, given: Collection[str], others: Collection[str]) -> Keyring:
    """Return the keys of a session; those of workers that are given theirs are made if there are none.

    Args:
        directory: of the keys.
        given: workers that we hand their keys to.
        others: workers that have to have theirs.

    Raises:
        ConfigError: a key is missing or damaged, or is not of the same making as the others, or everybody may read it.
    """
    if given:
        make_keys(directory, given)
    server = _read(directory / COORDINATOR, decode_key_pair, 0o007)
    allowed = _read(directory / ALLOWED, decode_allowed, 0o002) if server is not None else None
    missing = [name for name in (*given, *others) if name not in (allowed or {})]
    if server is None or allowed is None or missing:
        what = f"no key for worker '{missing[0]}'" if server and missing else f"no {COORDINATOR} and {ALLOWED}"
        raise ConfigError(f"{directory}: {what}; make what is missing with: fabric keys")
    _check_pair(directory / COORDINATOR, server)
    keys = {name: _checked(directory, name, server, allowed) for name in given}
    return Keyring(server, {name: allowed[name] for name in (*given, *others)}, keys)


def make_keys(directory: Path, workers: Iterable[str], rotated: Collection[str] | None = ()) -> dict[Path, Done]:
    """Make what is missing; return what was done to each file.

    Args:
        directory: of the keys; made if there is none.
        workers: whose keys are wanted.
        rotated: whose keys are replaced; ``None``: all, and the fabric's own.

    Raises:
        ConfigError: what is there is damaged or of different makings, others may read or change it, or it cannot be
            written. Nothing was changed, but in the last case.
    """
    try:
        with _locked(directory):
            return _make(directory, list(workers), rotated)
    except OSError as error:
        raise ConfigError(f"cannot write {error.filename or directory}: {error.strerror}") from None


def _make(directory: Path, workers: list[str], rotated: Collection[str] | None) -> dict[Path, Done]:
    (directory / "workers").mkdir(mode=0o700, exist_ok=True)
    for folder in (directory, directory / "workers"):
        _check_mode(folder, 0o077, "0700")
    server = None if rotated is None else _read(directory / COORDINATOR, decode_key_pair, 0o077)
    allowed = _read(directory / ALLOWED, decode_allowed, 0o077) or {}
    before = dict(allowed)
    files: dict[Path, tuple[Done, KeyPair | WorkerKey]] = {}
    done: dict[Path, Done] = {}
    if server is None:
        server = KeyPair(*make_key_pair())
        files[directory / COORDINATOR] = (_how(directory / COORDINATOR), server)
    else:
        _check_pair(directory / COORDINATOR, server)
        done[directory / COORDINATOR] = "kept"
    for name in dict.fromkeys(workers):
        file = worker_file(directory, name)
        again = rotated is None or name in rotated
        if not again and file.exists():
            allowed.setdefault(name, _pair_of(file).public)  # somebody was interrupted before it was written down
            _checked(directory, name, server, allowed)
        if not again and name in allowed:
            done[file] = "kept"  # the file may be where the worker is
        else:
            key = WorkerKey(*make_key_pair(), server.public)
            allowed[name] = key.public
            files[file] = (_how(file), key)
    if not (directory / IGNORE).exists():
        _write(directory / IGNORE, b"*\n")  # before the first secret: what is committed once is known for good
    for file, (how, keys) in files.items():
        _write(file, encode_keys(keys))
        done[file] = how
    if allowed != before or not (directory / ALLOWED).exists():
        how = _how(directory / ALLOWED)
        _write(directory / ALLOWED, encode_keys(dict(sorted(allowed.items()))))
        done[directory / ALLOWED] = how
    else:
        done[directory / ALLOWED] = "kept"
    return done


def _how(file: Path) -> Done:
    return "rotated" if file.exists() else "made"


def _checked(directory: Path, worker: str, server: KeyPair, allowed: Mapping[str, str]) -> WorkerKey:
    """Return a worker's key. Raises ConfigError: it does not fit the others."""
    file = worker_file(directory, worker)
    key = _read(file, decode_worker_key, 0o077)
    if key is None:
        raise ConfigError(
            f"{file} is not there, but its key is allowed: put it back, or: fabric keys --rotate {worker}"
        )
    _check_pair(file, key)
    if key.server != server.public:
        raise ConfigError(f"{file} is for another fabric than {directory / COORDINATOR}; fabric keys --rotate {worker}")
    if key.public != allowed.get(worker):
        raise ConfigError(f"{file} has another key than {directory / ALLOWED} allows; fabric keys --rotate {worker}")
    return key


def _pair_of(file: Path) -> WorkerKey:
    key = _read(file, decode_worker_key, 0o077)
    assert key is not None
    return key


def _check_pair(file: Path, keys: KeyPair | WorkerKey) -> None:
    if public_key_of(keys.secret) != keys.public:
        raise ConfigError(f"{file}: its public key does not belong to its secret key")


# --- Files ----------------------------------------------------------------------------------------------------------


_Keys = TypeVar("_Keys")


def _read(file: Path, decode: Callable[[bytes, str], _Keys], refused: int) -> _Keys | None:
    """Return what is in a file, if there is one. Raises ConfigError: it is none, or its mode lets others at it."""
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from None
    _check_mode(file, refused, "0600")
    return decode(text, str(file))


def _check_mode(path: Path, refused: int, expected: str) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & refused:
        raise ConfigError(
            f"{path} has mode {mode:04o}, so others may have been at it; expected {expected}:"
            f" chmod {expected.lstrip('0')} {path}, and fabric keys --rotate if they have"
        )


def _write(file: Path, text: bytes) -> None:
    """Write a file at once or not at all, for its owner alone."""
    new = file.with_name(f".{file.name}.new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())
    new.replace(file)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keep others from making keys here meanwhile."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
