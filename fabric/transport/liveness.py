"""Die with the parent: an inherited pipe that nobody writes to ends when the last holder of its other end is gone.

Not ``PR_SET_PDEATHSIG``: that is tied to the *thread* that forked, and an idle thread of a healthy parent ends.
"""

from __future__ import annotations

__all__ = ["die_with_parent"]

import _thread
import os
import signal


def die_with_parent(descriptor: int) -> None:
    """End this process, at once and without clean-up, when the pipe does. Works while the main thread is busy.

    A process that leads its group takes along what it has started.
    """

    def watch() -> None:
        while os.read(descriptor, 1):
            pass
        if os.getpgid(0) == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    os.set_inheritable(descriptor, False)
    # Not threading's own: it would cost each forked worker 200 KiB of memory that it shares.
    _thread.start_new_thread(watch, ())
