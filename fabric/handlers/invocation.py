"""One invocation: what a handler is told beside its input, and how it ended. The same in both modes."""

from __future__ import annotations

__all__ = ["Call", "Ended", "Handler", "call_environment", "serving_environment"]

import json
import os
import sys
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

NO_PROXY = "127.0.0.1"
"""Bodies are fetched from here; a proxy that is set for others would take these requests, too."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What an invocation is given.

    Attributes:
        session, agent, metadata: of the session; they never change.
        id: of the decision that is asked for: equal for all attempts at it. A key for what a handler does outside.
        base: how many commits it is shown.
        input: lines of records.
    """

    session: str
    agent: str
    metadata: Mapping[str, Any]
    id: str
    base: int
    input: bytes

    @property
    def metadata_text(self) -> str:
        """The metadata as it is handed over: JSON, in ASCII."""
        return json.dumps(dict(self.metadata))


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How an invocation ended.

    Attributes:
        exit: its status as a shell says it: 128 and the signal for one that was killed; 0: what it wrote counts.
        output: what it wrote.
        reason: why it failed; empty: it did not.
        stderr: the last of what it said.
    """

    exit: int
    output: bytes = b""
    reason: str = ""
    stderr: str = ""


class Handler(Protocol):
    """What can be invoked. One at a time."""

    async def invoke(self, call: Call) -> Ended:
        """Invoke it; never raises for what a handler does."""
        ...


def call_environment(inherited: Mapping[str, str], call: Call) -> dict[str, str]:
    """Return the environment of a process that is there for one call.

    It has all that we have, as a command in a shell would: a handler is the user's own program, with keys of its own.
    """
    told = {
        "SESSION_ID": call.session,
        "AGENT_ID": call.agent,
        "SESSION_METADATA": call.metadata_text,
        "INVOCATION_ID": call.id,
    }
    return {
        **_reaching_us(inherited),
        **{f"{system}_{name}": value for system in ("PUGMARK", "FABRIC") for name, value in told.items()},
        "FABRIC_SESSION": call.session,  # for commands that it runs
    }


def serving_environment(inherited: Mapping[str, str], descriptor: int) -> dict[str, str]:
    """Return the environment of a process that serves calls: who asks is said by each of them."""
    said_by_calls = {f"{system}_{name}" for system in ("PUGMARK", "FABRIC") for name in _SAID_BY_CALLS}
    kept = {name: value for name, value in _reaching_us(inherited).items() if name not in said_by_calls}
    return {**kept, "PUGMARK_RPC_URL": f"fd://{descriptor}", "FABRIC_RPC_URL": f"fd://{descriptor}"}


_SAID_BY_CALLS = ("SESSION_ID", "AGENT_ID", "SESSION_METADATA", "INVOCATION_ID")


def _reaching_us(inherited: Mapping[str, str]) -> dict[str, str]:
    direct = [host for name in ("no_proxy", "NO_PROXY") for host in inherited.get(name, "").split(",") if host.strip()]
    hosts = ",".join(dict.fromkeys([*(host.strip() for host in direct), NO_PROXY]))
    rest = {name: value for name, value in inherited.items() if name not in _RPC_URLS}
    return {**_with_our_python(rest), "no_proxy": hosts, "NO_PROXY": hosts}


def _with_our_python(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with our virtual environment first on its path, as if it were activated.

    So ``python`` is the one that has what is installed beside us, whether it was activated or we were named by path.
    """
    path = inherited.get("PATH", os.defpath)
    ours = os.path.dirname(sys.executable)
    if sys.prefix == sys.base_prefix or ours in path.split(os.pathsep):
        return dict(inherited)
    return {**inherited, "PATH": f"{ours}{os.pathsep}{path}"}


_RPC_URLS = ("PUGMARK_RPC_URL", "FABRIC_RPC_URL")
"""Of a handler that runs us: its socket is not the one that its child is to serve."""
