"""Programs, called from Python: checked, called once, or run and talked to. Under asyncio and trio alike.

Read ``results`` for what a check gives, ``calls`` for the functions, ``pipeline`` for a program that runs.
"""

from fabric.client.calls import call, call_sync, connect, run
from fabric.client.engine import close
from fabric.client.pipeline import Event, Output, Pipeline, Telemetry
from fabric.client.results import Binding, CheckResult, ProtocolDecl, TypeDecl, check
from fabric.session.events import Approval

__all__ = [
    "Approval",
    "Binding",
    "CheckResult",
    "Event",
    "Output",
    "Pipeline",
    "ProtocolDecl",
    "Telemetry",
    "TypeDecl",
    "call",
    "call_sync",
    "check",
    "close",
    "connect",
    "run",
]
