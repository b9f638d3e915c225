"""Compose files: a service for the coordinator and one for each worker, on each host; Prometheus and Grafana beside the
coordinator.

They say nothing that compose v1 does not know: no ``name``, no ``version``, no ``configs`` with content. Files are
mounted, and a label has the digest of those that a service is told by, so `up` starts those again whose files differ.
"""

from __future__ import annotations

__all__ = ["Contents", "compose_files", "host_labels"]

from collections.abc import Mapping, Sequence

import msgspec

from fabric.manifests.deployment import (
    APP,
    COORDINATOR,
    HTTP_PORT,
    Container,
    Deployment,
    file_secrets,
    needs_program,
    plain_variables,
)
from fabric.manifests.files import PRIVATE, File, Files, digest_of, spec_file
from fabric.manifests.layout import (
    COORDINATOR_HEALTH,
    KEY_FILE,
    PLACEHOLDER,
    SECRETS,
    SETTINGS_FOLDER,
    SPEC_FILE,
    STATE_FOLDER,
    TOKEN_FILE,
    WORKER_HEALTH,
    coordinator_command,
    coordinator_secrets,
    coordinator_variables,
    key_file,
    set_for_coordinator,
    set_for_worker,
    settings_file,
)
from fabric.manifests.monitoring import GRAFANA_PORT, PROMETHEUS_PORT, monitoring_files
from fabric.manifests.names import labels_of
from fabric.manifests.yaml import Node, write_yaml
from fabric.plan.plan import Resources

_COMMENT = """Written by fabric compose, and again when the program or its settings change.
What is yours goes into compose.override.yaml and .env, which are never touched."""

_Service = dict[str, Node]


class _Verbatim(str):
    """A text in which compose is to put variables."""

    __slots__ = ()


USER = _Verbatim("${FABRIC_USER:-65532:65532}")
"""The owner of the files beside the compose file: only he can read those with secrets."""


class Contents(msgspec.Struct, frozen=True):
    """What goes into the files besides the deployment.

    Attributes:
        program: the program's folder; empty: the images have it.
        assets: our rules and dashboards for Prometheus and Grafana, by name; empty: without these two.
        user: numbers of the user and of the group that the containers run as.
    """

    program: Files
    assets: Mapping[str, bytes]
    user: str


def host_labels(deployment: Deployment) -> dict[str, str]:
    """Return the folder of each host on which something runs, by its name; of an only one that is no folder: empty."""
    used = {deployment.coordinator}
    if deployment.network == "hosts":
        used |= {container.worker.host for container in deployment.containers}
    labels = labels_of([name for name in deployment.settings.hosts if name in used])
    return labels if len(labels) > 1 else dict.fromkeys(labels, "")


def compose_files(deployment: Deployment, host: str, contents: Contents) -> Files:
    """Return the files of one host, but for those that are made by chance: keys, a token, a password."""
    here = deployment.on(host)
    leads = host == deployment.coordinator
    files: Files = {}
    services: dict[str, _Service] = {}
    named: set[str] = set()
    if leads:
        files["fabric.toml"] = settings_file(deployment)
        told = {"fabric.toml": files["fabric.toml"], **contents.program}
        services[COORDINATOR] = _coordinator(deployment, bool(contents.program)) | _labelled(told)
        named.update(coordinator_secrets(deployment))
    for container in here:
        spec = spec_file(container.worker.spec)
        files[f"specs/{container.label}.json"] = spec
        told = {"spec": spec, **(_code(contents.program) if needs_program(container.worker) else {})}
        services[container.label] = _worker(deployment, container, bool(contents.program)) | _labelled(told)
        named.update(file_secrets(container.worker))
    if leads and contents.assets:
        local = deployment.network == "hosts"
        target = f"{'127.0.0.1' if local else COORDINATOR}:{HTTP_PORT}"
        told = monitoring_files(contents.assets, target, f"{'127.0.0.1' if local else 'prometheus'}:{PROMETHEUS_PORT}")
        for name, service in _monitors(deployment).items():
            its = {path: file for path, file in told.items() if path.startswith(f"{name}/")}
            services[name] = service | _labelled(its)
        files |= told
    if leads or any(needs_program(container.worker) for container in here):
        files |= {f"app/{path}": file for path, file in contents.program.items()}
    files |= {f"secrets/{name}": File(PLACEHOLDER.format(name=name).encode(), PRIVATE, keep=True) for name in named}
    files[".env"] = File(_env(deployment, contents.user).encode(), keep=True)
    files["compose.yaml"] = File(write_yaml(_document(deployment, services), _COMMENT).encode())
    return files


def _code(program: Files) -> Files:
    """Return what workers may be made of: the program's text is what only the coordinator reads."""
    return {path: file for path, file in program.items() if not path.endswith((".plumb", ".md", ".toml"))}


def _labelled(told: Files) -> _Service:
    return {"labels": {"fabric.files": digest_of(told)}}


def _document(deployment: Deployment, services: Mapping[str, _Service]) -> Node:
    """Return the file; at its end stand the secrets and volumes that services name."""
    sources: dict[str, Node] = {}
    for service in services.values():
        for secret in _list(service.get("secrets")):
            name = str(secret["source"]) if isinstance(secret, Mapping) else str(secret)
            sources[name] = {"file": _source(deployment, name)}
    document: dict[str, Node] = {"services": {name: _escaped(service) for name, service in services.items()}}
    document["secrets"] = dict(sorted(sources.items()))
    return document | ({"volumes": {"prometheus": {}}} if "prometheus" in services else {})


def _source(deployment: Deployment, name: str) -> str:
    kind, _, rest = name.partition("-")
    if kind == "keys":
        return f"./keys/{rest}.json"
    worker = next((item.worker for item in deployment.containers if kind == "key" and item.label == rest), None)
    return f"./secrets/{name}" if worker is None else _escaped_text(f"./keys/{key_file(worker)}")


def _list(node: Node) -> Sequence[Node]:
    return node if isinstance(node, list) else []


def _env(deployment: Deployment, user: str) -> str:
    return (
        "# What compose reads in this folder. It was written once; now it is yours.\n"
        f"COMPOSE_PROJECT_NAME={deployment.name}\n"
        "# User and group of the containers: the owner of the files here.\n"
        f"FABRIC_USER={user}\n"
    )


# --- services ---------------------------------------------------------------------------------------------------------


def _hardened(deployment: Deployment) -> _Service:
    """Return what every service has.

    A worker that has drained is started again, and waits for the next coordinator: `up` replaces the coordinator alone
    if that alone has changed. `stop` and `down` end it.
    """
    service: _Service = {
        "restart": "unless-stopped",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "tmpfs": ["/tmp"],  # noqa: S108 - of the container
        "logging": {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}},
    }
    return service | ({"network_mode": "host"} if deployment.network == "hosts" else {})


def _ours(deployment: Deployment, image: str, command: Sequence[str]) -> _Service:
    service: _Service = {"image": image, "command": list(command), "init": True, "user": USER}
    return service | _hardened(deployment)


def _worker(deployment: Deployment, container: Container, mounts_app: bool) -> _Service:
    worker, secrets = container.worker, file_secrets(container.worker)
    service = _ours(deployment, worker.image, worker.command)
    volumes = [f"./specs/{container.label}.json:{SPEC_FILE}:ro"]
    if needs_program(worker):
        service["working_dir"] = APP
        volumes += [f"./app:{APP}:ro"] if mounts_app else []
    keys: list[Node] = [_secret(f"key-{container.label}", KEY_FILE)] if worker.secured else []
    service |= {
        "environment": _environment(plain_variables(worker.pass_on, secrets), secrets, set_for_worker(worker)),
        "volumes": list[Node](volumes),
        # The image of somebody else has no Python with the fabric.
        **({"healthcheck": _health(WORKER_HEALTH)} if worker.ours else {}),
        "stop_grace_period": f"{deployment.grace_s + 5:g}s",
    }
    service |= {"secrets": [*keys, *secrets]} if keys or secrets else {}
    return service | _limits(worker.limits)


def _coordinator(deployment: Deployment, mounts_app: bool) -> _Service:
    secrets = coordinator_secrets(deployment)
    service = _ours(deployment, deployment.image, coordinator_command(deployment))
    service["restart"] = "on-failure"  # a program that has ended by itself is at its end
    volumes = [f"./fabric.toml:{SETTINGS_FOLDER}/fabric.toml:ro", f"./state:{STATE_FOLDER}"]
    volumes += [f"./app:{APP}:ro"] if mounts_app else []
    keys = ("coordinator", "allowed") if deployment.secured else ()
    service |= {
        "working_dir": SETTINGS_FOLDER,
        "environment": _environment(coordinator_variables(deployment), secrets, set_for_coordinator(deployment)),
        "volumes": list[Node](volumes),
        "secrets": [
            _secret("token", TOKEN_FILE),
            *(_secret(f"keys-{name}", f"{SECRETS}/keys/{name}.json") for name in keys),
            *secrets,
        ],
        "healthcheck": _health(COORDINATOR_HEALTH),
        "stop_grace_period": f"{3 * deployment.grace_s + 10:g}s",
    }
    return service | ({"ports": [_published(HTTP_PORT)]} if deployment.network == "services" else {})


def _environment(names: Sequence[str], secrets: Sequence[str], known: Mapping[str, str]) -> Node:
    """Return the variables of a service: some are known, some are those of who starts it, some name files."""
    files = {f"{name}_FILE": f"{SECRETS}/{name}" for name in secrets}
    return dict(sorted({**dict.fromkeys(names), **files, **known}.items()))


def _secret(name: str, target: str) -> Node:
    return {"source": name, "target": target}


def _published(port: int) -> str:
    return f"127.0.0.1:{port}:{port}"


def _limits(limits: Resources) -> _Service:
    said = {"mem_limit": limits.memory_bytes, "cpus": limits.cpus, "pids_limit": limits.pids}
    return {name: value for name, value in said.items() if value is not None}


def _health(test: Sequence[str]) -> Node:
    return {"test": ["CMD", *test], "interval": "15s", "timeout": "10s", "retries": 3, "start_period": "30s"}


def _monitors(deployment: Deployment) -> dict[str, _Service]:
    """Return Prometheus and Grafana: they are reached from their host alone."""
    on_host = deployment.network == "hosts"
    command: list[Node] = [
        "--config.file=/etc/prometheus/prometheus.yml",
        "--storage.tsdb.path=/prometheus",
        "--storage.tsdb.retention.time=30d",
        "--storage.tsdb.retention.size=5GB",
    ]
    environment: dict[str, Node] = {
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_SECURITY_ADMIN_PASSWORD__FILE": f"{SECRETS}/grafana",
    }
    prometheus: _Service = {
        "image": _Verbatim("${PROMETHEUS_IMAGE:-prom/prometheus:v2.55.1}"),
        "command": [*command, f"--web.listen-address=127.0.0.1:{PROMETHEUS_PORT}"] if on_host else command,
        **_hardened(deployment),
        "volumes": ["./prometheus:/etc/prometheus:ro", "prometheus:/prometheus"],
    }
    grafana: _Service = {
        "image": _Verbatim("${GRAFANA_IMAGE:-grafana/grafana-oss:11.4.0}"),
        "user": USER,
        **_hardened(deployment),
        "tmpfs": ["/tmp", "/var/lib/grafana"],  # noqa: S108 - all that it shows is in its files
        "environment": {**environment, "GF_SERVER_HTTP_ADDR": "127.0.0.1"} if on_host else environment,
        "volumes": [
            "./grafana/provisioning:/etc/grafana/provisioning:ro",
            "./grafana/dashboards:/etc/grafana/dashboards:ro",
        ],
        "secrets": ["grafana"],
    }
    for service, port in ((prometheus, PROMETHEUS_PORT), (grafana, GRAFANA_PORT)):
        service |= {} if on_host else {"ports": [_published(port)]}
    return {"prometheus": prometheus, "grafana": grafana}


# --- what compose would take for a variable ---------------------------------------------------------------------------


def _escaped(node: Node) -> Node:
    """Return what compose reads as this: it puts variables into every text, but into no key."""
    if isinstance(node, str):
        return node if isinstance(node, _Verbatim) else _escaped_text(node)
    if isinstance(node, Mapping):
        return {key: _escaped(value) for key, value in node.items()}
    return [_escaped(item) for item in node] if isinstance(node, Sequence) else node


def _escaped_text(text: str) -> str:
    return text.replace("$", "$$")
