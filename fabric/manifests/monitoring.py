"""Prometheus and Grafana beside a coordinator: what they are given."""

from __future__ import annotations

__all__ = ["GRAFANA_PORT", "PROMETHEUS_PORT", "monitoring_files"]

from collections.abc import Mapping

from fabric.manifests.files import File, Files
from fabric.manifests.yaml import Node, write_yaml

PROMETHEUS_PORT = 9090
GRAFANA_PORT = 3000


def monitoring_files(assets: Mapping[str, bytes], target: str, prometheus: str) -> Files:
    """Return the files of both, below ``prometheus/`` and ``grafana/``.

    Args:
        assets: our rules (``*.yml``) and dashboards (``*.json``), by name.
        target: host and port where the coordinator's metrics are.
        prometheus: host and port where Grafana finds Prometheus.
    """
    rules = sorted(name for name in assets if name.endswith(".yml"))
    files = {f"prometheus/{name}": File(assets[name]) for name in rules}
    files |= {f"grafana/dashboards/{name}": File(assets[name]) for name in sorted(assets) if name.endswith(".json")}
    files["prometheus/prometheus.yml"] = File(write_yaml(_scraping(target, rules)).encode())
    source: dict[str, Node] = {"name": "Prometheus", "type": "prometheus", "uid": "prometheus", "isDefault": True}
    provisioned: dict[str, Node] = {
        "datasources": {"apiVersion": 1, "datasources": [{**source, "access": "proxy", "url": f"http://{prometheus}"}]},
        "dashboards": {
            "apiVersion": 1,
            "providers": [{"name": "fabric", "type": "file", "options": {"path": "/etc/grafana/dashboards"}}],
        },
    }
    for name, told in provisioned.items():
        files[f"grafana/provisioning/{name}/fabric.yaml"] = File(write_yaml(told).encode())
    return files


def _scraping(target: str, rules: list[str]) -> Node:
    return {
        "global": {"scrape_interval": "5s", "evaluation_interval": "5s"},
        "rule_files": list[Node](rules),
        "scrape_configs": [{"job_name": "fabric", "static_configs": [{"targets": [target]}]}],
    }
