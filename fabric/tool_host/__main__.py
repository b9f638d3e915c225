"""``python -m fabric.tool_host``: started by the coordinator, with its pipes."""

from __future__ import annotations

import os
import sys

import trio

from fabric.tool_host.host import host
from fabric.transport.liveness import die_with_parent
from fabric.wire.spec import PARENT_FD_VARIABLE


def main() -> int:
    """Serve until the end of stdin."""
    die_with_parent(int(os.environ.pop(PARENT_FD_VARIABLE)))
    stdout_fd = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no message
    trio.run(host, os.dup(0), stdout_fd)
    return 0


if __name__ == "__main__":
    sys.exit(main())
