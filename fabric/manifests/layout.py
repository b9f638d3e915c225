"""What containers find inside of them, whoever runs them: paths, variables, commands, and how their health is asked."""

from __future__ import annotations

__all__ = [
    "COORDINATOR_HEALTH",
    "KEY_FILE",
    "PLACEHOLDER",
    "SECRETS",
    "SETTINGS_FOLDER",
    "SPEC_FILE",
    "STATE_FOLDER",
    "TOKEN_FILE",
    "WORKER_HEALTH",
    "coordinator_command",
    "coordinator_secrets",
    "coordinator_variables",
    "key_file",
    "set_for_coordinator",
    "set_for_worker",
    "settings_file",
]

from pathlib import Path

from fabric.launch.keys import worker_file
from fabric.manifests.deployment import HTTP_PORT, Deployment, file_secrets, plain_variables
from fabric.manifests.files import File
from fabric.manifests.toml import write_settings
from fabric.plan.endpoints import endpoint_variables
from fabric.plan.plan import WorkerPlan
from fabric.transport.given import INSECURE_VARIABLE
from fabric.wire.spec import KEY_FILE_VARIABLE, SPEC_FILE_VARIABLE

SECRETS = "/run/secrets"
KEY_FILE = f"{SECRETS}/key.json"
TOKEN_FILE = f"{SECRETS}/token"
KEYS_FOLDER = f"{SECRETS}/keys"
SETTINGS_FOLDER = "/etc/fabric"
SPEC_FILE = f"{SETTINGS_FOLDER}/spec.json"
STATE_FOLDER = "/var/lib/fabric"

PLACEHOLDER = "put the {name} here, and nothing else\n"
"""It has spaces, so an agent says that it is no key instead of sending it."""

WORKER_HEALTH = ("python", "-P", "-m", "fabric.transport.listening")
"""A connection would be counted as that of a stranger."""

COORDINATOR_HEALTH = (
    "python",
    "-c",
    f"import urllib.request as r; r.urlopen('http://127.0.0.1:{HTTP_PORT}/readyz', timeout=5)",
)

_HOME = {"HOME": "/tmp", "XDG_RUNTIME_DIR": "/tmp"}  # noqa: S108 - of the container, and its own


def settings_file(deployment: Deployment) -> File:
    """Return the ``fabric.toml`` of the coordinator."""
    comment = "What the coordinator in its container is told; it is made of the project's settings."
    return File(write_settings(deployment.settings, comment).encode())


def key_file(worker: WorkerPlan) -> str:
    """Return where the key of a worker is in the folder of keys."""
    return worker_file(Path(), worker.name).as_posix()


def set_for_worker(worker: WorkerPlan) -> dict[str, str]:
    """Return the variables of a worker whose values are known."""
    said = {**_HOME, **endpoint_variables(worker.endpoints), "FABRIC_WORKER": worker.name}
    said |= {SPEC_FILE_VARIABLE: SPEC_FILE} if worker.ours else {}
    return said | ({KEY_FILE_VARIABLE: KEY_FILE} if worker.secured else {INSECURE_VARIABLE: "1"})


def coordinator_command(deployment: Deployment) -> tuple[str, ...]:
    """Return what the coordinator's container runs."""
    return ("fabric", "up", *(() if deployment.secured else ("--insecure",)))


def set_for_coordinator(deployment: Deployment) -> dict[str, str]:
    """Return the variables of the coordinator whose values are known."""
    said = {"FABRIC_PROJECT": deployment.project, "FABRIC_STATE_DIR": STATE_FOLDER, "FABRIC_TOKEN_FILE": TOKEN_FILE}
    return {**_HOME, **said, **({"FABRIC_KEYS": KEYS_FOLDER} if deployment.secured else {})}


def coordinator_secrets(deployment: Deployment) -> tuple[str, ...]:
    """Return the variables that processes in the coordinator's container read from files."""
    return tuple(dict.fromkeys(name for worker in deployment.inside for name in file_secrets(worker)))


def coordinator_variables(deployment: Deployment) -> tuple[str, ...]:
    """Return the other variables that they, and the servers of their tools, get."""
    names = [name for worker in deployment.inside for name in worker.pass_on]
    names += [name for server in deployment.plan.servers.values() for name in server.env]
    return plain_variables(names, coordinator_secrets(deployment))
