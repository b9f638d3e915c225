"""The worker on ZeroMQ sockets, or on any other transport that has the same ports."""

from __future__ import annotations

__all__ = ["WorkerPorts", "open_ports", "run_worker", "serve"]

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec
import trio

from fabric.errors import ConfigError, FabricError, LeftOver
from fabric.tracing.exporter import open_exporter
from fabric.transport.given import key_for, say_once
from fabric.transport.ports import Receiver, Sender, Transport, fail_on_stranger
from fabric.wire.calls import SETTLE, decline, parse_request
from fabric.wire.codec import begins_connection, decode, encode
from fabric.wire.control import AGENT_FEATURES, INCARNATION_BYTES, LEFT_OVER, ready, wants_announcement
from fabric.wire.frame import Data, Decline, Eof, Marker, Provenance
from fabric.wire.payload import encode_json
from fabric.wire.spec import INPUT_PORTS, OUTPUT_PORTS, WorkerKey, WorkerSpec
from plumb_agent.asking import read_response
from plumb_agent.config import read_config
from plumb_agent.conversation import Conversation
from plumb_agent.driver import Driver, drive
from plumb_agent.events import ControlArrived, ControlEnded, InputArrived, InputEnded, MarkerArrived, ToolsEnded
from plumb_agent.logs import Logger, stderr_logger
from plumb_agent.model_calls import ModelCalls, Tell
from plumb_agent.providers import Provider, open_provider
from plumb_agent.toolbox import McpTool


class WorkerPorts(msgspec.Struct, frozen=True):
    """The open ports of a worker. Those that the graph does not use are ``None``."""

    input: Receiver
    output: Sender
    ctrl_in: Receiver | None = None
    ctrl_out: Sender | None = None
    telemetry: Sender | None = None
    tool_req: Sender | None = None
    tool_resp: Receiver | None = None


def open_ports(transport: Transport, endpoints: Mapping[str, str], key: WorkerKey | None = None) -> WorkerPorts:
    """Connect the ports that a worker reads and bind those that it writes; the transport closes them.

    Args:
        transport: opens and owns the ports.
        endpoints: by port name; ``input`` and ``output`` have to be there.
        key: that opens them, if they need one.

    Raises:
        ConfigError: one is missing, or cannot be opened.
    """
    for port in ("input", "output"):
        if port not in endpoints:
            raise ConfigError(f"a worker on sockets needs PLUMB_ENDPOINT_{port.upper()}")
    names = [port for port in INPUT_PORTS if port in endpoints]
    readers = {port: transport.receiver(endpoints[port], bind=False, security=key) for port in names}
    names = [port for port in OUTPUT_PORTS if port in endpoints]
    writers = {port: transport.sender(endpoints[port], bind=True, watch=True, security=key) for port in names}
    return WorkerPorts(**readers, **writers)  # type: ignore[arg-type]  # each name has its own kind


async def serve(
    spec: WorkerSpec,
    endpoints: Mapping[str, str],
    logger: Logger,
    environment: Mapping[str, str],
    mcp_tools: Sequence[McpTool],
) -> int:
    """Open the sockets, run the worker on them, close them; return the exit status."""
    # It loads zmq, which a worker on stdin does not need.
    from fabric.transport.sockets import SOCKETS_OF_A_WORKER_MAX, open_sockets

    key = key_for(endpoints, spec, environment, lambda text: logger.log("warning", "key.readable", {"reason": text}))
    if key is not None:
        logger.hide([key.secret])
    warn = say_once(lambda text: logger.log("warning", "peer.refused", {"reason": text}))

    def note(event: str, fields: dict[str, object]) -> None:
        logger.log("warning", event, fields)

    exporter = open_exporter(environment, spec.name, note, **{"fabric.worker": spec.name})
    # The last end-of-channel has no other proof of arrival than the socket's own, so a good end waits for it.
    async with open_sockets(linger_ms=-1, sockets_max=SOCKETS_OF_A_WORKER_MAX, refused=warn) as transport:
        ports = open_ports(transport, endpoints, key)
        status = await run_worker(
            spec,
            ports,
            logger=logger,
            environment=environment,
            mcp_tools=mcp_tools,
            tell=None if exporter is None else exporter.tell,
            tell_content=exporter is not None and exporter.settings.content,
        )
        if status != 0:
            transport.close(0)
    if exporter is not None:
        await trio.to_thread.run_sync(exporter.close)
    return status


async def run_worker(
    spec: WorkerSpec,
    ports: WorkerPorts,
    *,
    logger: Logger | None = None,
    clock: Callable[[], float] = time.time,
    new_id: Callable[[int], bytes] = os.urandom,
    chance: random.Random | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
    mcp_tools: Sequence[McpTool] = (),
    provider: Provider | None = None,
    tell: Tell | None = None,
    tell_content: bool = False,
) -> int:
    """Run the worker on open ports until it has nothing more to do, and return its exit status.

    Announces itself on ctrl_out first. When it returns 0, all that it wrote was handed to the transport.

    Args:
        spec: of an agent.
        ports: stay open; the caller closes them.
        logger: where log and error lines go; stderr if not given.
        clock: seconds since 1970, UTC.
        new_id: makes span and trace ids of so many bytes.
        chance: draws the delays between attempts of a call; seeded by the system if not given.
        environment: where the provider's key is.
        mcp_tools: of MCP servers, beside those of the spec.
        provider: asked instead of the one that the spec names.
        tell: takes spans of calls of the model; without it there are none.
        tell_content: whether they say what was asked and answered.

    Raises:
        ConfigError: the configuration is wrong. Nothing was written.
    """
    provider = provider or open_provider(spec, environment)
    logger = logger or stderr_logger(debug=False)
    config = read_config(spec)
    conversation = Conversation(spec, config, chance or random.Random(), mcp_tools, transcript=logger.debug)
    if (spec.tools or mcp_tools or spec.metered) and (ports.tool_req is None or ports.tool_resp is None):
        names = "PLUMB_ENDPOINT_TOOL_REQ and PLUMB_ENDPOINT_TOOL_RESP"
        raise ConfigError(f"agent {spec.name!r} has tools or a budget; on sockets it needs {names} to ask for them")
    outlet = _SocketOutlet(spec.name, ports, new_id)
    outlet.announce()

    async def read_input(driver: Driver) -> None:
        joined = not spec.fenced
        while True:
            for raw in await ports.input.receive():
                joined = joined or begins_connection(raw)
                if not joined:  # it was meant for a process that is gone, whose memory we do not have
                    continue
                await driver.wait_wanted()
                match decode(raw):
                    case Data(_, payload, provenance):
                        driver.feed(InputArrived(payload, provenance))
                    case Marker(_, marker):
                        driver.feed(MarkerArrived(marker))
                    case Eof():
                        driver.feed(InputEnded())
                        return

    async def read_control(driver: Driver) -> None:
        while ports.ctrl_in is not None:
            for raw in await ports.ctrl_in.receive():
                match decode(raw):
                    case Data(_, payload):
                        if wants_announcement(payload) and driver.exit_code is None:
                            outlet.announce_again()
                            if outlet.output_ended:
                                raise LeftOver(f"agent {spec.name!r}: {LEFT_OVER}")
                        driver.feed(ControlArrived(payload))
                    case Marker(_, marker) if driver.exit_code is None:  # behind a stop ctrl_out has ended
                        outlet.return_marker(marker)
                    case Eof():
                        driver.feed(ControlEnded())
                        return
        driver.feed(ControlEnded())

    async def read_tools(driver: Driver) -> None:
        while ports.tool_resp is not None:
            for raw in await ports.tool_resp.receive():
                match decode(raw):
                    case Data(_, payload):
                        outlet.answered(payload)
                        driver.respond(payload)
                    case Eof():
                        driver.feed(ToolsEnded())
                        return

    def until_error(source: Callable[[Driver], Any]) -> Callable[[Driver], Any]:
        async def read(driver: Driver) -> None:
            try:
                await source(driver)
            except FabricError as error:
                driver.fail(error)

        return read

    def watch(sender: Sender, port: str) -> Callable[[Driver], Any]:
        return until_error(lambda _: fail_on_stranger(sender, spec.name, port))

    # Of two connections of a fenced one the other is the coordinator's, of before; he finds that out himself.
    watched = {} if spec.fenced else outlet.senders
    watches = [watch(sender, port) for port, sender in watched.items()]
    sources = [until_error(read_input), until_error(read_control), until_error(read_tools), *watches]
    calls = None if tell is None else ModelCalls(spec, provider, new_id, tell, content=tell_content)
    status = await drive(conversation, provider, sources, outlet, logger, clock, calls=calls)
    if status == 0:
        for sender in outlet.senders.values():
            await sender.wait_sent()
    return status


class _SocketOutlet:
    """Writes frames. Data and telemetry are traced, ctrl_out and tool_req are bare JSON."""

    def __init__(self, topic: str, ports: WorkerPorts, new_id: Callable[[int], bytes]) -> None:
        self._topic = topic
        self._ports = ports
        self._new_id = new_id
        self._outputs = 0
        self._events = 0
        self._incarnation = int.from_bytes(new_id(INCARNATION_BYTES))
        self._requests = 0
        self._unanswered: dict[bytes, bytes] = {}
        self.output_ended = False
        rest = {"ctrl_out": ports.ctrl_out, "telemetry": ports.telemetry, "tool_req": ports.tool_req}
        opened = {port: sender for port, sender in rest.items() if sender is not None}
        self.senders: dict[str, Sender] = {"data_out": ports.output, **opened}

    def announce(self) -> None:
        if self._ports.ctrl_out is not None:
            announcement = ready(*AGENT_FEATURES, incarnation=self._incarnation)
            self._ports.ctrl_out.send_nowait(encode(Data(self._topic, announcement)))

    def announce_again(self) -> None:
        """Somebody has come who may know nothing of us, nor of what we wait for: that was lost with who was asked."""
        self.announce()
        for frame in self._unanswered.values():
            self._send_request(frame)

    def emit(self, payload: bytes, origin: Provenance | None) -> None:
        self._outputs += 1
        self._ports.output.send_nowait(encode(Data(self._topic, payload, self._caused_by(origin, self._outputs))))

    def decline(self, code: str, text: str) -> None:
        self._ports.output.send_nowait(encode(Decline(self._topic, decline(code, text))))

    def forward_marker(self, marker: str) -> None:
        frame = encode(Marker(self._topic, marker))
        for sender in (self._ports.telemetry, self._ports.ctrl_out, self._ports.output):
            if sender is not None:
                sender.send_nowait(frame)

    def return_marker(self, marker: str) -> None:
        """Pass on a marker that came on ctrl_in: on ctrl_out, which answers to it."""
        if self._ports.ctrl_out is not None:
            self._ports.ctrl_out.send_nowait(encode(Marker(self._topic, marker)))

    def emit_telemetry(self, event: dict[str, Any], origin: Provenance | None) -> None:
        if self._ports.telemetry is not None:
            self._events += 1
            provenance = self._caused_by(origin, self._events)
            self._ports.telemetry.send_nowait(encode(Data(self._topic, encode_json(event), provenance)))

    def respond(self, message: dict[str, Any]) -> None:
        if self._ports.ctrl_out is not None:
            self._ports.ctrl_out.send_nowait(encode(Data(self._topic, encode_json(message))))

    def ask(self, payload: bytes, origin: Provenance | None) -> None:
        provenance = None
        if origin is not None:  # who does the call learns from this for which message it is
            self._requests += 1
            provenance = self._caused_by(origin, self._requests)
        frame = encode(Data(self._topic, payload, provenance))
        request = parse_request(payload)
        if request.name != SETTLE:  # that has no response
            self._unanswered[request.id] = frame
        self._send_request(frame)

    def answered(self, payload: bytes) -> None:
        """This came on tool_resp."""
        response = read_response(payload)
        if response is not None:
            self._unanswered.pop(encode_json(response.id), None)

    def _send_request(self, frame: bytes) -> None:
        if self._ports.tool_req is not None:
            self._ports.tool_req.send_nowait(frame)

    def end_output(self) -> None:
        self.output_ended = True
        self._ports.output.send_nowait(encode(Eof(self._topic)))

    def end_rest(self) -> None:
        for sender in self.senders.values():
            if sender is not self._ports.output:
                sender.send_nowait(encode(Eof(self._topic)))

    def _caused_by(self, origin: Provenance | None, seq: int) -> Provenance:
        """Return the provenance of a message that this input caused; of one that no input caused, a new trace."""
        if origin is None:
            return Provenance(self._new_id(16), self._new_id(8), seq)
        return Provenance(origin.trace_id, self._new_id(8), seq, origin.span_id, origin.flags)
