"""Our rules for Prometheus and our dashboard for Grafana: in the package, or in the tree that it is used from."""

from __future__ import annotations

__all__ = ["read_assets"]

from pathlib import Path

_PACKAGED = Path(__file__).parent / "assets"
_IN_TREE = Path(__file__).parents[2] / "deploy"


def read_assets() -> dict[str, bytes]:
    """Return the files by name: ``*.yml`` with rules, ``*.json`` with dashboards."""
    folder = _PACKAGED if _PACKAGED.is_dir() else _IN_TREE
    found = [*(folder / "prometheus").glob("*.yml"), *(folder / "grafana").glob("*.json")]
    return {path.name: path.read_bytes() for path in sorted(found) if not path.stem.endswith("_test")}
