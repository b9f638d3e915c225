"""Tell whether a worker in a container listens: ``python -P -m fabric.transport.listening``, exit status 0 if it does.

Nothing connects for it. To a socket with keys, whoever connects and says nothing is a stranger, and would be counted.
So the system's table of sockets is asked, for the ports that the environment says this worker binds. It loads nothing
but the interpreter: a health check is run again and again.
"""

__all__ = ["listening", "ports_of"]

import os
import sys
from collections.abc import Iterable, Mapping

_LISTEN = "0A"
_BOUND = tuple(f"PLUMB_ENDPOINT_{port}" for port in ("OUTPUT", "CTRL_OUT", "TELEMETRY", "TOOL_REQ"))
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


def ports_of(environment: Mapping[str, str]) -> set[int]:
    """Return the TCP ports that a worker with this environment binds."""
    addresses = [environment.get(name, "") for name in _BOUND]
    return {int(address.rpartition(":")[2]) for address in addresses if address.startswith("tcp://")}


def listening(lines: Iterable[str]) -> set[int]:
    """Return the ports that are listened on, by the lines of the system's tables."""
    rows = [line.split() for line in lines]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if len(row) > 3 and row[3] == _LISTEN}


def _lines() -> list[str]:
    lines: list[str] = []
    for path in _TABLES:
        if os.path.exists(path):
            with open(path, encoding="ascii") as table:
                lines += table
    return lines


def main() -> int:
    """Look, and tell."""
    missing = ports_of(os.environ) - listening(_lines())
    if missing:
        print(f"nothing listens on {', '.join(map(str, sorted(missing)))}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
