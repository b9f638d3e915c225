"""Settings of all tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine import Engine, open_engine
from hypothesis import Phase, settings

# Machines differ, and a slow one is no failure. The same examples every time: tests/fuzz looks further.
settings.register_profile("fabric", deadline=None, derandomize=True)
settings.register_profile("unshrunk", settings.get_profile("fabric"), phases=[Phase.explicit, Phase.generate])
settings.load_profile("fabric")

# What the user of this machine has set is not what is tested.
os.environ["XDG_CONFIG_HOME"] = "/nowhere"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Golden files are written anew by whoever has changed what they show, and reads the difference."""
    parser.addoption("--update-golden", action="store_true", help="write golden files instead of comparing with them")
    parser.addoption(
        "--cases", metavar="DIR", help="cases of handlers (tests/handlers) that are run instead of our own"
    )


@pytest.fixture(scope="session", autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sessions of tests are not kept among those of the user."""
    home = tmp_path_factory.mktemp("state")
    os.environ["XDG_STATE_HOME"] = str(home)
    return home


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A Docker Engine of these tests, which has an image with the fabric."""
    with open_engine() as engine:
        engine.image()
        yield engine
