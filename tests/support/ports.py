"""TCP ports that nobody uses."""

from __future__ import annotations

import os
import socket
from itertools import count

_numbers = count(os.getpid() * 37)


def free_port(address: str = "127.0.0.1") -> int:
    """Return a port that is free now, and outside of the range that connections are given: none takes it meanwhile."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    while True:
        port = 21_000 + next(_numbers) % 1_000
        with socket.socket(family) as probe:
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port
