"""For tests of programs: a whole session in one process, without sockets and without waiting for real time.

Read ``simulator``; ``faults`` for what may go wrong in it, ``processes`` for how, ``seeded`` for one order out of many.
"""

from fabric.testing.faults import Crash, Faults, Restart, Slow, Stall, draw_faults
from fabric.testing.processes import Phase, Process, ProcessRecord, Runner
from fabric.testing.seeded import run_seeded
from fabric.testing.simulator import Simulated, Watch, function_runner, python_runner, simulate

__all__ = [
    "Crash",
    "Faults",
    "Phase",
    "Process",
    "ProcessRecord",
    "Restart",
    "Runner",
    "Simulated",
    "Slow",
    "Stall",
    "Watch",
    "draw_faults",
    "function_runner",
    "python_runner",
    "run_seeded",
    "simulate",
]
