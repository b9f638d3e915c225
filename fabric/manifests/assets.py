"""Our rules for Prometheus and our dashboard for Grafana: in the package, or in the tree that it is used from."""

from __future__ import annotations

__all__ = ["read_assets"]

from pathlib import Path

_OWN = "prometheus.yml"
"""Settings of a Prometheus on one machine. What we write has other targets."""


def read_assets() -> dict[str, bytes]:
    """Return the files by name: ``*.yml`` with rules, ``*.json`` with dashboards; none, if there are none."""
    package = Path(__file__).parents[1]
    for folder in (package / "deploy", package.parent / "deploy"):
        found = [*(folder / "prometheus").glob("*.yml"), *(folder / "grafana" / "dashboards").glob("*.json")]
        kept = [path for path in sorted(found) if path.name != _OWN and not path.stem.endswith("_test")]
        if kept:
            return {path.name: path.read_bytes() for path in kept}
    return {}
