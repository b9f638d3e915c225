"""The worker on stdin and stdout: ``plumb-agent spec.plumb``, one JSON value a line.

Everything but inputs and outputs travels in envelopes, ``{"__port": NAME, "msg": VALUE}``: ``ctrl_in``, ``tool_resp``
and ``marker`` into it, ``ctrl_out``, ``tool_req``, ``marker`` and, if the agent's signature has that port,
``telemetry`` out of it.

Lines take effect in their order: while an input waits, nothing is read that comes behind it. So a control line after
three inputs finds the third in progress, however fast they came. While paused, and while the answer of a tool is
awaited, the lines behind are read, and the inputs among them kept.
"""

from __future__ import annotations

__all__ = ["read_program", "run_stdio", "write_out"]

import os
import random
import select
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec
import trio

from fabric.errors import ConfigError, FabricError, OutputClosed
from fabric.wire.calls import decline
from fabric.wire.frame import Provenance
from fabric.wire.lines import DATA, DECLINE, MARKER, LineSplitter, read_line, write_line
from fabric.wire.payload import encode_json
from fabric.wire.spec import WorkerSpec
from plumb_agent.config import read_config
from plumb_agent.conversation import Conversation
from plumb_agent.driver import Driver, drive
from plumb_agent.events import (
    ControlArrived,
    ControlEnded,
    InputArrived,
    InputEnded,
    MarkerArrived,
    ToolsEnded,
)
from plumb_agent.logs import Logger
from plumb_agent.providers import open_provider
from plumb_agent.toolbox import McpTool

_STDIN, _STDOUT = 0, 1
_CHUNK_BYTES = 64 * 1024


class InputClosed(FabricError):
    """Our stdin cannot be read."""

    code = "input_closed"


def read_program(path: str, resources: str = "") -> WorkerSpec:
    """Return the spec of the only agent of a program, as written: provider and model may be missing.

    Args:
        path: of the program's file.
        resources: folders of shared prompt files, separated by colons.

    Raises:
        CheckError: the program does not check.
        ConfigError: it has no agent or several; a file cannot be read.
    """
    # The whole compiler, for this way of starting only; a worker that is launched gets its spec ready made.
    from fabric.compiler import check_file, directories_of, read_documents, tools_of

    module = check_file(path).module
    own = (binding for binding in module.bindings.values() if module.sources.at(binding.span) is module.source)
    agents = [binding for binding in own if binding.kind == "agent"]
    if len(agents) != 1:
        names = ", ".join(repr(agent.name) for agent in agents) or "none"
        raise ConfigError(f"plumb-agent runs the one agent of a program; {path} has {len(agents)}: {names}")
    (agent,) = agents
    directories = directories_of(module)
    documents = read_documents(module, directories, resources)
    return WorkerSpec(
        name=agent.name,
        kind=agent.kind,
        input=agent.inputs[0].type,
        output=agent.outputs[0].type,
        config=agent.config,
        directory=directories[agent.name],
        documents=tuple(documents[agent.name, name] for name in agent.config.get("prompts", ())),
        ports=tuple(port for port in ("ctrl_in", "ctrl_out", "telemetry") if port in agent.declared),
        tools=tools_of(module, agent.name),
    )


async def run_stdio(
    spec: WorkerSpec,
    logger: Logger,
    *,
    stdin: int = _STDIN,
    stdout: int = _STDOUT,
    clock: Callable[[], float] = time.time,
    chance: random.Random | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
    mcp_tools: Sequence[McpTool] = (),
) -> int:
    """Run the worker on two descriptors until its input ends, and return its exit status.

    Args:
        spec: of an agent.
        logger: where log and error lines go.
        stdin, stdout: descriptors; both stay open.
        clock: seconds since 1970, UTC.
        chance: draws the delays between attempts of a call; seeded by the system if not given.
        environment: where the provider's key is.
        mcp_tools: of MCP servers, beside those of the spec.

    Raises:
        ConfigError: the configuration is wrong. Nothing was read or written.
    """
    provider = open_provider(spec, environment)
    config = read_config(spec)
    conversation = Conversation(spec, config, chance or random.Random(), mcp_tools, transcript=logger.debug)

    async def read(driver: Driver) -> None:
        lines = LineSplitter()
        try:
            while True:
                # In a thread: the descriptor may be a file, a pipe or a terminal, and must stay in blocking mode,
                # since other processes share it.
                chunk = await trio.to_thread.run_sync(_read_some, stdin, abandon_on_cancel=True)
                for line in lines.feed(chunk):
                    if not line.strip():
                        continue
                    await driver.wait_wanted()
                    _feed(line, driver, logger)
                if not chunk:
                    break
        except FabricError as error:
            driver.fail(error)
        for ended in (ToolsEnded(), InputEnded(), ControlEnded()):
            driver.feed(ended)

    outlet = _LineOutlet(stdout, telemetry="telemetry" in spec.ports)
    return await drive(conversation, provider, [read], outlet, logger, clock, one_stream=True)


def _read_some(stdin: int) -> bytes:
    while True:
        try:
            return os.read(stdin, _CHUNK_BYTES)
        except BlockingIOError:  # as with stdout
            select.select([stdin], [], [])
        except OSError as error:
            raise InputClosed(f"cannot read the input: {error.strerror}") from None


def _feed(line: bytes, driver: Driver, logger: Logger) -> None:
    port, payload = read_line(line)
    match port:
        case "data":
            driver.feed(InputArrived(payload))
        case "ctrl_in":
            driver.feed(ControlArrived(payload))
        case "tool_resp":
            driver.respond(payload)
        case "marker":
            try:
                driver.feed(MarkerArrived(msgspec.json.decode(payload, type=str)))
            except msgspec.DecodeError:
                logger.log("warning", "line_ignored", {"reason": "the id of a marker must be a string"})
        case _:
            logger.log("warning", "line_ignored", {"reason": f"there is no port {port!r} to write to"})


class _LineOutlet:
    """Writes lines. Waits while the reader is slow: what is not read must not pile up here."""

    def __init__(self, stdout: int, *, telemetry: bool) -> None:
        self._stdout = stdout
        self._telemetry = telemetry

    def emit(self, payload: bytes, origin: Provenance | None) -> None:
        self._write(DATA, payload)

    def decline(self, code: str, text: str) -> None:
        self._write(DECLINE, decline(code, text))

    def forward_marker(self, marker: str) -> None:
        self._write(MARKER, encode_json(marker))

    def emit_telemetry(self, event: dict[str, Any], origin: Provenance | None) -> None:
        if self._telemetry:
            self._write("telemetry", encode_json(event))

    def respond(self, message: dict[str, Any]) -> None:
        self._write("ctrl_out", encode_json(message))

    def ask(self, payload: bytes, origin: Provenance | None) -> None:
        self._write("tool_req", payload)

    def end_output(self) -> None:
        """Nothing: stdout ends with the process."""

    def end_rest(self) -> None:
        """Nothing: they are on stdout, too."""

    def _write(self, port: str, payload: bytes) -> None:
        write_out(write_line(port, payload), self._stdout)


def write_out(text: bytes, stdout: int = _STDOUT) -> None:
    """Write all of it.

    Raises:
        OutputClosed: there is nobody to read it, or no room for it.
    """
    left = memoryview(text)
    while left:
        try:
            left = left[os.write(stdout, left) :]
        except BlockingIOError:  # somebody who shares the descriptor made it non-blocking
            select.select([], [stdout], [])
        except BrokenPipeError:
            raise OutputClosed("nobody reads the output any more") from None
        except OSError as error:
            raise OutputClosed(f"cannot write the output: {error.strerror}") from None
