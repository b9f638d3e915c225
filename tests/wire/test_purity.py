"""``fabric.wire`` is all that a worker has to import, so it may not drag anything along."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import fabric.wire

MODULES = ["fabric.wire", *(f"fabric.wire.{module.name}" for module in pkgutil.iter_modules(fabric.wire.__path__))]
FORBIDDEN = {"trio", "anyio", "zmq", "typer", "pydantic", "structlog", "prometheus_client", "socket", "subprocess"}


@pytest.mark.parametrize("module", MODULES)
def test_importing_it_loads_neither_loop_nor_socket(module: str):
    """In a fresh interpreter."""
    code = f"import {module}, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & FORBIDDEN == set()


def test_every_module_is_looked_at():
    """A list that is complete today; a new module has to be put here."""
    names = [
        "absent",
        "calls",
        "codec",
        "control",
        "frame",
        "keys",
        "lifecycle",
        "lines",
        "payload",
        "recall",
        "relations",
        "spec",
        "tracing",
    ]
    assert [module.removeprefix("fabric.wire.") for module in MODULES[1:]] == names
