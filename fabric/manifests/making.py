"""All files of a deployment. What follows from the program is decided in the pure modules beside this one; here files
are read, and secrets are made.
"""

from __future__ import annotations

__all__ = ["KEYS", "Made", "compose_made", "kubernetes_made", "program_root"]

import os
import secrets
from pathlib import Path

import msgspec

from fabric.errors import ConfigError
from fabric.manifests.assets import read_assets
from fabric.manifests.compose import Contents, compose_files, host_labels
from fabric.manifests.deployment import Deployment
from fabric.manifests.files import PRIVATE, File, Files
from fabric.manifests.folder import MARKER
from fabric.manifests.kubernetes import USER, kubernetes_files
from fabric.manifests.layout import key_file
from fabric.manifests.readme import compose_readme, kubernetes_readme
from fabric.settings import ProjectSettings

KEYS = "keys"
"""The folder of all keys."""


class Made(msgspec.Struct, frozen=True):
    """What is to be written.

    Attributes:
        files: of the program's making.
        folders: that there have to be, empty or not.
        ours: folders that only we write to.
        hosts: folders of hosts, with all that each needs; none, if all is in one folder.
        keys: copies of files in the folder of keys: where each goes, to where it is from.
        owner: numbers of the user and the group whom files belong to; ``None``: who writes them.
        placeholders: files that somebody has to fill in.
    """

    files: Files
    folders: tuple[str, ...]
    ours: tuple[str, ...]
    hosts: tuple[str, ...]
    keys: dict[str, str]
    owner: tuple[int, int] | None
    placeholders: tuple[str, ...]


def program_root(program: Path, project: ProjectSettings, project_file: Path | None) -> Path:
    """Return the folder that goes with a program: that of its project's settings, if they name it, else its own."""
    named = project.spec is not None and project.spec.resolve() == program.resolve()
    if named and project_file is not None and program.resolve().is_relative_to(project_file.parent.resolve()):
        return project_file.parent.resolve()
    return program.resolve().parent


def _owner() -> tuple[int, int] | None:
    """Return whose the files have to be. What root writes is for containers that do not run as root."""
    return (USER, USER) if os.geteuid() == 0 else None


def compose_made(deployment: Deployment, program: Files, *, monitors: bool) -> Made:
    """Return compose files for every host."""
    owner = _owner()
    user = ":".join(map(str, owner or (os.geteuid(), os.getegid())))
    assets = read_assets() if monitors else {}
    if monitors and not assets:
        raise ConfigError("this installation has no rules and no dashboard; say --no-monitors")
    contents = Contents(program, assets, user)
    hosts = host_labels(deployment)
    made: Files = {}
    keys: dict[str, str] = {}
    for host, label in hosts.items():
        files = compose_files(deployment, host, contents)
        at = f"{label}/" if label else ""
        made |= {f"{at}{path}": file for path, file in files.items()}
        if label and deployment.secured:
            keys |= {f"{at}{KEYS}/{name}": name for name in _keys_on(deployment, host)}
    labels = [f"{label}/" if label else "" for label in hosts.values()]
    leading = f"{hosts[deployment.coordinator]}/" if hosts[deployment.coordinator] else ""
    placeholders = _placeholders(made)
    made |= _by_chance(leading, "token", *(["grafana"] if assets else []))
    made["README.md"] = File(compose_readme(deployment, hosts, placeholders, user).encode())
    made |= {f"{at}{MARKER}": File(_MARKED.encode()) for at in ("", *labels)}
    made[".gitignore"] = File(_IGNORED.encode())
    ours = tuple(f"{label}{name}" for label in labels for name in ("app", "specs"))
    folders = tuple(filter(None, hosts.values()))
    return Made(made, (f"{leading}state",), ours, folders, keys, owner, placeholders)


def kubernetes_made(deployment: Deployment, program: Files) -> Made:
    """Return manifests for Kubernetes."""
    made = kubernetes_files(deployment, program)
    placeholders = _placeholders(made)
    made |= _by_chance("", "token")
    made["README.md"] = File(kubernetes_readme(deployment, placeholders).encode())
    made[MARKER] = File(_MARKED.encode())
    made[".gitignore"] = File(_IGNORED.encode())
    return Made(made, (), ("app", "specs", "workers"), (), {}, None, placeholders)


_MARKED = "This folder was written by fabric compose or fabric k8s, and nothing of it goes into an image.\n"
_IGNORED = "# What is nobody else's business.\nkeys/\nsecrets/\nstate/\n.env\n"


def _placeholders(files: Files) -> tuple[str, ...]:
    return tuple(sorted(path for path, file in files.items() if file.keep and "/secrets/" in f"/{path}"))


def _by_chance(at: str, *names: str) -> Files:
    return {
        f"{at}secrets/{name}": File(f"{secrets.token_urlsafe(32)}\n".encode(), PRIVATE, keep=True) for name in names
    }


def _keys_on(deployment: Deployment, host: str) -> list[str]:
    leading = ["coordinator.json", "allowed.json"] if host == deployment.coordinator else []
    return leading + [key_file(container.worker) for container in deployment.on(host)]
