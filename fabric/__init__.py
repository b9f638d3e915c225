"""fabric runs typed graphs of agents.

A program is checked as a whole, compiled to ZeroMQ endpoints, started as worker processes and run until it has
drained. To read the code, follow one program on its way:

1. ``compiler``               text to plan, on one screen
2. ``lang``                   text to typed module: source, lexer, parser, types, check
3. ``graph``                  typed module to wiring graph
4. ``plan``                   wiring graph to plan: workers, endpoints, routes
5. ``session.session``        what a running session decides: events in, commands out
6. ``runtime.coordinator``    who carries it out
7. ``wire``                   what crosses a process boundary; ``wire/PROTOCOL.md`` says it for other languages
8. ``worker``                 the worker that calls a Python function; the LLM worker is the package ``plumb_agent``

9. ``client``                 a program called from Python; ``dsl``: one written in Python; ``types``, ``provider``,
                              ``testing`` beside them

``DESIGN.md`` holds the reasons. Importing this module imports nothing; a name of the client is loaded when it is used.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # type checkers know the name; ``typing`` is too large a module to be imported for it

if TYPE_CHECKING:
    from fabric.client import (
        Approval,
        Binding,
        CheckResult,
        Event,
        Output,
        Pipeline,
        ProtocolDecl,
        Telemetry,
        TypeDecl,
        call,
        call_sync,
        check,
        connect,
        run,
    )
    from fabric.errors import (
        BinaryNotFoundError,
        CheckError,
        ConfigError,
        FabricError,
        PipelineError,
        PlumbError,
        PlumbingModelError,
        RunError,
    )

__version__ = "0.1.0"

__all__ = [
    "Approval",
    "BinaryNotFoundError",
    "Binding",
    "CheckError",
    "CheckResult",
    "ConfigError",
    "Event",
    "FabricError",
    "Output",
    "Pipeline",
    "PipelineError",
    "PlumbError",
    "PlumbingModelError",
    "ProtocolDecl",
    "RunError",
    "Telemetry",
    "TypeDecl",
    "call",
    "call_sync",
    "check",
    "connect",
    "run",
]


if not TYPE_CHECKING:  # they know what there is, and what there is not

    def __getattr__(name: str) -> object:
        """Load a public name (PEP 562)."""
        if name not in __all__:
            raise AttributeError(f"module 'fabric' has no attribute {name!r}")
        errors = import_module("fabric.errors")
        value = getattr(errors if name in errors.__all__ else import_module("fabric.client"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """Show them before they are loaded."""
    return [*__all__, "__version__"]
