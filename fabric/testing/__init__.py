"""What programs are tested with.

* ``models``     a server that speaks the providers' APIs and answers from a script: :func:`scripted_model`
* ``tapes``      one that records what real models answer, and answers with it later: :func:`cassette`
* ``virtual``    a program in one process, in virtual time: :func:`run_virtual`
* ``stores``     a bucket that loses and kills, for what is kept in one: :class:`FaultyStore`
* ``plugin``     all of it as fixtures of pytest, which finds them by itself

Below ``virtual`` is the simulator that the fabric itself is tested with: read ``simulator``; ``faults`` for what may go
wrong in it, ``processes`` for how, ``seeded`` for one order out of many. Importing this module imports nothing; a name
is loaded when it is used, for pytest loads the plugin in suites that never use it.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # type checkers know the name; ``typing`` is too large a module to be imported for it

if TYPE_CHECKING:
    from fabric.testing.answers import Answer, Call, Cut, Failure, ModelRequest, Text, Thinking
    from fabric.testing.faults import Crash, Faults, LinkCut, Restart, Slow, Stall, draw_faults
    from fabric.testing.models import ScriptedModel, UnscriptedRequest, scripted_model
    from fabric.testing.processes import Phase, Process, ProcessRecord, Runner
    from fabric.testing.runs import FabricRun, ProcessesLeft
    from fabric.testing.seeded import run_seeded
    from fabric.testing.simulator import Decide, Decision, Simulated, Watch, function_runner, python_runner, simulate
    from fabric.testing.stores import FaultyStore, StoreFault, StoreFaults, StoreOperation, draw_store_faults, fault_at
    from fabric.testing.tapes import Cassette, CassetteMismatch, cassette
    from fabric.testing.virtual import NoStandIn, VirtualOutput, VirtualRun, run_virtual

_PLACES = {
    "answers": ("Answer", "Call", "Cut", "Failure", "ModelRequest", "Text", "Thinking"),
    "faults": ("Crash", "Faults", "LinkCut", "Restart", "Slow", "Stall", "draw_faults"),
    "models": ("ScriptedModel", "UnscriptedRequest", "scripted_model"),
    "processes": ("Phase", "Process", "ProcessRecord", "Runner"),
    "runs": ("FabricRun", "ProcessesLeft"),
    "seeded": ("run_seeded",),
    "simulator": ("Decide", "Decision", "Simulated", "Watch", "function_runner", "python_runner", "simulate"),
    "stores": ("FaultyStore", "StoreFault", "StoreFaults", "StoreOperation", "draw_store_faults", "fault_at"),
    "tapes": ("Cassette", "CassetteMismatch", "cassette"),
    "virtual": ("NoStandIn", "VirtualOutput", "VirtualRun", "run_virtual"),
}

__all__ = [
    "Answer",
    "Call",
    "Cassette",
    "CassetteMismatch",
    "Crash",
    "Cut",
    "Decide",
    "Decision",
    "FabricRun",
    "Failure",
    "Faults",
    "FaultyStore",
    "LinkCut",
    "ModelRequest",
    "NoStandIn",
    "Phase",
    "Process",
    "ProcessRecord",
    "ProcessesLeft",
    "Restart",
    "Runner",
    "ScriptedModel",
    "Simulated",
    "Slow",
    "Stall",
    "StoreFault",
    "StoreFaults",
    "StoreOperation",
    "Text",
    "Thinking",
    "UnscriptedRequest",
    "VirtualOutput",
    "VirtualRun",
    "Watch",
    "cassette",
    "draw_faults",
    "draw_store_faults",
    "fault_at",
    "function_runner",
    "python_runner",
    "run_seeded",
    "run_virtual",
    "scripted_model",
    "simulate",
]

if not TYPE_CHECKING:  # they know what there is, and what there is not

    def __getattr__(name: str) -> object:
        """Load a name (PEP 562)."""
        place = next((place for place, names in _PLACES.items() if name in names), None)
        if place is None:
            raise AttributeError(f"module 'fabric.testing' has no attribute {name!r}")
        value = getattr(import_module(f"fabric.testing.{place}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """Show them before they are loaded."""
    return list(__all__)
