"""Programs that tests call from Python, and what may be left of them: nothing but the warm zygote."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from fabric.testing.leftovers import leftovers

BACKENDS = ["asyncio", "trio"]

PATIENCE_S = 60.0
"""For a hang, not a measurement."""

DOCTOR = """
let doctor : !string -> !string = agent { provider: "eliza", model: "doctor" }
let main : !string -> !string = plumb(input, output) { input ; doctor ; output }
"""

FUNCTIONS = """
import os, sys, time

def more(value):
    return value + 1

def each(count):
    for number in range(count):
        yield number

def fail(value):
    print("about to fail", file=sys.stderr)
    raise ValueError(f"not {value}")

def dies(value):
    if value % 2:
        os._exit(3)
    return value

def wait(value):
    time.sleep(600)

def where(value):
    return [os.getcwd(), os.environ.get("CANARY", "none"), os.getpid()]

def nothing(value):
    return 7

def odd(value):
    if value % 2:
        return value
    return "even"
"""


def function(name: str, input_type: str = "int", output_type: str = "int") -> str:
    """Return a program that calls one function for each message."""
    return f"""
let f : !{input_type} -> !{output_type} = python {{ call: "functions:{name}" }}
let main : !{input_type} -> !{output_type} = plumb(input, output) {{ input ; f ; output }}
"""


def write(folder: Path, text: str, name: str = "main") -> Path:
    """Write a program, and the functions beside it."""
    (folder / "functions.py").write_text(FUNCTIONS)
    path = folder / f"{name}.plumb"
    path.write_text(text)
    return path


def run(backend: str, work: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    """Run an async function in an event loop of that kind; one that hangs fails."""

    async def bounded() -> Any:
        with anyio.fail_after(PATIENCE_S):
            return await work(*arguments)

    return anyio.run(partial(bounded), backend=backend)


def descriptors() -> dict[str, str]:
    """Return what is open, by number."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # that of the listing
            found[number] = os.readlink(f"/proc/self/fd/{number}")
    return found


def run_directories() -> list[str]:
    """Return the directories of sessions, where they are now."""
    return [str(path) for path in Path(os.environ["XDG_RUNTIME_DIR"]).glob("fabric-*/s*")]


def wait_clean(before: dict[str, str]) -> None:
    """Return when nothing is left. Fails if that takes long: the library closes sockets in threads of its own."""
    until_s = time.monotonic() + PATIENCE_S / 4
    while True:
        left, now, places = leftovers(), descriptors(), run_directories()
        if not left and len(now) <= len(before) and not places:
            return
        assert time.monotonic() < until_s, f"left: {left}, {places}, {set(now.items()) - set(before.items())}"
        time.sleep(0.01)  # nobody tells
