"""The workers in C, compiled."""

from __future__ import annotations

from pathlib import Path

import pytest
from peers import c_peer

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def worker() -> str:
    """The command of ``worker.c``."""
    return str(c_peer(HERE / "worker.c"))


@pytest.fixture(scope="session")
def bare() -> str:
    """The command of ``bare.c``."""
    return str(c_peer(HERE / "bare.c"))
