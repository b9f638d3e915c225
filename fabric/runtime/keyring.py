"""The keys of a session: where they are, and who gets which."""

from __future__ import annotations

__all__ = ["KEYS_VARIABLE", "keys_directory", "open_keyring", "with_keys"]

from collections.abc import Mapping
from pathlib import Path

import msgspec

from fabric.launch.keys import Keyring, read_keyring
from fabric.plan.plan import Plan, WorkerPlan
from fabric.runtime.services import STATE_DIRECTORY

KEYS_VARIABLE = "FABRIC_KEYS"
"""Names the directory of the keys, where it is not that of the state."""


def keys_directory(environment: Mapping[str, str]) -> Path:
    """Return where the keys are."""
    named = environment.get(KEYS_VARIABLE)
    return Path(named) if named else Path(environment.get("FABRIC_STATE_DIR") or STATE_DIRECTORY) / "keys"


def open_keyring(plan: Plan, environment: Mapping[str, str]) -> Keyring | None:
    """Return the keys that a plan's workers need; ``None``: they need none. Containers without one get a new one.

    Raises:
        ConfigError: one is missing or damaged.
    """
    secured = [worker for worker in plan.workers if worker.secured]
    if not secured:
        return None
    given = [worker.name for worker in secured if worker.runner == "container"]
    others = [worker.name for worker in secured if worker.runner != "container"]
    return read_keyring(keys_directory(environment), given, others)


def with_keys(plan: Plan, keyring: Keyring | None) -> Plan:
    """Return the plan with the keys of those workers in it that are handed theirs. It is not to be shown any more."""
    if keyring is None or not keyring.given:
        return plan

    def handed(worker: WorkerPlan) -> WorkerPlan:
        key = keyring.given.get(worker.name)
        return (
            worker
            if key is None
            else msgspec.structs.replace(worker, spec=msgspec.structs.replace(worker.spec, key=key))
        )

    return msgspec.structs.replace(plan, workers=tuple(map(handed, plan.workers)))
