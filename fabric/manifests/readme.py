"""What a person reads first in a folder that we wrote."""

from __future__ import annotations

__all__ = ["compose_readme", "kubernetes_readme"]

from collections.abc import Mapping, Sequence

from fabric.manifests.deployment import COORDINATOR, Deployment, file_secrets
from fabric.manifests.names import namespace_of

_START = """Compose v2 is `docker compose`, v1 is `docker-compose`; the files are the same for both."""


def compose_readme(deployment: Deployment, hosts: Mapping[str, str], secrets: Sequence[str], user: str) -> str:
    """Return the README of compose files.

    Args:
        deployment: what is deployed.
        hosts: the folder of each host, by its name; empty: this one.
        secrets: files that somebody has to fill in.
        user: who the files belong to.
    """
    several = len(hosts) > 1
    lines = [
        f"# {deployment.project}, as compose files",
        "",
        "Written by `fabric compose`. Run it again after a change:",
    ]
    lines += ["what differs is replaced; keys, secrets, `.env` and files that are not ours stay as they are.", ""]
    lines += _fill_in(secrets, user)
    lines += ["## Start", ""]
    if several:
        lines += ["Each host gets its own folder, and nothing of the others. Copy it with its modes and its owner:", ""]
        lines += ["```sh"]
        for name, folder in hosts.items():
            address = deployment.settings.hosts[name].address
            lines.append(f"rsync -a {folder}/ {_user_at(address)}:{deployment.name}/{folder}/")
        lines += ["```", "", "`keys/` here is the original of all keys. It stays where it is, and is kept safe.", ""]
        lines += ["Then on each host, in its folder; in which order does not matter:", ""]
    lines += ["```sh", "docker compose up -d", "docker compose ps", "```", "", _START, ""]
    lines += [
        "Spans: images with `fabric image --extra otel`, and `OTEL_EXPORTER_OTLP_ENDPOINT` in the `environment` of"
    ]
    lines += ["the services, in a `compose.override.yaml`; the generated file sets none of these variables.", ""]
    lines += _talk("docker compose exec", several, hosts.get(deployment.coordinator, ""))
    lines += ["## Stop", ""]
    lines += ["`docker compose stop coordinator` drains the program. A worker that has drained ends with status 0, is"]
    lines += ["started again, and waits for the next coordinator: `docker compose up -d` starts that."]
    lines += ["`docker compose down`, on each host, ends the workers too.", ""]
    return "\n".join(lines)


def _user_at(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _fill_in(secrets: Sequence[str], user: str) -> list[str]:
    lines = ["## Before the first start", ""]
    lines += [f"- Put the key into `{path}`." for path in secrets]
    lines += ["- Have the images: `fabric image` builds ours."]
    lines += [
        f"- The containers run as `{user}` (`.env`): `state/`, and what is in `keys/` and `secrets/`, has to be his."
    ]
    return [*lines, ""]


def _talk(command: str, several: bool, folder: str) -> list[str]:
    where = f", on the coordinator's host in `{folder}/`" if several else ""
    lines = ["## Talk to it", "", f"All commands of `fabric` work in the coordinator's container{where}:", ""]
    lines += [
        "```sh",
        f"{command} {COORDINATOR} fabric ps",
        f"{command} {COORDINATOR} fabric send '\"hello\"'",
        "```",
        "",
    ]
    lines += [
        "Metrics are on http://127.0.0.1:9464/metrics of that host. Prometheus, if it is there, is on port 9090 and"
    ]
    lines += [
        "Grafana on port 3000, both for that host alone; Grafana's user is `admin`, its password in `secrets/grafana`.",
        "",
    ]
    return lines


def kubernetes_readme(deployment: Deployment, secrets: Sequence[str]) -> str:
    """Return the README of Kubernetes manifests; see :func:`compose_readme`."""
    namespace = namespace_of(deployment.name)
    lines = [
        f"# {deployment.project}, for Kubernetes",
        "",
        "Written by `fabric k8s`. Run it again after a change: what",
    ]
    lines += ["differs is replaced; keys, secrets and files that are not ours stay as they are.", ""]
    lines += ["## Before the first start", ""]
    lines += [f"- Put the key into `{path}`." for path in secrets]
    lines += ["- Push the images to where the cluster finds them, and name them in an overlay:"]
    lines += ["  `kustomize edit set image plumb-fabric=REGISTRY/plumb-fabric:TAG`."]
    lines += ["- `keys/` and `secrets/` belong into no repository.", ""]
    lines += ["## Start, look, stop", "", "```sh", "kubectl apply -k .", f"kubectl -n {namespace} get pods"]
    lines += [f"kubectl -n {namespace} exec {COORDINATOR}-0 -- fabric ps"]
    lines += [f"kubectl -n {namespace} scale statefulset {COORDINATOR} --replicas=0", "```", ""]
    lines += [
        "The last one drains the program. A worker that has drained is started again by Kubernetes and waits for the"
    ]
    lines += [
        "next coordinator. A worker whose spec or key changed is replaced by `kubectl apply -k .`, the others go on."
    ]
    lines += ["Metrics are let out to pods of the namespace `monitoring`, port 9464 of `coordinator`.", ""]
    lines += [
        "Spans: images with `fabric image --extra otel`; in an overlay `OTEL_EXPORTER_OTLP_ENDPOINT` in the `env` of"
    ]
    lines += [
        "the pods, and a policy that lets them out to the collector. The manifests set none of these variables.",
        "",
    ]
    lines += _ways_out(deployment)
    return "\n".join(lines)


def _ways_out(deployment: Deployment) -> list[str]:
    """Return which workers reach nobody but the coordinator: what they ask is in no program."""
    found = [item for item in deployment.containers if item.worker.spec.kind != "agent"]
    closed = [item.label for item in found if not file_secrets(item.worker)]
    if not closed:
        return []
    return [
        "## Workers without a way out",
        "",
        f"{', '.join(f'`{label}`' for label in closed)}: they may speak with the coordinator and with nobody else. One"
        " that asks a server over the",
        "network needs a policy more, in an overlay; policies add up. As for HTTPS:",
        "",
        "```yaml",
        "apiVersion: networking.k8s.io/v1",
        "kind: NetworkPolicy",
        f"metadata: {{name: {closed[0]}-out, namespace: {namespace_of(deployment.name)}}}",
        "spec:",
        f"  podSelector: {{matchLabels: {{app.kubernetes.io/name: {closed[0]}}}}}",
        "  policyTypes: [Egress]",
        "  egress: [{ports: [{protocol: TCP, port: 443}]}]",
        "```",
        "",
    ]
