"""The environment of a worker: what it needs, and nothing of what the coordinator happens to have."""

from __future__ import annotations

__all__ = ["worker_environment"]

from collections.abc import Mapping

from fabric.plan.endpoints import endpoint_variables
from fabric.plan.plan import WorkerPlan

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

    Args:
        worker: its plan.
        ours: the coordinator's environment.
    """
    kept = {name: value for name, value in ours.items() if name in _USUAL or name.startswith("LC_")}
    kept |= {name: ours[name] for name in worker.pass_on if name in ours}
    kept |= endpoint_variables(worker.endpoints)
    if worker.mcp_tools:
        kept[MCP_TOOLS_VARIABLE] = worker.mcp_tools
    return kept | {"FABRIC_WORKER": worker.name, "PYTHONUNBUFFERED": "1"}
