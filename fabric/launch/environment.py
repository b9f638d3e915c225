"""The environment of a worker, or of a server: what it needs, and nothing of what the coordinator happens to have."""

from __future__ import annotations

__all__ = ["MCP_TOOLS_VARIABLE", "server_environment", "worker_environment"]

from collections.abc import Iterable, Mapping

from fabric.plan.endpoints import endpoint_variables
from fabric.plan.plan import ServerPlan, WorkerPlan
from fabric.tracing.setting import variables_of

MCP_TOOLS_VARIABLE = "PLUMB_MCP_TOOLS"
"""Tells a worker where it can read of the tools of its servers."""

_USUAL = frozenset(
    {
        "PATH",
        "HOME",
        "LANG",
        "TZ",
        "TMPDIR",
        "PIPELINE_DEBUG",
        "PLUMB_PROVIDER",
        "PLUMB_MODEL",
        "PLUMB_RESOURCES",
        "PLUMB_PATH",
    }
)


def worker_environment(worker: WorkerPlan, ours: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a worker: the usual ones, its endpoints, and those that its binding names.

    Where tracing is on those of OpenTelemetry, too. There may be a secret in them, such as the headers of a collector.

    Args:
        worker: its plan.
        ours: the coordinator's environment.
    """
    kept = _kept(worker.pass_on, ours) | variables_of(ours)
    kept |= endpoint_variables(worker.endpoints)
    if worker.mcp_tools:
        kept[MCP_TOOLS_VARIABLE] = worker.mcp_tools
    return kept | {"FABRIC_WORKER": worker.name, "PYTHONUNBUFFERED": "1"}


def server_environment(server: ServerPlan, ours: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of an MCP server: the usual ones, and those that its declaration names."""
    return _kept(server.env, ours)


def _kept(names: Iterable[str], ours: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in ours.items() if name in _USUAL or name.startswith("LC_")}
    return kept | {name: ours[name] for name in names if name in ours}
