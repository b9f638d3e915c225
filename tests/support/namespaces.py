"""Network namespaces as hosts: each has one address on one network, and a cable that can be pulled.

The switch is in a namespace of its own, so nothing of this machine's network is touched.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from peers import unavailable

NETWORK = "10.77.0"


class Hosts:
    """Namespaces. Made by :func:`open_hosts`.

    Attributes:
        names: of the namespaces.
        addresses: of each.
    """

    def __init__(self, prefix: str, count: int) -> None:
        self._switch = f"{prefix}sw"
        self.names = [f"{prefix}h{number}" for number in range(1, count + 1)]
        self.addresses = [f"{NETWORK}.{number}" for number in range(1, count + 1)]

    def make(self) -> None:
        """Make them."""
        for name in (self._switch, *self.names):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", self._switch, "link", "add", "br0", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "br0", "up")
        for number, (name, address) in enumerate(zip(self.names, self.addresses, strict=True)):
            ends = ["link", "add", "eth0", "type", "veth", "peer", "name", f"p{number}", "netns", self._switch]
            _ip("-n", name, *ends)
            _ip("-n", self._switch, "link", "set", f"p{number}", "master", "br0", "up")
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")

    def cut(self, number: int) -> None:
        """Pull the cable of a host, counted from 0."""
        _ip("-n", self._switch, "link", "set", f"p{number}", "down")

    def heal(self, number: int) -> None:
        """Put it back."""
        _ip("-n", self._switch, "link", "set", f"p{number}", "up")

    def processes(self) -> list[int]:
        """Return the processes that live in one of them."""
        found = []
        for name in self._there():
            done = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=True)
            found += map(int, done.stdout.split())
        return found

    def remove(self) -> None:
        """End what lives in them, and remove them."""
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        for name in self._there():
            _ip("netns", "del", name)

    def _there(self) -> list[str]:
        done = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
        there = {line.split()[0] for line in done.stdout.splitlines() if line}
        return [name for name in (*self.names, self._switch) if name in there]


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


@contextmanager
def open_hosts(count: int) -> Iterator[Hosts]:
    """Give hosts until the body ends; then nothing of them is left."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        unavailable("network namespaces are made by root, with ip (apt-get install iproute2)")
    hosts = Hosts(f"fab{os.getpid()}", count)
    try:
        hosts.make()
        yield hosts
    finally:
        hosts.remove()
