"""For tests of programs: a whole session in one process, without sockets and without waiting for real time."""

from fabric.testing.simulator import Runner, Simulated, python_runner, simulate

__all__ = ["Runner", "Simulated", "python_runner", "simulate"]
