"""What `doctor` prints: checks of a host; chains of causes, with what the system knows of a worker's process. Pure."""

from __future__ import annotations

__all__ = ["examine", "render_chains", "render_checks"]

from collections.abc import Iterable, Iterator

from fabric.runtime.checkup import Check
from fabric.runtime.services import WorkerRecord
from fabric.session.causes import Chain, Link, is_stuck

_NAME_WIDTH = 10

_GREEN, _RED, _PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[0m"

_ABNORMAL = {
    "T": ("is stopped: state T in /proc, as after SIGSTOP or Ctrl-Z", "kill -CONT {pid} lets it go on"),
    "t": ("is stopped by a debugger: state t in /proc", "the debugger has to let it go on"),
    "D": ("waits for a disk or a network file system: state D in /proc", "nothing ends it before that answers"),
    "Z": ("has ended, and nobody has taken note of it: state Z in /proc", "fabric restart {worker}"),
    "": ("is gone", "fabric restart {worker}"),
}
"""What is told of a process in a state in which it does nothing by itself, and what helps."""


def render_checks(checks: Iterable[Check], *, color: bool) -> Iterator[str]:
    """Yield a line for each check, and one for what to do."""
    for check in checks:
        sign, shade = ("✔", _GREEN) if check.ok else ("-", "") if check.ok is None else ("✘", _RED)
        mark = f"{shade}{sign}{_PLAIN}" if color and shade else sign
        yield f" {mark} {check.name:{_NAME_WIDTH}}  {check.says}"
        if check.ok is False and check.help:
            yield f"   {'':{_NAME_WIDTH}}  = help: {check.help}"


def examine(chain: Chain, worker: WorkerRecord | None, state: str | None) -> Chain:
    """Return a chain with what the process of the worker says that is its cause.

    Args:
        chain: why messages do not move.
        worker: the cause, if it is one.
        state: of its process: a letter as in proc_pid_stat(5), "" if it is gone; ``None``: it has none.
    """
    root = chain.root
    if worker is None or worker.process is None or state is None or root.cause not in ("silent", "starting", "ending"):
        return chain
    pid, what = worker.process.pid, f"{worker.kind} {worker.what}".strip()
    if state in _ABNORMAL:
        told, help_ = _ABNORMAL[state]
        help_ = help_.format(pid=pid, worker=worker.name)
        link = Link("process", worker.name, f"its process {pid} ({what}) {told}", "process", certain=True, help=help_)
        return Chain((*chain.links, link))
    does = "computes: state R in /proc" if state == "R" else f"waits for something: state {state} in /proc"
    help_ = "" if root.cause == "ending" else f"fabric restart {worker.name} gives what it has to another process"
    if worker.kind == "agent" and root.cause == "silent":
        does += "; its model may be thinking"
    text = f"its process {pid} ({what}) {does}"
    return Chain((*chain.links, Link("process", worker.name, text, root.cause, for_s=root.for_s, help=help_)))


def render_chains(chains: Iterable[Chain], *, color: bool) -> Iterator[str]:
    """Yield the lines of each chain, from what is missed to the cause; those that hold messages up first."""
    for chain in sorted(chains, key=lambda chain: not is_stuck(chain)):
        stuck = is_stuck(chain)
        sign, shade = ("✘", _RED) if stuck else ("-", "")
        mark = f"{shade}{sign}{_PLAIN}" if color and shade else sign
        first, *rest = chain.links
        yield f"{mark} {first.text}"
        yield from (f"  ← {link.text}" for link in rest)
        if stuck and chain.root.help:
            yield f"  = help: {chain.root.help}"
