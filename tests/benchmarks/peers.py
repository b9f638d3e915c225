"""The same work on fabric and on what else one might take, in one run.

    .venv/bin/python tests/benchmarks/peers.py [--json] [--only NAME,...] [--messages N] [--rounds N]

Two shapes, with trivial stages, messages of 1 KiB of JSON, source and sink in one process:

* pipeline: source, A, B, sink;
* fan: the source's message is copied to A and to B, what both give is joined, sink.

Every system has its program in the folder beside this file, written as a careful user of it would, and an environment
of its own, made when it is first needed and kept in ``$XDG_CACHE_HOME/fabric-benchmarks``. Servers come from Debian's
packages. A system that cannot be had, or fails, is left out and the output says why. In each round every system runs
once; the figures are medians over the rounds. Needs Linux: processes are found in ``/proc``.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

PROGRAMS = Path(__file__).parent / "peers"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fabric-benchmarks"
SERVER_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])

RUN_LIMIT_S = 180
INSTALL_LIMIT_S = 900
CLEAN_UP_LIMIT_S = 15
ALONE = (200, 2_000)
"""Bounds of how many messages are carried one at a time: a tenth of those carried at full speed lies between."""

LEFT_IN_SHARED_MEMORY = ("sem.hdr*", "sem.obj*", "*.zenoh")

PR_SET_CHILD_SUBREAPER = 36


class System(NamedTuple):
    """Something that does the work.

    Attributes:
        key: its name on the command line.
        name: its name in the table.
        program: in ``peers/``, with arguments.
        share: of ``--messages``, so that slow systems take about as long as fast ones.
        delivery: what it promises, as it is used here.
        requirements: of its environment; none: it runs in that of fabric.
        server: Debian's package, which is also the command.
    """

    key: str
    name: str
    program: tuple[str, ...]
    share: float
    delivery: str
    requirements: tuple[str, ...] = ()
    server: str | None = None


SYSTEMS = (
    System(
        "fabric-fused",
        "fabric, A and B fused in one process",
        ("fabric_pipeline.py", "fused"),
        1.0,
        "in one process; every loss counted",
    ),
    System(
        "bytewax",
        "Bytewax, one process",
        ("bytewax_flow.py",),
        1.0,
        "in one process; nothing kept without a recovery store",
        ("bytewax", "msgspec"),
    ),
    System(
        "langgraph",
        "LangGraph, one process",
        ("langgraph_graph.py",),
        0.02,
        "in one process; nothing kept without a checkpointer",
        ("langgraph", "msgspec"),
    ),
    System(
        "fabric-workers",
        "fabric, A and B are workers",
        ("fabric_pipeline.py", "workers"),
        0.2,
        "acknowledged by A and by B; every loss counted",
    ),
    System(
        "nats",
        "NATS core, nats-py",
        ("nats_stages.py",),
        0.5,
        "at most once",
        ("nats-py", "uvloop", "msgspec"),
        "nats-server",
    ),
    System(
        "ray-compiled",
        "Ray, compiled graph",
        ("ray_graph.py", "compiled"),
        0.1,
        "at most once; a failed actor ends the graph",
        ("ray[cgraph]", "msgspec"),
    ),
    System(
        "ray-actors",
        "Ray, actors",
        ("ray_graph.py", "actors"),
        0.05,
        "at most once; the caller gets the error",
        ("ray[cgraph]", "msgspec"),
    ),
    System(
        "dora",
        "dora-rs, Python nodes",
        ("dora_flow.py",),
        0.1,
        "at most once; who sends waits for a full queue",
        ("dora-rs", "dora-rs-cli", "msgspec"),
    ),
    System(
        "celery",
        "Celery, Redis",
        ("celery_tasks.py",),
        0.01,
        "acknowledged when a task is fetched: at most once",
        ("celery[redis]", "hiredis", "msgspec"),
        "redis-server",
    ),
)

COLUMNS = {
    "pipeline_per_s": "pipeline, msg/s",
    "p50_us": "p50 alone, µs",
    "fan_per_s": "fan, msg/s",
    "start_s": "start, s",
    "memory_mib": "memory, MiB",
}


class CannotBeHad(Exception):
    """A system cannot be installed or does not do the work; the message says why."""


# --- Processes ------------------------------------------------------------------------------------------------------


def adopt_orphans() -> None:
    """Become the parent of every descendant that loses its own, so that :func:`end_descendants` finds it."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def end_descendants() -> None:
    """Kill and reap whatever a system left behind."""
    while children := Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        for child in children:
            os.kill(int(child), signal.SIGKILL)  # ours and not reaped, so the number is nobody else's
            os.waitpid(int(child), 0)  # its children are now ours


def remove_shared_memory() -> None:
    """Remove what Ray and dora leave in shared memory even when they end well: what is ours and no process maps."""
    used = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):  # it ended this moment, or is somebody else's
            used.update(
                line.rpartition("/dev/shm/")[2] for line in maps.read_text().splitlines() if "/dev/shm/" in line
            )
    for pattern in LEFT_IN_SHARED_MEMORY:
        for path in Path("/dev/shm").glob(pattern):
            if path.name not in used and path.stat().st_uid == os.geteuid():
                path.unlink()


def end(process: subprocess.Popen[str]) -> None:
    """Interrupt a program, so that it can clean up, and kill it if it takes too long. It may have ended."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(CLEAN_UP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def signals_end_it() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end this process as Ctrl-C does: with all that has to be done on the way out."""

    def leave(number: int, _: object) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    adopt_orphans()
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        end_descendants()
        remove_shared_memory()


def run(command: list[str], limit_s: float, environment: dict[str, str]) -> str:
    """Run a command and return its stdout; nothing that it started is left then.

    Raises:
        CannotBeHad: it failed, or took too long.
    """
    with tempfile.TemporaryDirectory(prefix="peers") as directory, tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(
            command,
            env=environment | {"TMPDIR": directory, "XDG_RUNTIME_DIR": directory},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            start_new_session=True,  # Ctrl-C is for this process, which ends the others
        )
        try:
            output, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise CannotBeHad(f"not done after {limit_s} s") from None
        finally:
            end(process)
            end_descendants()
            remove_shared_memory()
        if process.returncode:
            complaints.seek(0)
            lines = [line.strip() for line in complaints if line.strip()] or ["it said nothing"]
            raise CannotBeHad(f"{Path(command[0]).name} ended with {process.returncode}: {lines[-1][:300]}")
        return output


# --- Installing -----------------------------------------------------------------------------------------------------


def install(system: System) -> str:
    """Return the Python that has what a system needs, installed if it was not.

    Raises:
        CannotBeHad: see the message.
    """
    if system.server:
        install_server(system.server)
    if not system.requirements:
        return sys.executable
    name = system.key.partition("-")[0]
    place = CACHE / f"{name}-python{sys.version_info.major}.{sys.version_info.minor}"
    done, wanted = place / "requirements.txt", "\n".join(system.requirements)
    python = str(place / "bin" / "python")
    if not done.exists() or done.read_text() != wanted:
        tell(f"{system.name}: installing {', '.join(system.requirements)} into {place}")
        environment = dict(os.environ)
        run([sys.executable, "-m", "venv", "--clear", str(place)], INSTALL_LIMIT_S, environment)
        run([python, "-m", "pip", "install", "--quiet", *system.requirements], INSTALL_LIMIT_S, environment)
        done.write_text(wanted)
    return python


def install_server(package: str) -> None:
    if shutil.which(package, path=SERVER_PATH):
        return
    if os.geteuid() or not shutil.which("apt-get"):
        raise CannotBeHad(f"{package} is missing: apt-get install {package}")
    tell(f"installing {package}")
    # Debian would start what it installs; offline, systemctl does not.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "SYSTEMD_OFFLINE": "1"}
    run(
        ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", package],
        INSTALL_LIMIT_S,
        environment,
    )


# --- Measuring ------------------------------------------------------------------------------------------------------


def measure(system: System, python: str, messages: int) -> dict[str, Any]:
    """Let a system do the work once; return its figures.

    Raises:
        CannotBeHad: it did not do it.
    """
    count = max(100, int(messages * system.share))
    alone = max(ALONE[0], min(ALONE[1], count // 10))
    environment = os.environ | {"PATH": os.pathsep.join([str(Path(python).parent), SERVER_PATH])}
    program, *arguments = system.program
    task = json.dumps({"messages": count, "alone": alone, "began_s": time.monotonic()})
    lines = run([python, str(PROGRAMS / program), task, *arguments], RUN_LIMIT_S, environment).splitlines()
    if not lines:
        raise CannotBeHad(f"{program} printed no figures")
    return {**json.loads(lines[-1]), "messages": count}


def measure_all(
    systems: list[System], messages: int, rounds: int
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    """Return the figures of each round by system, and why systems were left out."""
    figures: dict[str, list[dict[str, Any]]] = {}
    left_out: dict[str, str] = {}
    pythons: dict[str, str] = {}
    for system in systems:
        try:
            pythons[system.key] = install(system)
        except CannotBeHad as reason:
            left_out[system.key] = str(reason)
    for number in range(rounds):
        for system in systems:
            if system.key in left_out:
                continue
            tell(f"round {number + 1} of {rounds}: {system.name}")
            try:
                figures.setdefault(system.key, []).append(measure(system, pythons[system.key], messages))
            except CannotBeHad as reason:
                left_out[system.key] = str(reason)
                figures.pop(system.key, None)
    return figures, left_out


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return medians; of what was lost, the sum."""
    medians = {name: statistics.median(one[name] for one in rounds) for name in COLUMNS}
    return {
        **medians,
        "messages": rounds[0]["messages"],
        "lost": sum(one["lost"] for one in rounds),
        "versions": rounds[0]["versions"],
        "rounds": rounds,
    }


# --- Telling --------------------------------------------------------------------------------------------------------


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def machine() -> dict[str, Any]:
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": models[0] if models else platform.machine(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
    }


def short(number: float) -> str:
    """Return three digits of a figure, as people read it: 339k, 9.49k, 412, 0.16."""
    if number >= 1_000:
        return f"{float(f'{number:.3g}') / 1_000:.4g}k"
    return f"{number:.0f}" if number >= 10 else f"{number:.2g}"


def table(systems: list[System], result: dict[str, Any]) -> str:
    lines = [
        f"| system | {' | '.join(COLUMNS.values())} | delivery |",
        f"|---|{'---:|' * len(COLUMNS)}---|",
    ]
    for system in systems:
        figures = result["systems"].get(system.key)
        if figures is None:
            continue
        cells = [short(figures[name]) for name in COLUMNS]
        delivery = system.delivery
        if figures["lost"]:
            delivery += f"; **lost {figures['lost']:,} in {len(figures['rounds'])} round(s)**"
        lines.append(f"| {system.name} | {' | '.join(cells)} | {delivery} |")
    where = result["machine"]
    versions: dict[str, str] = {}
    for figures in result["systems"].values():
        versions.update(figures["versions"])
    lines += [
        "",
        f"Source, A, B, sink with trivial stages (pipeline), and source, copies to A and B, joined, sink (fan); 1 KiB "
        f"of JSON a message; medians of {result['rounds']} round(s). *p50 alone*: one message at a time through the "
        f"pipeline. *start*: from the command to the first message at the sink. *memory*: proportional, of all "
        f"processes, source and sink included. "
        f"{where['cores']} cores ({where['processor']}), {where['system']}, Python {where['python']}; "
        f"{', '.join(f'{name} {version}' for name, version in versions.items())}.",
    ]
    names = {system.key: system.name for system in systems}
    lines += [f"\nLeft out: {names[key]}: {reason}." for key, reason in result["left_out"].items()]
    return "\n".join(lines)


# --- The command ----------------------------------------------------------------------------------------------------


def chosen(only: str | None) -> list[System]:
    """Return the systems that are named; the part of a key before its hyphen names several."""
    if only is None:
        return list(SYSTEMS)
    wanted = [name.strip() for name in only.split(",")]
    known = {system.key for system in SYSTEMS} | {system.key.partition("-")[0] for system in SYSTEMS}
    for name in wanted:
        if name not in known:
            sys.exit(f"--only: expected names of {', '.join(system.key for system in SYSTEMS)}; got {name!r}")
    return [system for system in SYSTEMS if {system.key, system.key.partition("-")[0]} & set(wanted)]


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the same work on fabric and on others.")
    parser.add_argument("--json", action="store_true", help="print one JSON object, with every round, and no table")
    parser.add_argument("--only", metavar="NAME,...", help=f"of {', '.join(system.key for system in SYSTEMS)}")
    parser.add_argument(
        "--messages", type=positive, default=100_000, help="for the fastest; others get a share of them"
    )
    parser.add_argument("--rounds", type=positive, default=3)
    options = parser.parse_args()
    systems = chosen(options.only)
    with signals_end_it():
        figures, left_out = measure_all(systems, options.messages, options.rounds)
    result = {
        "machine": machine(),
        "rounds": options.rounds,
        "systems": {system.key: summary(figures[system.key]) for system in systems if system.key in figures},
        "left_out": left_out,
    }
    print(json.dumps(result) if options.json else table(systems, result))
    if not figures:
        sys.exit(1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
