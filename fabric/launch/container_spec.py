"""What the container of a worker is made of: decided here, done in :mod:`fabric.launch.container`.

A container gets nothing but its image, the program's folder to read, and a small volume with what only it may know: its
spec, its key, the keys of its provider. That is filled through the engine's API before it starts, so it is the same for
an engine of this host and for one that is not. Neither is in its environment or its labels, which many may read.
"""

from __future__ import annotations

__all__ = ["FOLDER", "USER_OF_ROOT", "Wanted", "user_of", "want"]

import hashlib
import io
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import msgspec

from fabric.errors import ConfigError
from fabric.launch.engine import Container, HostConfig, Mount
from fabric.launch.owner import COORDINATOR_LABEL, DIGEST_LABEL, KEY_LABEL, PROJECT_LABEL, WORKER_LABEL, Owner
from fabric.plan.endpoints import endpoint_variables
from fabric.plan.make import MODULE
from fabric.plan.plan import WorkerPlan
from fabric.tracing.setting import HEADERS, headers_of, variables_of
from fabric.transport.given import INSECURE_VARIABLE
from fabric.wire.spec import KEY_FILE_VARIABLE, SPEC_FILE_VARIABLE

FOLDER = "/run/fabric"
"""Of what only the container may know."""

PROGRAM_FOLDER = "/app"
"""Where the program's folder is: in the image, or mounted."""

USER_OF_ROOT = (65532, 65532)
"""Whom a container runs as whose coordinator is root; many images call it nonroot. Else it runs as the coordinator."""

TMP = {"/tmp": "rw,nosuid,nodev,noexec,size=64m,mode=1777"}  # noqa: S108 - it is the container's own

PASSED_ON = frozenset({"LANG", "TZ", "PIPELINE_DEBUG", "PLUMB_PROVIDER", "PLUMB_MODEL"})
"""What every container gets of our environment, beside ``LC_…``. What names places of this host says nothing there."""

SECRETS = frozenset({"ANTHROPIC_API_KEY", "OPENAI_API_KEY"})
"""What is given as a file, whose name is in ``…_FILE``; whether we have it so or not."""

NAME_CHARACTERS_MAX = 40


class Wanted(NamedTuple):
    """A container as it should be.

    Attributes:
        name: on its engine; the same for each of one worker, so there is never more than one.
        container: to be made.
        files: of its volume, by name.
        digest: of all of this, but for who makes it.
        limit: of its memory, in words.
    """

    name: str
    container: Container
    files: dict[str, bytes]
    digest: str
    limit: str

    def archive(self) -> bytes:
        """Return the files as a tar: nobody but the container's user may read them."""
        uid, gid = map(int, self.container.user.split(":"))
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for name, content in self.files.items():
                info = tarfile.TarInfo(name)
                info.size, info.mode, info.uid, info.gid = len(content), 0o400, uid, gid
                tar.addfile(info, io.BytesIO(content))
        return packed.getvalue()


def user_of(uid: int, gid: int) -> str:
    """Return whom a container runs as, ``UID:GID``, whose coordinator runs as this; never root."""
    return "{}:{}".format(*(USER_OF_ROOT if uid == 0 else (uid, gid)))


def want(
    worker: WorkerPlan, image_id: str, owner: Owner, environment: Mapping[str, str], user: str, *, local: bool
) -> Wanted:
    """Return the container of a worker.

    Args:
        worker: its plan.
        image_id: of its image, as the engine has it now.
        owner: whose it is.
        environment: the coordinator's.
        user: whom it runs as.
        local: whether the engine has our files.

    Raises:
        ConfigError: it needs files that it would not have, or a file with a key or with headers cannot be read.
    """
    folder = worker.spec.directory
    needs_folder = worker.spec.kind != "agent"
    mounts = [Mount("volume", FOLDER)]
    if needs_folder and local:
        _check_folder(worker.name, Path(folder), user)
        mounts.append(Mount("bind", PROGRAM_FOLDER, folder, read_only=True))
    files = _secrets(worker, environment)
    variables = _variables(worker, environment) | {f"{name}_FILE": f"{FOLDER}/{name}" for name in files}
    spec = msgspec.structs.replace(worker.spec, key=None, directory=PROGRAM_FOLDER if needs_folder else "/")
    files["spec.json"] = msgspec.json.encode(spec)
    variables[SPEC_FILE_VARIABLE] = f"{FOLDER}/spec.json"
    if worker.spec.key is not None:
        files["key.json"] = msgspec.json.encode(worker.spec.key)
        variables[KEY_FILE_VARIABLE] = f"{FOLDER}/key.json"
    container = Container(
        image=worker.image,
        cmd=_command(worker, folder),
        user=user,
        env=tuple(f"{name}={value}" for name, value in sorted(variables.items())),
        labels={KEY_LABEL: owner.key, PROJECT_LABEL: owner.project, WORKER_LABEL: worker.name},
        host_config=_host_config(worker, tuple(mounts)),
        working_dir=PROGRAM_FOLDER if needs_folder else "/",
    )
    digest = _digest(container, image_id, files, worker)
    labels = {**container.labels, DIGEST_LABEL: digest, COORDINATOR_LABEL: owner.coordinator}
    container = msgspec.structs.replace(container, labels=labels)
    return Wanted(_name(owner, worker.name), container, files, digest, _mib(worker.limits.memory_bytes))


def _host_config(worker: WorkerPlan, mounts: tuple[Mount, ...]) -> HostConfig:
    limits = worker.limits
    return HostConfig(
        network_mode="host",
        memory=limits.memory_bytes or 0,
        memory_swap=limits.memory_bytes or 0,  # with the same there is no swap: a limit is one
        nano_cpus=round((limits.cpus or 0) * 1e9),
        pids_limit=limits.pids,
        tmpfs=TMP,
        mounts=mounts,
    )


def _command(worker: WorkerPlan, folder: str) -> tuple[str, ...]:
    """Return the command as it is in the image: with its Python, and the program's folder where it is there."""
    program, *arguments = worker.command
    if worker.ours:
        return ("python", *MODULE, arguments[-1])
    path = PurePosixPath(program)
    if path.is_absolute() and path.is_relative_to(folder):
        program = str(PurePosixPath(PROGRAM_FOLDER, path.relative_to(folder)))
    return (program, *arguments)


def _variables(worker: WorkerPlan, environment: Mapping[str, str]) -> dict[str, str]:
    named = [name for name in worker.pass_on if name.removesuffix("_FILE") not in SECRETS]
    kept = {name: value for name, value in environment.items() if name in PASSED_ON or name.startswith("LC_")}
    kept |= {name: environment[name] for name in named if name in environment}
    # Headers of a collector may be secret, and whoever may look at a container sees its environment: they are files.
    traced = variables_of(environment)
    kept |= {name: value for name, value in traced.items() if name.removesuffix("_FILE") not in HEADERS}
    kept |= endpoint_variables(worker.endpoints)
    kept |= {} if worker.secured else {INSECURE_VARIABLE: "1"}
    # Its root cannot be written, so neither can compiled modules.
    ours = {"FABRIC_WORKER": worker.name, "HOME": "/tmp", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}  # noqa: S108
    return kept | ours


def _secrets(worker: WorkerPlan, environment: Mapping[str, str]) -> dict[str, bytes]:
    """Return the keys of its provider and of the collector of spans that we have, from the variable or its file."""
    found = {name: said.encode() for name, said in headers_of(environment).items()}
    for name in sorted(SECRETS.intersection(worker.pass_on)):
        path = environment.get(f"{name}_FILE", "")
        if environment.get(name):
            found[name] = environment[name].encode()
        elif path:
            try:
                found[name] = Path(path).read_bytes()
            except OSError as error:
                raise ConfigError(f"worker '{worker.name}': {name}_FILE={path!r}: {error.strerror}") from None
    return found


def _check_folder(worker: str, folder: Path, user: str) -> None:
    """Check that the container's user can read the program's folder: what is root's he may not."""
    try:
        found = folder.stat()
    except OSError as error:
        raise ConfigError(f"worker '{worker}': {folder}: {error.strerror}") from None
    uid, gid = map(int, user.split(":"))
    bits = found.st_mode >> (6 if found.st_uid == uid else 3 if found.st_gid == gid else 0)
    if bits & 0o5 != 0o5:
        raise ConfigError(
            f"worker '{worker}': its container runs as user {user}, who cannot read {folder}, which is mounted as"
            f" {PROGRAM_FOLDER}; let others read it: chmod o+rx {folder}"
        )


def _digest(container: Container, image_id: str, files: Mapping[str, bytes], worker: WorkerPlan) -> str:
    # Keyed where there is a key: the digest is a label, and from it nobody must be able to try out what is secret.
    key = worker.spec.key.secret.encode() if worker.spec.key is not None else b""
    digest = hashlib.blake2b(digest_size=16, key=key)
    parts = [image_id.encode(), msgspec.json.encode(container, order="sorted")]
    for name in sorted(files):
        parts += [name.encode(), files[name]]
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _name(owner: Owner, worker: str) -> str:
    """Return the name of a container: with words for people, and a digest for what these leave out."""
    exact = hashlib.blake2b(f"{owner.key}\0{worker}".encode(), digest_size=4).hexdigest()
    words = re.sub(r"[^A-Za-z0-9_.]+", "-", f"{owner.project}-{worker}")[:NAME_CHARACTERS_MAX].strip("-")
    return f"fabric-{words}-{exact}"


def _mib(memory_bytes: int | None) -> str:
    return f"limit {memory_bytes / 1024**2:g} MiB" if memory_bytes else "of its host; it has no limit"
