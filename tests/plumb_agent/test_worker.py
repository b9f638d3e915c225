"""The worker over the transport in memory: real frames, no sockets, no clock."""

from itertools import count
from typing import Any

import msgspec
import pytest
import trio

from fabric.errors import ConfigError
from fabric.transport.memory import MemoryTransport
from fabric.wire.codec import decode, encode
from fabric.wire.control import AGENT_FEATURES, ready
from fabric.wire.frame import Data, Eof, Frame, Marker, Provenance
from fabric.wire.payload import JSON, STRING
from fabric.wire.spec import WorkerSpec
from plumb_agent.logs import Logger
from plumb_agent.worker import open_ports, run_worker

PORTS = ("input", "output", "ctrl_in", "ctrl_out", "telemetry")
TRACE, SPAN = b"T" * 16, b"S" * 8

READY = ready(*AGENT_FEATURES, incarnation=1)
"""The first number that a worker draws who has somewhere to announce itself is its process's."""


READY = ready(*AGENT_FEATURES, incarnation=0)


class Fabric:
    """The other side of a worker's ports."""

    def __init__(self, *names: str) -> None:
        self.transport = MemoryTransport()
        self.names = names
        self.writers = {n: self.transport.sender(n, bind=True) for n in names if n in ("input", "ctrl_in")}
        self.readers = {n: self.transport.receiver(n, bind=False) for n in names if n not in self.writers}
        self.errors: list[bytes] = []

    def send(self, port: str, *frames: Frame) -> None:
        for frame in frames:
            self.writers[port].send_nowait(encode(frame))

    async def receive(self, port: str, number: int) -> list[Frame]:
        frames: list[Frame] = []
        while len(frames) < number:
            frames += map(decode, await self.readers[port].receive())
        return frames

    async def run(self, spec: WorkerSpec) -> int:
        ids = count()  # the first is the number of the process
        ports = open_ports(self.transport, {name: name for name in self.names})
        return await run_worker(
            spec,
            ports,
            logger=Logger(self.errors.append),
            clock=lambda: 0.0,
            new_id=lambda length: next(ids).to_bytes(length, "big"),
        )


def bot(**config: Any) -> WorkerSpec:
    return WorkerSpec("bot", "agent", STRING, STRING, {"provider": "eliza", "model": "doctor", **config})


def data(text: str, seq: int = 1) -> Data:
    return Data("client", text.encode(), Provenance(TRACE, SPAN, seq, b"", 1))


def bare(text: str) -> Data:
    return Data("client", text.encode())


async def test_an_input_its_marker_and_the_end_go_through_in_order():
    """The output has the input's trace, the input as its parent, a span of its own, and the sampling flag."""
    fabric = Fabric("input", "output")
    fabric.send("input", data('"My hat"'), Marker("", "ack/1"), data('"Yes"', 2), Marker("", "ack/2"), Eof(""))
    assert await fabric.run(bot()) == 0
    span = [(number).to_bytes(8, "big") for number in range(10)]
    assert await fabric.receive("output", 5) == [
        Data("bot", b'"YOUR HAT"', Provenance(TRACE, span[1], 1, SPAN, 1)),
        Marker("bot", "ack/1"),
        Data("bot", b'"YOU SEEM QUITE POSITIVE"', Provenance(TRACE, span[2], 2, SPAN, 1)),
        Marker("bot", "ack/2"),
        Eof("bot"),
    ]


async def test_a_bare_input_is_accepted():
    """Its output begins a trace, and has no parents."""
    fabric = Fabric("input", "output")
    fabric.send("input", bare('"Yes"'), Eof(""))
    assert await fabric.run(bot()) == 0
    (frame, _) = await fabric.receive("output", 2)
    assert frame == Data(
        "bot",
        b'"YOU SEEM QUITE POSITIVE"',
        Provenance((1).to_bytes(16, "big"), (2).to_bytes(8, "big"), 1),
    )


async def test_ready_comes_first_and_every_open_port_gets_the_markers_and_its_end():
    """Control answers and telemetry are bare and traced; both end after the control channel did."""
    fabric = Fabric(*PORTS)
    fabric.send("input", data('"Yes"'), Marker("", "ack/1"), Eof(""))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fabric.run, bot())
        assert (await fabric.receive("output", 3))[1:] == [Marker("bot", "ack/1"), Eof("bot")]
        fabric.send("ctrl_in", bare('{"get_memory":true}'), Data("", b'{"stop":true}'), Eof(""))
        control = await fabric.receive("ctrl_out", 4)
    memory = (
        b'{"kind":"memory","messages":[{"role":"user","content":"\\"Yes\\""},'
        b'{"role":"assistant","content":"\\"YOU SEEM QUITE POSITIVE\\""}],"pinned":[]}'
    )
    assert control == [Data("bot", READY), Marker("bot", "ack/1"), Data("bot", memory), Eof("bot")]
    telemetry = await fabric.receive("telemetry", 5)
    payloads = [frame.payload for frame in telemetry if isinstance(frame, Data)]
    assert [payload.split(b'"')[3] for payload in payloads] == [b"config", b"usage", b"output"]
    assert telemetry[3:] == [Marker("bot", "ack/1"), Eof("bot")]
    provenances = [frame.provenance for frame in telemetry if isinstance(frame, Data) and frame.provenance]
    assert [(p.seq, p.parents) for p in provenances] == [(1, b""), (2, SPAN), (3, SPAN)]
    assert {p.trace_id for p in provenances[1:]} == {TRACE}


async def test_control_is_taken_traced_or_bare_and_a_pause_holds_inputs():
    """The acknowledgement is on the way before the next input is looked at."""
    fabric = Fabric(*PORTS)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fabric.run, bot())
        fabric.send("ctrl_in", data('{"pause":true}'))
        assert await fabric.receive("ctrl_out", 2) == [Data("bot", READY), Data("bot", b'{"kind":"pause_ack"}')]
        fabric.send("input", data('"Yes"'), Eof(""))
        fabric.send("ctrl_in", bare('{"set_memory":[{"role":"user","content":"Yes"}]}'), bare('{"resume":true}'))
        acknowledged = await fabric.receive("ctrl_out", 2)
        assert acknowledged[1] == Data("bot", b'{"kind":"resume_ack"}')
        (output, end) = await fabric.receive("output", 2)
        assert (output.payload, end) == (b'"YOU ARE SURE"', Eof("bot"))
        fabric.send("ctrl_in", Eof(""))


async def test_a_marker_on_ctrl_in_comes_back_on_ctrl_out():
    """And nowhere else."""
    fabric = Fabric(*PORTS)
    fabric.send("ctrl_in", Marker("", "loop"), Eof(""))
    fabric.send("input", Eof(""))
    assert await fabric.run(bot()) == 0
    assert await fabric.receive("ctrl_out", 3) == [Data("bot", READY), Marker("bot", "loop"), Eof("bot")]
    assert await fabric.receive("output", 1) == [Eof("bot")]


async def test_max_messages_ends_the_worker_while_its_input_is_open():
    """Output, end, status 0."""
    fabric = Fabric("input", "output")
    fabric.send("input", data('"Yes"'), data('"Yes"', 2))
    assert await fabric.run(bot(max_messages=1)) == 0
    assert [type(frame) for frame in await fabric.receive("output", 2)] == [Data, Eof]


async def test_a_reply_that_never_fits_ends_the_worker_with_status_1(tmp_path):
    """An error line tells why; the output has no end, so nobody takes this for one."""
    (tmp_path / "r.jsonl").write_text('{"text":"x"}\n{"text":"y"}\n', encoding="utf-8")
    config = {"provider": "scripted", "model": "scripted", "script": "./r.jsonl", "max_retries": 1}
    fabric = Fabric("input", "output")
    fabric.send("input", data('"a"'), Marker("", "ack/1"), Eof(""))
    assert await fabric.run(WorkerSpec("bot", "agent", STRING, JSON, config, directory=str(tmp_path))) == 1
    (line,) = fabric.errors
    assert b'"code":"retries_exhausted"' in line
    fabric.readers["output"].close()


async def test_a_malformed_frame_ends_the_worker():
    """What it lost is delivered again to its successor."""
    fabric = Fabric("input", "output")
    fabric.writers["input"].send_nowait(b"\x00")
    assert await fabric.run(bot()) == 1
    assert b'"code":"wire_protocol"' in fabric.errors[0]


async def test_a_wrong_configuration_is_raised_before_anything_is_written():
    """The caller turns it into status 2."""
    with pytest.raises(ConfigError, match="max_tokens"):
        await Fabric("input", "output").run(bot(max_tokens=0))


def test_input_and_output_are_needed():
    """The message names the variable."""
    with pytest.raises(ConfigError, match="PLUMB_ENDPOINT_OUTPUT"):
        open_ports(MemoryTransport(), {"input": "a"})


async def test_it_announces_itself_again_when_it_is_asked():
    """With the number of its process, whoever asks."""
    fabric = Fabric("input", "output", "ctrl_in", "ctrl_out")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fabric.run, bot())
        fabric.send("ctrl_in", bare('{"announce":false}'), bare('{"announce":true}'))
        assert await fabric.receive("ctrl_out", 2) == [Data("bot", READY), Data("bot", READY)]
        fabric.send("input", Eof(""))
        fabric.send("ctrl_in", Eof(""))
        assert await fabric.receive("ctrl_out", 1) == [Eof("bot")]


async def test_it_fails_when_it_is_asked_behind_the_end_of_its_output():
    """Nobody is left who would end its ctrl_in; another process is needed."""
    fabric = Fabric("input", "output", "ctrl_in", "ctrl_out")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fabric.run, bot())
        fabric.send("input", Eof(""))
        assert await fabric.receive("output", 1) == [Eof("bot")]
        fabric.send("ctrl_in", bare('{"announce":true}'))
    assert b"left_over" in fabric.errors[-1]


async def test_what_comes_before_the_first_probe_was_meant_for_another_process():
    """Of a worker whose connections begin with one: it has not that one's memory."""
    fabric = Fabric("input", "output")
    fabric.send("input", data('"My hat"'), Marker("", "ack/1"), Marker("", "probe/bot/1"), Eof(""))
    assert await fabric.run(msgspec.structs.replace(bot(), fenced=True)) == 0
    assert await fabric.receive("output", 2) == [Marker("bot", "probe/bot/1"), Eof("bot")]
