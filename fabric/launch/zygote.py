"""The zygote: a process that has imported what workers need, and of which they are forked.

It runs this module and nothing else: one thread, no event loop, no ZeroMQ context, one socket, an empty environment.
What it has imported is frozen (:func:`gc.freeze`), so that its workers go on sharing that memory.

On its one socket each message is one packet. :class:`Fork` and :class:`Signal` come, :class:`Forked`,
:class:`ForkFailed` and :class:`Exited` go. Workers are known by the numbers that the launcher gives them. Signals to
them are sent here, by their parent, which alone knows whether a process id is still theirs.

A worker's environment comes in a file that only the worker reads, after the fork: no key of a provider is ever in the
memory of the zygote, or of another worker.

If the zygote dies, its workers do, by the pipe of which it holds the one writing end. At the end of its socket it kills
them.
"""

from __future__ import annotations

__all__ = [
    "Exited",
    "Fork",
    "ForkFailed",
    "Forked",
    "FromZygote",
    "Header",
    "Signal",
    "ToZygote",
    "decode_from_zygote",
    "encode",
]

import errno
import gc
import importlib
import locale
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any, Literal, TypeAlias

import msgspec

from fabric.wire.spec import PARENT_FD_VARIABLE, SPEC_FD_VARIABLE

STDOUT_FD, STDERR_FD = 1, 2

PACKET_BYTES_MAX = 4096
"""More than any message has: a worker's name has 255 bytes at most."""


class Fork(msgspec.Struct, frozen=True, tag=True):
    """Start a worker. Two descriptors come along: its file, and the pipe for its stdout and stderr.

    Attributes:
        worker: its number.
        name: for ``ps``.
        module: what it runs.
        header_bytes: size of its :class:`Header`, in msgpack, at the beginning of its file. The rest is its spec.
    """

    worker: int
    name: str
    module: str
    header_bytes: int


class Header(msgspec.Struct, frozen=True, array_like=True):
    """What a worker is to be before it runs.

    Attributes:
        variables: its environment.
        directory: where it works; empty: where the zygote does.
    """

    variables: dict[bytes, bytes]
    directory: bytes = b""


class Signal(msgspec.Struct, frozen=True, tag=True):
    """Send a signal to a worker and all that it started; to one that is gone: nothing."""

    worker: int
    name: Literal["TERM", "KILL"]


class Forked(msgspec.Struct, frozen=True, tag=True):
    """The worker is a process now."""

    worker: int
    pid: int


class ForkFailed(msgspec.Struct, frozen=True, tag=True):
    """The system refused, in its words."""

    worker: int
    error: str


class Exited(msgspec.Struct, frozen=True, tag=True):
    """The worker is gone, and what it had started and left in its process group was killed.

    Attributes:
        worker: its number.
        status: its exit status, or the negative number of the signal that ended it.
    """

    worker: int
    status: int


ToZygote: TypeAlias = Fork | Signal
FromZygote: TypeAlias = Forked | ForkFailed | Exited

encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode
decode_to_zygote = msgspec.msgpack.Decoder(ToZygote).decode
decode_from_zygote = msgspec.msgpack.Decoder(FromZygote).decode
_decode_header = msgspec.msgpack.Decoder(Header).decode


class Child(msgspec.Struct, frozen=True):
    """A worker that is not reaped, so that its process id is nobody else's."""

    worker: int
    pid: int


class Begin(msgspec.Struct, frozen=True):
    """What a new worker has in its hands."""

    fork: Fork
    spec_fd: int
    output_fd: int
    lifeline_fd: int


def main() -> int:
    """Preload, then fork until the socket ends. In each child: run the worker; return its exit status.

    The children leave :func:`_serve` before they do anything, so nothing of the zygote is on their stack.
    """
    # A host that ignores SIGCHLD, or blocks signals, hands that down through exec. Children would reap themselves then.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.environ.clear()  # of what Python itself puts there if it starts without a locale
    gc.disable()  # a collection would write into memory that is to be shared
    files_max, hard_max = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_max, hard_max))  # each worker costs a descriptor
    channel = socket.socket(fileno=int(sys.argv[1]))
    modules: dict[str, ModuleType] = {}
    for words in sys.argv[2:]:
        name, *hints = words.split(":")
        with suppress(ImportError):  # the worker will try again, and tell on its own stderr
            modules[name] = _preload(name, hints)
    gc.collect()
    _fill_gaps()
    gc.freeze()
    begin = _serve(channel)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files_max, hard_max))
    _become(begin)
    module = modules.get(begin.fork.module) or _import(begin.fork.module)
    sys.modules["__main__"] = module
    sys.argv = [module.__file__ or begin.fork.module]
    gc.enable()
    status: int = module.main()
    return status


FILLING_BYTES = 64 * 1024
"""Of each size of objects: four of the pools that CPython takes them from. 4.7 MiB of a worker become 4.35."""

_filling: list[bytes] = []


def _fill_gaps() -> None:
    """Fill what is free between the objects that were imported, for good.

    Otherwise a worker would put its own there, a few into each page, and get a copy of every such page.
    """
    header = sys.getsizeof(b"")
    _filling.extend(bytes(size - header) for size in range(48, 513, 16) for _ in range(FILLING_BYTES // size))


def _preload(name: str, hints: list[str]) -> ModuleType:
    """Import a worker's module, and let it do what it would do at the start of each worker."""
    module = _import(name)
    if hasattr(module, "preload"):
        module.preload(hints)
    return module


def _import(name: str) -> ModuleType:
    """Import what ``python -m NAME`` would run."""
    module = importlib.import_module(name)
    return importlib.import_module(f"{name}.__main__") if hasattr(module, "__path__") else module


# --- In the zygote ------------------------------------------------------------------------------------------------


def _serve(channel: socket.socket) -> Begin:
    """Obey until the end of the socket, and exit; in each child: return."""
    children: dict[int, Child] = {}
    lifeline_fd, alive_fd = os.pipe()
    begin = _obey(channel, children, lifeline_fd)
    if begin is None:
        for child in children.values():
            _signal(child, "KILL")
        for child in children.values():
            os.waitpid(child.pid, 0)
        os._exit(0)  # there is nothing to clean up
    for descriptor in (*children, alive_fd, channel.detach()):
        os.close(descriptor)
    return begin


def _obey(channel: socket.socket, children: dict[int, Child], lifeline_fd: int) -> Begin | None:
    """Fork, signal, reap until the launcher is gone, and return ``None``; in each child: return what it has.

    Args:
        children: by descriptor (pidfd_open(2)). Not by SIGCHLD: a child that has to undo a handler is no fresh process.
    """
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    try:
        while True:
            for ready, _ in poll.poll():
                if ready in children:
                    poll.unregister(ready)
                    os.close(ready)
                    _reap(children.pop(ready), channel)
                    continue
                packet, descriptors, _, _ = socket.recv_fds(channel, PACKET_BYTES_MAX, 2)
                if not packet:
                    return None
                match decode_to_zygote(packet):
                    case Fork(worker) if len(descriptors) < 2:  # the system leaves out those that it has no room for
                        _say(channel, ForkFailed(worker, os.strerror(errno.EMFILE)))
                    case Fork(worker) as fork:
                        try:
                            pid = os.fork()
                            if pid == 0:
                                os.setsid()
                                spec_fd, output_fd = descriptors
                                return Begin(fork, spec_fd, output_fd, lifeline_fd)
                            child = Child(worker, pid)
                            pidfd = _open(child)
                        except OSError as error:
                            _say(channel, ForkFailed(worker, str(error.strerror)))
                        else:
                            children[pidfd] = child
                            poll.register(pidfd, select.POLLIN)
                            _say(channel, Forked(worker, pid))
                    case Signal(worker, name):
                        for child in children.values():
                            if child.worker == worker:
                                _signal(child, name)
                for descriptor in descriptors:
                    os.close(descriptor)
    except (BrokenPipeError, ConnectionResetError):
        return None  # it does not read what we said


def _open(child: Child) -> int:
    """Return a descriptor of a new child. Raises OSError: there can be none, and the child is gone."""
    try:
        return os.pidfd_open(child.pid)
    except OSError:
        _signal(child, "KILL")
        os.waitpid(child.pid, 0)
        raise


def _say(channel: socket.socket, message: FromZygote) -> None:
    channel.send(encode(message))


def _signal(child: Child, name: Literal["TERM", "KILL"]) -> None:
    """Signal a child and its group."""
    for number in [signal.SIGKILL] if name == "KILL" else [signal.SIGTERM, signal.SIGCONT]:  # a stopped one has to wake
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:  # it was forked this moment, and does not lead a group yet
            with suppress(ProcessLookupError):  # somebody else has reaped it
                os.kill(child.pid, number)
        except PermissionError:
            pass  # it runs as another user by now: as with a spawned one, there is nothing to be done


def _reap(child: Child, channel: socket.socket) -> None:
    """Tell of a child that is gone, after what it left behind in its group was killed."""
    _signal(child, "KILL")
    _, status = os.waitpid(child.pid, 0)
    _say(channel, Exited(child.worker, os.waitstatus_to_exitcode(status)))


# --- In a child ---------------------------------------------------------------------------------------------------


def _become(begin: Begin) -> None:
    """Make of the fork what a newly started Python would be, as far as that can be.

    What is written into memory is shared no more, and even calling a function writes: so this calls few.
    """
    fork = begin.fork
    os.dup2(begin.output_fd, STDOUT_FD)
    os.dup2(begin.output_fd, STDERR_FD)
    os.close(begin.output_fd)
    header = _decode_header(os.read(begin.spec_fd, fork.header_bytes))
    if header.directory:
        os.chdir(header.directory)
    for name, value in header.variables.items():
        os.environb[name] = value
    os.environ[SPEC_FD_VARIABLE] = str(begin.spec_fd)
    os.environ[PARENT_FD_VARIABLE] = str(begin.lifeline_fd)
    time.tzset()
    with suppress(locale.Error):  # one that this host does not have: Python starts in spite of it
        locale.setlocale(locale.LC_CTYPE, "")
    _show_name(f"fabric:{fork.name}", f"fabric worker {fork.name} ({fork.module})")


def _show_name(name: str, title: str) -> None:
    """Let ``ps`` and ``top`` tell workers apart: they show the zygote's command line otherwise.

    There is no call for a title. It is written over the arguments, whose place the system tells: fields 48 and 49 of
    proc_pid_stat(5).
    """
    with suppress(OSError):  # a kernel may forbid it, and it is only a comfort
        with open("/proc/self/comm", "wb", buffering=0) as comm:
            comm.write(name.encode()[:15])
        with open("/proc/self/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
        start, size = int(fields[45]), int(fields[46]) - int(fields[45])
        with open("/proc/self/mem", "wb", buffering=0) as memory:
            memory.seek(start)
            memory.write(title.encode()[: size - 1].ljust(size, b"\0"))


if __name__ == "__main__":
    sys.exit(main())
