"""A process that outlives a killed coordinator by a moment, to end what it started.

It reads ``+PID`` and ``-PID`` lines, and at the end of its input kills the process groups that are left. For programs
of others, which do not watch the liveness pipe. Run by its path, so it imports nothing of ours.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress


def main() -> None:
    """Read until the end, then kill."""
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):  # it has ended by itself
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
