"""How fast workers and commands start, beside bare Python on the same machine.

    python tests/benchmarks/start.py [--workers 50] [--rounds 5] [--json]
    python tests/benchmarks/start.py --providers [--rounds 5] [--json]

Rounds alternate between the ways that are compared, and each figure is the median of its rounds; a ratio is that of two
medians. ``ready`` is the time from the first process that is started, the zygote included, until every worker has said
that it is ready. Memory and processor time are the system's own figures (``/proc``, ``wait4``).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
HELLO = ROOT / "compose" / "hello" / "main.plumb"
FABRIC = str(Path(sys.executable).with_name("fabric"))
BARE = [sys.executable, "-c", "pass"]
IDLE_S = 10.0


# --- Bare Python --------------------------------------------------------------------------------------------------


def one_after_the_other(count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        subprocess.run(BARE, check=True)
    return time.perf_counter() - started


def two_at_a_time(count: int) -> float:
    started = time.perf_counter()
    running = [subprocess.Popen(BARE) for _ in range(min(2, count))]
    for _ in range(count - len(running)):
        running.pop(0).wait()
        running.append(subprocess.Popen(BARE))
    for process in running:
        process.wait()
    return time.perf_counter() - started


# --- Workers: each measurement is a process of its own, this program with --measure --------------------------------


PROVIDERS = {
    "eliza": 'provider: "eliza"',
    "anthropic": 'provider: "anthropic" model: "m" endpoint: "http://127.0.0.1:9"',
    "openai": 'provider: "openai" model: "m" endpoint: "http://127.0.0.1:9"',
}
"""Agents that nobody sends anything to: they are ready, and ask no server."""

CPU_MS_MAX, RESIDENT_MIB_MAX = 250, 45
"""Of a worker from its start until it is ready."""


def program(count: int, provider: str) -> str:
    config = PROVIDERS[provider]
    agents = "".join(f"let a{i} : !string -> !string = agent {{ {config} }}\n" for i in range(count))
    chain = " ; ".join(f"a{i}" for i in range(count))
    return f"{agents}let main : !string -> !string = plumb(i, o) {{ i ; {chain} ; o }}\n"


def measure(way: str, count: int, idle_s: float, provider: str) -> dict[str, float]:
    """Start workers, look at them, end them; return the figures."""
    os.environ |= {"ANTHROPIC_API_KEY": "none", "OPENAI_API_KEY": "none"}
    import trio

    from fabric.compiler import compile_file
    from fabric.launch.preload import open_zygote
    from fabric.runtime.dead_letters import DeadLetters
    from fabric.runtime.directory import open_run_directory
    from fabric.runtime.foreground import run_service
    from fabric.runtime.journal import Journal
    from fabric.runtime.letter_keeper import LetterKeeper
    from fabric.runtime.processes import identify
    from fabric.runtime.services import hold_name
    from fabric.session.session import Settings

    pids: list[int] = []
    figures: dict[str, float] = {}

    class Report:
        def noted(self, note: Any) -> None:
            if note.event == "worker.spawned":
                pids.append(note.fields["pid"])

        def worker_wrote(self, worker: str, line: str) -> None:
            print(line, file=sys.stderr)

        def opened(self) -> None:
            opened()

        def asked_to_stop(self) -> None:
            pass

        def asked(self, approval: Any) -> None:
            pass

        def say(self, text: str) -> None:
            pass

    def cpu_s() -> float:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    def opened() -> None:
        figures["ready_s"] = time.perf_counter() - started
        figures["coordinator_cpu_s"] = cpu_s() - cpu_at_start
        figures["workers_cpu_s"] = sum(
            scheduled_s(pid) for pid in {*pids, *(parent_of(pid) for pid in pids)} - {os.getpid()}
        )
        figures["worker_cpu_s"] = statistics.median(scheduled_s(pid) for pid in pids)
        figures["resident_mib"] = statistics.median(resident_kib(pid) for pid in pids) / 1024
        memory = [private_kib(pid) for pid in pids]
        figures["private_mib"] = statistics.median(memory) / 1024
        figures["private_max_mib"] = max(memory) / 1024
        trio.lowlevel.spawn_system_task(end)

    async def end() -> None:
        before = cpu_s()
        await trio.sleep(idle_s)
        if idle_s:
            figures["idle_percent"] = 100 * (cpu_s() - before) / idle_s
        figures["ended_s"] = time.perf_counter()
        os.kill(os.getpid(), signal.SIGINT)

    with tempfile.TemporaryDirectory() as folder, open_run_directory(os.environ) as directory:
        path = Path(folder, "many.plumb")
        path.write_text(program(count, provider))
        plan, _ = compile_file(path, run_directory=directory)
        cpu_at_start = cpu_s()
        started = time.perf_counter()
        with open_zygote(plan.workers) if way == "zygote" else nullcontext() as zygote:
            us = identify(os.getpid())
            assert us is not None
            with hold_name("many", Path(folder)):
                journal = Journal(plan, "many", Path(folder), f"{directory}/s", process=us, level="info")
                serve = partial(run_service, zygote=zygote)
                letters = LetterKeeper(DeadLetters(Path(folder, "dead")), "benchmark")
                outcome = journal.end(trio.run(serve, plan, Settings(), Report(), journal, letters, os.environ))
        assert outcome.exit_code == 0, outcome
    figures["ended_s"] = time.perf_counter() - figures["ended_s"]
    return figures


def scheduled_s(pid: int) -> float:
    """Return the processor time of a process that runs."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def private_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(size) for size in re.findall(r"^Private_(?:Clean|Dirty): +(\d+)", text, re.MULTILINE))


def resident_kib(pid: int) -> int:
    (size,) = re.findall(r"^VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(size)


def measured(way: str, count: int, idle_s: float = 0.0, provider: str = "eliza") -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", way, "--workers", str(count), "--idle", str(idle_s)]
    command += ["--provider", provider]
    figures: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return figures


# --- Commands -----------------------------------------------------------------------------------------------------


def timed(command: list[str]) -> dict[str, float]:
    """Run a command; return seconds, processor seconds and the largest resident size."""
    started = time.perf_counter()
    with open(os.devnull, "wb") as nothing:
        process = subprocess.Popen(command, stdout=nothing)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    seconds = time.perf_counter() - started
    return {"s": seconds, "cpu_s": used.ru_utime + used.ru_stime, "rss_mib": used.ru_maxrss / 1024}


def importing(*modules: str) -> list[str]:
    return [sys.executable, "-c", f"import {', '.join(modules)}"]


# --- One worker of each provider ----------------------------------------------------------------------------------


ATTEMPT = """
import plumb_agent.__main__, fabric.transport.sockets, trio
from fabric.wire.payload import STRING
from fabric.wire.spec import WorkerSpec
from plumb_agent.messages import History, Message, Request
from plumb_agent.providers import ProviderFailed, open_provider

config = {"provider": "anthropic", "endpoint": "SCHEME://127.0.0.1:9"}
provider = open_provider(WorkerSpec("a", "agent", STRING, STRING, config), {"ANTHROPIC_API_KEY": "none"})
try:
    trio.run(provider.complete, Request((), History([Message("user", "1")]), "1", "m"))
except ProviderFailed:
    pass
"""
"""What the first attempt adds, to a process of its own: the client is loaded, and for https whom to trust."""


def by_provider(rounds: int) -> dict[str, dict[str, float]]:
    """Return the medians of each provider and way: a process of its own, or forked from one that is ready."""
    names = [(provider, way) for provider in PROVIDERS for way in ("spawn", "zygote")]
    found: dict[str, list[dict[str, float]]] = {f"{provider}, {way}": [] for provider, way in names}
    loaded: dict[str, list[dict[str, float]]] = {f"after an attempt, {scheme}": [] for scheme in ("http", "https")}
    for _ in range(rounds):
        for provider, way in names:
            found[f"{provider}, {way}"].append(measured(way, 1, provider=provider))
        for scheme in ("http", "https"):
            attempt = [sys.executable, "-c", ATTEMPT.replace("SCHEME", scheme)]
            loaded[f"after an attempt, {scheme}"].append(timed(attempt))
    return {name: median(figures) for name, figures in (found | loaded).items()}


def provider_table(result: dict[str, dict[str, float]]) -> str:
    lines = [f"one worker until it is ready; the bound is {CPU_MS_MAX} ms CPU, {RESIDENT_MIB_MAX} MiB resident"]
    for name, figures in result.items():
        cpu_ms = 1000 * figures.get("worker_cpu_s", figures.get("cpu_s", 0.0))
        resident = figures.get("resident_mib", figures.get("rss_mib", 0.0))
        private = f"{figures['private_mib']:6.1f} MiB private" if "private_mib" in figures else ""
        ready = "worker_cpu_s" in figures
        over = "  OVER" if ready and (cpu_ms > CPU_MS_MAX or resident > RESIDENT_MIB_MAX) else ""
        lines.append(f"{name:22}  {cpu_ms:5.0f} ms CPU  {resident:6.1f} MiB resident  {private}{over}")
    return "\n".join(lines)


# --- The table ----------------------------------------------------------------------------------------------------


def median(figures: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(figure[key] for figure in figures) for key in figures[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", choices=["zygote", "spawn"], help=argparse.SUPPRESS)
    parser.add_argument("--idle", type=float, default=0.0, help=argparse.SUPPRESS)
    parser.add_argument("--provider", choices=PROVIDERS, default="eliza", help=argparse.SUPPRESS)
    parser.add_argument("--providers", action="store_true", help="only what one worker of each provider takes")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.workers, options.idle, options.provider)))
        return
    if options.providers:
        figures = by_provider(options.rounds)
        print(json.dumps(figures) if options.json else provider_table(figures))
        return

    count = options.workers
    ways: dict[str, Callable[[], dict[str, float]]] = {
        "one": lambda: {"s": one_after_the_other(count)},
        "two": lambda: {"s": two_at_a_time(count)},
        "zygote": lambda: measured("zygote", count),
        "spawn": lambda: measured("spawn", count),
        "bare": lambda: timed(BARE),
        "version": lambda: timed([FABRIC, "version"]),
        "python worker": lambda: timed(importing("fabric.worker.__main__")),
        "agent worker": lambda: timed(importing("plumb_agent.__main__", "fabric.transport.sockets")),
        "call": lambda: timed([FABRIC, "call", str(HELLO), '"I feel sad today"']),
    }
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, run in ways.items():
            rounds[name].append(run())
    result = {name: median(figures) for name, figures in rounds.items()}
    result["idle"] = {"percent": measured("zygote", count, IDLE_S)["idle_percent"]}
    if options.json:
        print(json.dumps({"workers": count, "rounds": options.rounds, **result}))
    else:
        print(table(count, result))


def table(count: int, result: dict[str, dict[str, float]]) -> str:
    one, two, bare = result["one"]["s"], result["two"]["s"], result["bare"]
    rows: list[tuple[str, str, str]] = [
        (f"{count} bare Pythons, one after the other", f"{one:.3f} s", ""),
        (f"{count} bare Pythons, two at a time", f"{two:.3f} s", ""),
    ]
    for way in ("zygote", "spawn"):
        figures = result[way]
        ready = figures["ready_s"]
        rows += [
            (f"{count} agents ready, {way}", f"{ready:.3f} s", f"{ready / one:.2f} × one, {ready / two:.2f} × two"),
            (
                "  private memory each, median and largest",
                f"{figures['private_mib']:.2f} MiB",
                f"{figures['private_max_mib']:.2f} MiB",
            ),
            ("  processor time of the coordinator until then", f"{figures['coordinator_cpu_s']:.3f} s", ""),
            ("  ended", f"{figures['ended_s']:.3f} s", ""),
        ]
    for name in ("python worker", "agent worker"):
        figures = result[name]
        cpu_ms = 1000 * (figures["cpu_s"] - bare["cpu_s"])
        rows.append((f"import: {name}", f"{cpu_ms:.0f} ms CPU", f"{figures['rss_mib']:.1f} MiB resident"))
    rows.append(("bare Python", f"{1000 * bare['s']:.1f} ms", f"{1000 * bare['cpu_s']:.1f} ms CPU"))
    for name, command in (("version", "fabric version"), ("call", "fabric call compose/hello")):
        figures = result[name]
        ratio = f"{figures['s'] / bare['s']:.1f} × bare, CPU {figures['cpu_s'] / bare['cpu_s']:.1f} × bare"
        rows.append((command, f"{1000 * figures['s']:.1f} ms", ratio))
    percent = result["idle"]["percent"]
    rows.append((f"coordinator with {count} idle workers, {IDLE_S:.0f} s", f"{percent:.2f} % of a core", ""))
    width = max(len(row[0]) for row in rows)
    return "\n".join(f"{name:{width}}  {figure:>16}  {more}" for name, figure, more in rows)


if __name__ == "__main__":
    main()
