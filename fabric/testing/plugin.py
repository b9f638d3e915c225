"""What pytest loads by itself where the fabric is installed: fixtures, and the marker ``live``.

It imports nothing but pytest until a fixture is used. The marker is ours only in a suite whose settings say
``fabric_live = true``: others have markers and options of that name, too.
"""

from __future__ import annotations

__all__ = ["cassette", "fabric_run", "scripted_model", "virtual_clock"]

import argparse
import os
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Protocol
from zlib import crc32

import pytest

if TYPE_CHECKING:
    from fabric.testing.models import ScriptedModel
    from fabric.testing.runs import FabricRun
    from fabric.testing.tapes import Cassette

LIVE = "live"
LIVE_SETTING = "fabric_live"
LIVE_VARIABLE = "FABRIC_LIVE"


class _Checked(Protocol):
    """What may find at the end of a test that it should fail."""

    def check(self) -> None: ...
    def note(self, error: BaseException) -> None: ...


_CHECKED = pytest.StashKey[list[_Checked]]()
_RUN = pytest.StashKey["FabricRun"]()


# --- The marker -------------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the setting."""
    what = f"whether tests that are marked '{LIVE}' are skipped unless --live or {LIVE_VARIABLE}=1 is given"
    parser.addini(LIVE_SETTING, what, type="bool", default=False)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser
) -> Generator[None, object, object]:
    """Add the option behind those of the suite, whose conftest files have been read by then."""
    result = yield
    if early_config.getini(LIVE_SETTING):
        with suppress(ValueError, argparse.ArgumentError):  # theirs has another meaning; the variable is left
            parser.getgroup("fabric", "fabric").addoption(
                "--live",
                action="store_true",
                dest=LIVE_SETTING,
                default=False,
                help=f"run tests that are marked '{LIVE}'",
            )
    return result


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    if config.getini(LIVE_SETTING):
        text = f"{LIVE}: asks real providers; skipped unless --live or {LIVE_VARIABLE}=1 is given"
        config.addinivalue_line("markers", text)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what is marked, unless it was asked for."""
    asked = config.getoption(LIVE_SETTING, False) or os.environ.get(LIVE_VARIABLE, "") not in ("", "0")
    if asked or not config.getini(LIVE_SETTING):
        return
    skip = pytest.mark.skip(reason=f"asks real providers: give --live or {LIVE_VARIABLE}=1")
    for item in items:
        if item.get_closest_marker(LIVE) is not None:
            item.add_marker(skip)


# --- The end of a test ------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail the test, and not its teardown, of what its fixtures found."""
    run = item.stash.get(_RUN, None)
    if run is not None:
        run.begin()
    try:
        result = yield
    except BaseException as error:  # also those by which pytest fails and skips
        for checked in item.stash.get(_CHECKED, []):
            checked.note(error)
        raise
    for checked in item.stash.get(_CHECKED, []):
        checked.check()
    return result


def _watch(request: pytest.FixtureRequest, checked: _Checked) -> None:
    request.node.stash.setdefault(_CHECKED, []).append(checked)


# --- Fixtures ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def scripted_model(request: pytest.FixtureRequest) -> Iterator[Callable[..., ScriptedModel]]:
    """Give :func:`fabric.testing.scripted_model`, whose models run until the test ends."""
    from fabric.testing.models import scripted_model as make

    with ExitStack() as stack:

        def start(script: Any = None) -> ScriptedModel:
            model = stack.enter_context(make(script))
            _watch(request, model)
            return model

        yield start


@pytest.fixture
def cassette(request: pytest.FixtureRequest) -> Iterator[Callable[..., Cassette]]:
    """Give :func:`fabric.testing.cassette`. Its file is ``cassettes/<test>.jsonl``, beside that of the test."""
    from fabric.testing.tapes import cassette as make

    with ExitStack() as stack:

        def start(path: str | os.PathLike[str] | None = None, **how: Any) -> Cassette:
            tape = stack.enter_context(make(path or _path_of(request), **how))
            _watch(request, tape)
            return tape

        yield start


def _path_of(request: pytest.FixtureRequest) -> str:
    """Return where the cassette of a test is: its name, with what a file's name cannot have replaced."""
    owner = "" if request.cls is None else f"{request.cls.__name__}."
    plain = owner + request.node.name.replace("[", "-", 1).removesuffix("]")
    name = re.sub(r"[^\w.=-]+", "-", plain)
    if name != plain:  # two tests must not have one file
        name += f"-{crc32(plain.encode()):08x}"
    return str(request.path.parent / "cassettes" / f"{name}.jsonl")


@pytest.fixture
def fabric_run(request: pytest.FixtureRequest) -> FabricRun:
    """Give what calls programs; the test fails if processes are left when it ends."""
    from fabric.testing.runs import FabricRun

    runs = FabricRun()
    _watch(request, runs)
    request.node.stash[_RUN] = runs
    return runs


@pytest.fixture
def virtual_clock() -> Callable[..., Any]:
    """Give :func:`fabric.testing.run_virtual`: a program in one process, in virtual time."""
    from fabric.testing.virtual import run_virtual

    return run_virtual
