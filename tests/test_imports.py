"""What a process loads before it knows what is asked of it: start times and memory are made of that."""

from __future__ import annotations

import subprocess
import sys

import pytest

FRAMEWORKS = {
    "typer",
    "click",
    "rich",
    "pydantic",
    "starlette",
    "hypercorn",
    "prometheus_client",
    "structlog",
    "httpx2",
}
LOOP_AND_SOCKETS = {"trio", "anyio", "asyncio", "zmq"}


def loaded(code: str) -> set[str]:
    """Return the names of the modules and packages that a fresh interpreter has loaded after some code."""
    code = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["fabric.worker.__main__", "plumb_agent.__main__, fabric.transport.sockets"])
def test_a_worker_loads_no_framework(module: str):
    """Nor the compiler, the session or the coordinator."""
    found = loaded(f"import {module}")
    assert found & FRAMEWORKS == set()
    assert found & {"fabric.compiler", "fabric.lang", "fabric.session", "fabric.runtime", "fabric.cli"} == set()


def test_the_zygote_loads_no_loop_and_no_sockets_by_itself():
    """It has what its workers have, and they say what that is."""
    assert loaded("import fabric.launch.zygote") & (FRAMEWORKS | LOOP_AND_SOCKETS) == set()


def test_the_command_line_loads_nothing_until_it_knows_the_command():
    """And for the version nothing at all."""
    code = "import fabric.cli\nsys.argv = ['fabric', 'version']\nfabric.cli.main()"
    for found in (loaded("import fabric.cli"), loaded(code)):
        assert found & (FRAMEWORKS | LOOP_AND_SOCKETS | {"msgspec", "re", "argparse", "subprocess"}) == set()


@pytest.mark.parametrize("command", ["check", "diff", "explain", "graph", "plan"])
def test_commands_that_start_nothing_load_neither_loop_nor_sockets(command: str):
    """They are run in editors, for each keystroke."""
    assert loaded(f"from fabric.cli.app import make_app\nmake_app('{command}')") & LOOP_AND_SOCKETS == set()


def test_the_zygote_is_started_before_the_loop_and_the_sockets_are_loaded():
    """Both import at the same time then."""
    assert loaded("from fabric.cli.app import make_app\nmake_app('run')") & LOOP_AND_SOCKETS == set()


def test_a_program_is_built_and_rendered_without_loop_and_sockets():
    """They are loaded when it is run; pydantic when there is a class of it."""
    code = "from fabric.dsl import ID, Program\nprogram = Program()\nprogram.let('a', str, int, ID)\nprogram.render()"
    assert loaded(code) & (FRAMEWORKS | LOOP_AND_SOCKETS) == set()
