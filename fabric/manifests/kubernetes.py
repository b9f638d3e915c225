"""Kubernetes manifests, for ``kubectl apply -k``: a StatefulSet and a headless Service for the coordinator and for each
worker, policies that let only those speak who have to, and a kustomization that makes ConfigMaps and Secrets of files.

No secret stands in a manifest: what is committed holds names of files, and the files are beside it, for their owner
only. ConfigMaps get a name with a hash of what is in them, so a worker whose spec changes is started again, and no
other.
"""

from __future__ import annotations

__all__ = ["CONFIG_BYTES_MAX", "kubernetes_files", "program_keys"]

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit

from fabric.errors import ConfigError
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
from fabric.manifests.files import PRIVATE, PUBLIC, File, Files, spec_file
from fabric.manifests.layout import (
    KEY_FILE,
    PLACEHOLDER,
    SECRETS,
    SETTINGS_FOLDER,
    SPEC_FILE,
    STATE_FOLDER,
    WORKER_HEALTH,
    coordinator_command,
    coordinator_secrets,
    coordinator_variables,
    key_file,
    set_for_coordinator,
    set_for_worker,
    settings_file,
)
from fabric.manifests.names import labels_of, namespace_of
from fabric.manifests.yaml import Node, write_yaml
from fabric.plan.plan import Address, Resources, WorkerPlan
from fabric.wire.spec import INPUT_PORTS, OUTPUT_PORTS

CONFIG_BYTES_MAX = 900 * 1024
"""Of the program's folder: a ConfigMap holds 1 MiB, names included."""

USER = 65532

_COMMENT = "Written by fabric k8s, and again when the program or its settings change. Patches go into an overlay."
_PART_OF = "app.kubernetes.io/part-of"
_NAME = "app.kubernetes.io/name"
_COMPONENT = "app.kubernetes.io/component"
_DNS: Node = {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}

_Object = dict[str, Node]


def kubernetes_files(deployment: Deployment, program: Files) -> Files:
    """Return the files, but for those that are made by chance: keys and the token.

    Args:
        deployment: what is deployed; its containers find one another by the names of their services.
        program: the program's folder; empty: the images have it.

    Raises:
        ConfigError: the program's folder is too big for a ConfigMap.
    """
    objects: dict[str, list[_Object]] = {
        "namespace.yaml": [_namespace(deployment)],
        "coordinator.yaml": _coordinator(deployment, program),
        "disruption.yaml": [_disruption(deployment)],
        "network.yaml": [_deny_all(deployment)],
    }
    for container in deployment.containers:
        objects[f"workers/{container.label}.yaml"] = _worker(deployment, container, program)
    files: Files = {path: File(_stream(found)) for path, found in objects.items()}
    files["fabric.toml"] = settings_file(deployment)
    files |= {f"app/{path}": file for path, file in program.items()}
    for container in deployment.containers:
        files[f"specs/{container.label}.json"] = spec_file(container.worker.spec)
    names = _secret_names(deployment)
    files |= {f"secrets/{name}": File(PLACEHOLDER.format(name=name).encode(), PRIVATE, keep=True) for name in names}
    variables = _variables(deployment)
    if variables:
        text = "# One NAME=VALUE in a line. Written once; now it is yours.\n"
        files["secrets/environment.env"] = File(
            (text + "".join(f"# {name}=\n" for name in variables)).encode(), PRIVATE, keep=True
        )
    kustomization = _kustomization(deployment, objects, program, bool(variables))
    files["kustomization.yaml"] = File(write_yaml(kustomization, _COMMENT).encode())
    return files


def _stream(objects: Sequence[_Object]) -> bytes:
    return "---\n".join(write_yaml(found) for found in objects).encode()


# --- the kustomization ------------------------------------------------------------------------------------------------


def program_keys(paths: Iterable[str]) -> dict[str, str]:
    """Return the names that files have in a ConfigMap, by path: such a name has no slash.

    Raises:
        ConfigError: a file's name cannot be that of a key.
    """
    keys = {}
    for path in paths:
        key = path.replace("/", "__")
        if not all(char.isascii() and (char.isalnum() or char in "-_.") for char in key) or len(key) > 253:
            raise ConfigError(f"{path}: a file in a ConfigMap has a name of letters, digits, '-', '_' and '.'")
        keys[path] = key
    if len(set(keys.values())) < len(keys):
        raise ConfigError("two files of the program have the same name when '/' is written '__'; rename one")
    return keys


def _kustomization(
    deployment: Deployment,
    objects: Mapping[str, object],
    program: Files,
    has_variables: bool,
) -> Node:
    config_maps: list[Node] = [{"name": "coordinator", "files": ["fabric.toml"]}]
    if program:
        size = sum(len(file.content) for file in program.values())
        if size > CONFIG_BYTES_MAX:
            raise ConfigError(
                f"the program's folder has {size} bytes, and a ConfigMap holds {CONFIG_BYTES_MAX}: put the program into"
                " the image (fabric image) and say --program-in-image"
            )
        keys = program_keys(sorted(program))
        config_maps.append({"name": "program", "files": [f"{key}=app/{path}" for path, key in keys.items()]})
    made: list[Node] = [{"name": "token", "files": ["token=secrets/token"]}]
    made += [{"name": label, "files": [f"{name}=secrets/{name}"]} for name, label in _secret_names(deployment).items()]
    made += [{"name": "environment", "envs": ["secrets/environment.env"]}] if has_variables else []
    if deployment.secured:
        made.append({"name": "keys", "files": ["keys/coordinator.json", "keys/allowed.json"]})
    for container in deployment.containers:
        label = container.label
        config_maps.append({"name": f"spec-{label}", "files": [f"spec.json=specs/{label}.json"]})
        if container.worker.secured:
            made.append({"name": f"key-{label}", "files": [f"key.json=keys/{key_file(container.worker)}"]})
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": namespace_of(deployment.name),
        "resources": sorted(objects),
        "configMapGenerator": config_maps,
        "secretGenerator": made,
    }


def _secret_names(deployment: Deployment) -> dict[str, str]:
    """Return the names of the Secrets that are made of files, by variable; none is that of another object of ours."""
    variables = {*coordinator_secrets(deployment)}.union(*(file_secrets(item.worker) for item in deployment.containers))
    return {variable: f"secret-{label}" for variable, label in labels_of(sorted(variables)).items()}


def _variables(deployment: Deployment) -> list[str]:
    found = set(coordinator_variables(deployment))
    for container in deployment.containers:
        found.update(plain_variables(container.worker.pass_on, file_secrets(container.worker)))
    return sorted(found)


# --- what all have ----------------------------------------------------------------------------------------------------


def _labels(deployment: Deployment, name: str) -> dict[str, Node]:
    component = COORDINATOR if name == COORDINATOR else "worker"
    return {_COMPONENT: component, _NAME: name, _PART_OF: deployment.name}


def _object(deployment: Deployment, version: str, kind: str, name: str, spec: Node) -> _Object:
    metadata: Node = {"name": name, "labels": _labels(deployment, name)}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def _selector(name: str) -> Node:
    return {"matchLabels": {_NAME: name}}


def _namespace(deployment: Deployment) -> _Object:
    labels = {_PART_OF: deployment.name, "pod-security.kubernetes.io/enforce": "restricted"}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": namespace_of(deployment.name), "labels": labels},
    }


def _disruption(deployment: Deployment) -> _Object:
    spec: Node = {"maxUnavailable": 1, "selector": {"matchLabels": {_PART_OF: deployment.name}}}
    metadata: Node = {"name": "one-at-a-time", "labels": {_PART_OF: deployment.name}}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": spec}


def _deny_all(deployment: Deployment) -> _Object:
    metadata: Node = {"name": "default-deny", "labels": {_PART_OF: deployment.name}}
    spec: Node = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def _service(deployment: Deployment, name: str, ports: Sequence[Node]) -> _Object:
    """Return a headless Service. A pod has its name before it is ready: it is ready when its peer has found it."""
    spec: Node = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {_NAME: name}, "ports": ports}
    return _object(deployment, "v1", "Service", name, spec)


def _stateful_set(
    deployment: Deployment, name: str, container: _Object, volumes: Sequence[Node], grace_s: float
) -> _Object:
    pod: _Object = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": round(grace_s),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}, *volumes],
    }
    spec: Node = {
        "replicas": 1,
        "serviceName": name,
        "podManagementPolicy": "Parallel",  # else a pod that never gets ready keeps its mended one from being started
        "selector": _selector(name),
        "template": {"metadata": {"labels": _labels(deployment, name)}, "spec": pod},
    }
    return _object(deployment, "apps/v1", "StatefulSet", name, spec)


def _container(
    image: str, command: Sequence[str], environment: Sequence[Node], mounts: Sequence[Node], limits: Resources
) -> _Object:
    resources: dict[str, Node] = {}
    if limits.memory_bytes is not None:
        resources["memory"] = str(limits.memory_bytes)
    if limits.cpus is not None:
        resources["cpu"] = f"{round(limits.cpus * 1000)}m"
    container: _Object = {
        "name": "main",
        "image": image,
        "command": [_expanded_safely(word) for word in command],
        "env": environment,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, *mounts],  # noqa: S108 - of the container
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    return container | ({"resources": {"limits": resources}} if resources else {})


def _environment(names: Sequence[str], secrets: Sequence[str], known: Mapping[str, str]) -> list[Node]:
    said = {**known, **{f"{name}_FILE": f"{SECRETS}/{name}" for name in secrets}}
    variables: dict[str, Node] = {
        name: {"name": name, "value": _expanded_safely(value)} for name, value in said.items()
    }
    for name in names:
        chosen: Node = {"name": "environment", "key": name, "optional": True}
        variables[name] = {"name": name, "valueFrom": {"secretKeyRef": chosen}}
    return [variables[name] for name in sorted(variables)]


def _expanded_safely(text: str) -> str:
    """Return what Kubernetes reads as this: it puts variables in the place of ``$(NAME)``."""
    return text.replace("$", "$$")


def _mount(name: str, path: str, key: str = "") -> Node:
    return {"name": name, "mountPath": path, "readOnly": True, **({"subPath": key} if key else {})}


def _from_secret(name: str) -> Node:
    return {"name": name, "secret": {"secretName": name, "defaultMode": 0o440}}


def _from_config(name: str) -> Node:
    return {"name": name, "configMap": {"name": name}}


def _app(program: Files) -> tuple[list[Node], list[Node]]:
    """Return volume and mount of the program's folder, which keeps its folders."""
    if not program:
        return [], []
    items: list[Node] = []
    for path, key in program_keys(sorted(program)).items():
        mode: dict[str, Node] = {} if program[path].mode == PUBLIC else {"mode": program[path].mode}
        items.append({"key": key, "path": path, **mode})
    return [{"name": "program", "configMap": {"name": "program", "items": items}}], [_mount("program", APP)]


def _provider_keys(deployment: Deployment, variables: Sequence[str]) -> tuple[list[Node], list[Node]]:
    labels = _secret_names(deployment)
    mounts = [_mount(labels[name], f"{SECRETS}/{name}", name) for name in variables]
    return [_from_secret(labels[name]) for name in variables], mounts


# --- the coordinator --------------------------------------------------------------------------------------------------


def _coordinator(deployment: Deployment, program: Files) -> list[_Object]:
    secrets = coordinator_secrets(deployment)
    volumes, mounts = _app(program)
    more_volumes, more_mounts = _provider_keys(deployment, secrets)
    volumes += [_from_config("coordinator"), _from_secret("token"), *more_volumes]
    mounts += [_mount("coordinator", SETTINGS_FOLDER), _mount("token", f"{SECRETS}/token", "token"), *more_mounts]
    mounts.append({"name": "state", "mountPath": STATE_FOLDER})
    if deployment.secured:
        volumes.append(_from_secret("keys"))
        mounts.append(_mount("keys", f"{SECRETS}/keys"))
    container = _container(
        deployment.image,
        coordinator_command(deployment),
        _environment(coordinator_variables(deployment), secrets, set_for_coordinator(deployment)),
        mounts,
        Resources(),
    )
    container |= {
        "workingDir": SETTINGS_FOLDER,
        "ports": [{"name": "http", "containerPort": HTTP_PORT}],
        "startupProbe": {**_asked("/livez"), "periodSeconds": 2, "failureThreshold": 60},
        "livenessProbe": {**_asked("/livez"), "periodSeconds": 10, "timeoutSeconds": 5},
        "readinessProbe": {**_asked("/readyz"), "periodSeconds": 5, "timeoutSeconds": 5},
    }
    pods = _stateful_set(deployment, COORDINATOR, container, volumes, 3 * deployment.grace_s + 10)
    claim: Node = {
        "metadata": {"name": "state"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    spec = pods["spec"]
    assert isinstance(spec, dict)
    spec["volumeClaimTemplates"] = [claim]
    service = _service(deployment, COORDINATOR, [{"name": "http", "port": HTTP_PORT}])
    return [service, pods, _policy_of_coordinator(deployment)]


def _asked(path: str) -> dict[str, Node]:
    return {"httpGet": {"path": path, "port": "http"}}


def _policy_of_coordinator(deployment: Deployment) -> _Object:
    monitoring: Node = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    ingress: list[Node] = [{"from": [monitoring], "ports": [{"protocol": "TCP", "port": HTTP_PORT}]}]
    egress: list[Node] = [_DNS]
    for container in deployment.containers:
        ours, its = _ports(container.worker, INPUT_PORTS), _ports(container.worker, OUTPUT_PORTS)
        pods: Node = [{"podSelector": _selector(container.label)}]
        ingress.append({"from": pods, "ports": ours})
        egress.append({"to": pods, "ports": its})
    servers = [server.url for server in deployment.plan.servers.values()]
    egress += _to_internet(deployment.inside, [url for url in servers if url])
    return _policy(deployment, COORDINATOR, ingress, egress)


# --- workers ----------------------------------------------------------------------------------------------------------


def _worker(deployment: Deployment, container: Container, program: Files) -> list[_Object]:
    worker, label = container.worker, container.label
    secrets = file_secrets(worker)
    volumes, mounts = _app(program) if needs_program(worker) else ([], [])
    more_volumes, more_mounts = _provider_keys(deployment, secrets)
    volumes += [_from_config(f"spec-{label}"), *more_volumes]
    mounts += [_mount(f"spec-{label}", SPEC_FILE, "spec.json"), *more_mounts]
    if worker.secured:
        volumes.append(_from_secret(f"key-{label}"))
        mounts.append(_mount(f"key-{label}", KEY_FILE, "key.json"))
    environment = _environment(plain_variables(worker.pass_on, secrets), secrets, set_for_worker(worker))
    made = _container(worker.image, worker.command, environment, mounts, worker.limits)
    if needs_program(worker):
        made["workingDir"] = APP
    # To ask by a connection would make a stranger of whoever asks, and be counted; see fabric.transport.listening.
    # In the image of somebody else's worker there may be nothing to ask with.
    if worker.ours:
        look: Node = {"command": list(WORKER_HEALTH)}
        made["startupProbe"] = {"exec": look, "periodSeconds": 2, "timeoutSeconds": 10, "failureThreshold": 60}
        made["readinessProbe"] = {"exec": look, "periodSeconds": 15, "timeoutSeconds": 10}
    ports: list[Node] = [
        {"name": port.replace("_", "-"), "port": _number(worker.endpoints[port])}
        for port in OUTPUT_PORTS
        if port in worker.endpoints
    ]
    coordinator: Node = [{"podSelector": _selector(COORDINATOR)}]
    ingress: list[Node] = [{"from": coordinator, "ports": _ports(worker, OUTPUT_PORTS)}]
    egress: list[Node] = [_DNS, {"to": coordinator, "ports": _ports(worker, INPUT_PORTS)}]
    return [
        _service(deployment, label, ports),
        _stateful_set(deployment, label, made, volumes, deployment.grace_s + 5),
        _policy(deployment, label, ingress, egress + _to_internet([worker], [])),
    ]


def _policy(deployment: Deployment, name: str, ingress: Sequence[Node], egress: Sequence[Node]) -> _Object:
    spec: Node = {
        "podSelector": _selector(name),
        "policyTypes": ["Ingress", "Egress"],
        "ingress": ingress,
        "egress": egress,
    }
    return _object(deployment, "networking.k8s.io/v1", "NetworkPolicy", name, spec)


def _ports(worker: WorkerPlan, names: Sequence[str]) -> Node:
    numbers = sorted(_number(worker.endpoints[name]) for name in names if name in worker.endpoints)
    return [{"protocol": "TCP", "port": number} for number in numbers]


def _number(address: Address) -> int:
    return int(address.connect.rpartition(":")[2])


def _to_internet(workers: Iterable[WorkerPlan], urls: Sequence[str]) -> list[Node]:
    """Return the rule for those who ask a provider or a server: its port, wherever it is."""
    asking = [worker for worker in workers if file_secrets(worker)]
    asked = [*urls, *(str(worker.spec.config.get("endpoint") or "https:") for worker in asking)]
    split = [urlsplit(url) for url in asked]
    numbers = sorted({url.port or (80 if url.scheme == "http" else 443) for url in split})
    return [{"ports": [{"protocol": "TCP", "port": number} for number in numbers]}] if numbers else []
