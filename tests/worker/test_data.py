"""The data side in memory: what a function says of its message, and what becomes of it."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, cast

import msgspec
import pydantic
import pytest
import trio
import trio.testing

from fabric.errors import FabricError
from fabric.transport.memory import MemoryTransport
from fabric.transport.ports import Receiver, Sender
from fabric.wire.codec import BatchWriter, Question, decode, encode, payload_of, split
from fabric.wire.frame import Data, Decline, Eof, Frame, Marker, Provenance
from fabric.wire.payload import INT, JSON, Type
from fabric.wire.spec import WorkerSpec
from fabric.worker import Message, fail, log, message, telemetry
from fabric.worker.control import Control, run_control
from fabric.worker.data import FAST_CALLS, run_data
from fabric.worker.failure import FunctionFailed
from fabric.worker.function import Function, make_function

TRACE = bytes(range(16))


class Colour(enum.Enum):
    RED = "red"


class Ran:
    """What a worker sent, by port."""

    def __init__(self) -> None:
        self.frames: dict[str, list[Frame]] = {}
        self.error: FabricError | None = None

    def values(self, port: str = "output") -> list[Any]:
        return [json.loads(frame.payload) for frame in self.frames[port] if isinstance(frame, Data)]


async def ran(
    function: Callable[[Any], Any] | Function,
    values: list[Any],
    *,
    input_: Type = JSON,
    output: Type = JSON,
    part_of: str = "",
    with_telemetry: bool = True,
) -> Ran:
    """Answer these messages, traced, each with a marker behind it."""
    transport = MemoryTransport()
    spec = WorkerSpec("f", "python", input_, output, config={"call": "mine:f"}, part_of=part_of)
    made = function if isinstance(function, Function) else make_function(function, spec)
    data_in, ctrl_in = (transport.sender(port, bind=True) for port in ("input", "ctrl_in"))
    for number, value in enumerate(values, 1):
        origin = Provenance(TRACE, number.to_bytes(8), number)
        data_in.send_nowait(encode(Data("main", json.dumps(value).encode(), origin)))
        data_in.send_nowait(encode(Marker("fabric", f"ack/f/1/{number}")))
    data_in.send_nowait(encode(Eof("fabric")))
    names = ("output", "ctrl_out", "telemetry") if with_telemetry else ("output", "ctrl_out")
    senders = {port: transport.sender(port, bind=True) for port in names}
    control = Control(marks_all=with_telemetry)
    found = Ran()
    async with trio.open_nursery() as nursery:
        receiver = transport.receiver("ctrl_in", bind=False)
        nursery.start_soon(run_control, receiver, senders["ctrl_out"], "f", control)
        await trio.testing.wait_all_tasks_blocked()
        source = transport.receiver("input", bind=False)
        try:
            await run_data(spec, made, source, senders["output"], control, telemetry=senders.get("telemetry"))
        except FunctionFailed as error:
            found.error = error
        ctrl_in.send_nowait(encode(Eof("fabric")))
    found.frames = {port: [] for port in names}

    async def read(port: str) -> None:
        receiver = transport.receiver(port, bind=False)
        while True:
            found.frames[port] += [decode(part) for raw in await receiver.receive() for part in split(raw)]

    async with trio.open_nursery() as nursery:
        for port in names:
            nursery.start_soon(read, port)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return found


async def test_a_function_may_know_which_message_it_is_at():
    """Trace and span, also in what it awaits and in threads that it starts."""

    async def f(value):
        in_thread = await trio.to_thread.run_sync(message)
        assert in_thread == message()
        return [message().trace_id, message().span_id]

    done = await ran(f, [1, 2])
    assert done.values() == [[TRACE.hex(), f"{number:016x}"] for number in (1, 2)]


async def test_two_workers_of_one_process_are_at_messages_of_their_own():
    """Each task has its own."""
    meet = trio.Event()

    async def first(value):
        await meet.wait()
        return message().span_id

    async def second(value):
        meet.set()
        return message().span_id

    found = {}

    async def run(name, function, values):
        found[name] = (await ran(function, values)).values()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, "first", first, [1])
        nursery.start_soon(run, "second", second, [1, 2, 3])
    assert found["first"] == [f"{1:016x}"]
    assert found["second"] == [f"{number:016x}" for number in (1, 2, 3)]


async def test_telemetry_belongs_to_its_message():
    """It has its trace, it as its parent, a number of its own, and its marker behind it on every port."""

    def f(value):
        for number in range(value):
            telemetry("step", number=number)
        return value

    done = await ran(f, [1, 0, 2])
    sent = done.frames["telemetry"]
    assert done.values("telemetry") == [{"kind": "step", "number": number} for number in (0, 0, 1)]
    origins = [frame.provenance for frame in sent if isinstance(frame, Data)]
    assert [(origin.trace_id, origin.seq, origin.parents[-1]) for origin in origins] == [
        (TRACE, 1, 1),
        (TRACE, 2, 3),
        (TRACE, 3, 3),
    ]
    ids = [f"ack/f/1/{number}" for number in (1, 2, 3)]
    assert [frame.id if isinstance(frame, Marker) else "-" for frame in sent] == ["-", ids[0], ids[1], "-", "-", ids[2]]
    for port in ("output", "ctrl_out"):
        assert [frame.id for frame in done.frames[port] if isinstance(frame, Marker)] == ids
    spans = [f.provenance.span_id for port in ("output", "telemetry") for f in done.frames[port] if isinstance(f, Data)]
    assert len(set(spans)) == 6
    assert isinstance(done.frames["ctrl_out"][-1], Eof)


async def test_without_the_port_telemetry_is_a_line_for_debugging(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """Only if somebody debugs."""

    def f(value):
        telemetry("step", number=value)
        return value

    assert (await ran(f, [1], with_telemetry=False)).values() == [1]
    assert capfd.readouterr().err == ""
    monkeypatch.setenv("PIPELINE_DEBUG", "1")
    assert (await ran(f, [1], with_telemetry=False)).values() == [1]
    assert json.loads(capfd.readouterr().err) == {
        "log": "debug",
        "event": "telemetry",
        "kind": "step",
        "number": 1,
        "trace": TRACE.hex(),
    }


async def test_telemetry_from_another_thread_is_refused_and_from_it_through_trio_is_not():
    """The sockets are of one thread."""

    async def f(value):
        with pytest.raises(RuntimeError, match="from_thread"):
            await trio.to_thread.run_sync(telemetry, "step")
        await trio.to_thread.run_sync(trio.from_thread.run_sync, telemetry, "step")
        return value

    done = await ran(f, [1])
    assert (done.values(), done.values("telemetry")) == ([1], [{"kind": "step"}])


async def test_a_log_line_says_of_which_trace_it_is(capfd: pytest.CaptureFixture[str]):
    """As JSON, on stderr."""

    def f(value):
        log("seen", "warning", value=value)
        return value

    assert (await ran(f, [1])).values() == [1]
    assert json.loads(capfd.readouterr().err) == {
        "log": "warning",
        "event": "seen",
        "value": 1,
        "trace": TRACE.hex(),
    }


@dataclasses.dataclass
class Seen:
    value: int


class SeenStruct(msgspec.Struct):
    value: int


class SeenModel(pydantic.BaseModel):
    value: int


class Batches:
    """A source of all at once, and a sink that counts."""

    def __init__(self, values: list[Any]) -> None:
        self.sent: list[bytes] = []
        self._writer = BatchWriter("main", 0)
        for number, value in enumerate(values, 1):
            self._writer.answer(Question(b"\0" + TRACE, number.to_bytes(8), b""), json.dumps(value).encode())
            self._writer.write(payload_of(encode(Marker("fabric", f"ack/f/1/{number}"))))

    async def receive(self) -> list[bytes]:
        batch = self._writer.take()
        return [batch if batch is not None else encode(Eof("fabric"))]

    def send_nowait(self, raw: bytes) -> None:
        self.sent.append(raw)


@pytest.mark.parametrize(
    "made",
    [
        lambda value: {"value": value},
        Seen,
        lambda value: SeenStruct(value),
        lambda value: SeenModel(value=value),
        lambda value: (value, value),
        lambda value: Colour.RED,
        lambda value: None,
    ],
    ids=["dict", "dataclass", "struct", "model", "tuple", "enum", "nothing"],
)
async def test_answers_of_any_kind_leave_together(made: Callable[[int], Any]):
    """Those of a fast function: one frame for many, whatever its results are made of."""
    port = Batches(list(range(20)))
    spec = WorkerSpec("f", "python", JSON, JSON, config={"call": "mine:f"})
    source, sink = cast("Receiver", port), cast("Sender", port)
    await run_data(spec, Function(made), source, sink, Control(), clock=lambda: 0.0)
    assert len(port.sent) <= FAST_CALLS + 2
    assert len([part for raw in port.sent for part in split(raw) if isinstance(decode(part), Marker)]) == 20


class Ticks:
    """An async iterator that is no generator."""

    def __init__(self, count: int) -> None:
        self.left = count

    def __aiter__(self) -> Ticks:
        return self

    async def __anext__(self) -> int:
        await trio.lowlevel.checkpoint()
        if not self.left:
            raise StopAsyncIteration
        self.left -= 1
        return self.left


async def later(value: int) -> Iterator[int]:
    return iter(range(value))


@pytest.mark.parametrize("f", [lambda n: iter(range(n)), lambda n: map(int, range(n)), later])
async def test_an_iterator_gives_its_items(f: Callable[[int], Any]):
    """As a generator does; of an async function, too."""
    assert (await ran(f, [2, 0, 1])).values() == [0, 1, 0]


async def test_an_async_iterator_gives_its_items():
    """As an async generator does."""
    assert (await ran(Ticks, [2, 0, 1])).values() == [1, 0, 0]


class Sour(pydantic.BaseModel):
    value: int

    def model_dump(self, **options: Any) -> dict[str, Any]:
        raise KeyError("no")


async def test_a_result_that_fails_to_be_written_is_the_functions_failure(capfd: pytest.CaptureFixture[str]):
    """How a model writes itself is the user's."""
    done = await ran(lambda value: Sour(value=value), [1])
    assert str(done.error) == "worker 'f': mine:f raised KeyError: 'no'"
    assert "in model_dump" in capfd.readouterr().err


@pytest.mark.parametrize("kind", ["plain", "async", "generator"])
async def test_a_message_that_is_given_up_ends_the_worker_with_its_span(kind: str, capfd: pytest.CaptureFixture[str]):
    """What was answered before it is sent; no traceback: it is no mistake."""

    def plain(value):
        return value if value != 2 else fail("no twos")

    async def later(value):
        return plain(value)

    def generator(value):
        yield plain(value)

    done = await ran({"plain": plain, "async": later, "generator": generator}[kind], [1, 2, 3])
    assert done.values() == [1]
    assert isinstance(done.error, FunctionFailed)
    assert (str(done.error), done.error.code, done.error.span_id) == ("no twos", "message_failed", (2).to_bytes(8))
    assert capfd.readouterr().err == ""


def test_who_asks_something_of_a_worker_at_its_end_is_not_hurt():
    """The control side has a loop of its own, and may be asked to stop while the data side has just ended."""
    control = Control()
    spec = WorkerSpec("f", "python", JSON, JSON, config={"call": "mine:f"})
    port = Batches([1])
    trio.run(run_data, spec, Function(lambda value: value), port, port, control)
    control.changed()
    assert isinstance(decode(port.sent[-1]), Eof)


async def test_in_a_tool_it_is_declined_and_the_next_one_is_answered():
    """The call gets the reason."""
    done = await ran(lambda value: value if value != 2 else fail("no twos"), [1, 2, 3], part_of="words")
    (declined,) = [frame for frame in done.frames["output"] if isinstance(frame, Decline)]
    assert (done.values(), done.error) == ([1, 3], None)
    assert json.loads(declined.payload) == {"error": "no twos", "code": "message_failed"}


class Counter:
    """Counts, and says at its end how far it came."""

    ends: ClassVar[list[int]] = []

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, value: int) -> int:
        self.count += value
        return self.count

    async def close(self) -> None:
        assert message() == Message()
        await trio.lowlevel.checkpoint()
        self.ends.append(self.count)


async def test_a_class_has_one_instance_and_is_closed():
    """Before the end of the output."""
    Counter.ends.clear()
    done = await ran(Counter, [1, 2, 3], input_=INT, output=INT)
    assert (done.values(), Counter.ends) == ([1, 3, 6], [6])


async def test_it_is_closed_behind_a_failure_too():
    """What it holds is not to be left behind."""
    Counter.ends.clear()
    done = await ran(Counter, [1, "x"])
    assert isinstance(done.error, FunctionFailed)
    assert (done.values(), Counter.ends) == ([1], [1])


async def test_a_close_that_fails_is_the_functions_failure(capfd: pytest.CaptureFixture[str]):
    """Everything was answered."""

    def close():
        raise ValueError("stuck")

    done = await ran(Function(lambda value: value, close=close), [1])
    assert (done.values(), str(done.error)) == ([1], "worker 'f': mine:f close() raised ValueError: stuck")
    assert "ValueError: stuck" in capfd.readouterr().err


@pytest.mark.parametrize("seconds", [0, 0.01])
async def test_asyncio_under_trio_is_told_as_what_it_is(seconds: float, capfd: pytest.CaptureFixture[str]):
    """Whether it asks for its loop, or yields to it."""
    import asyncio

    async def f(value):
        await asyncio.sleep(seconds)

    done = await ran(f, [1])
    assert "this is asyncio, and async functions of a worker run under trio" in str(done.error)
    assert "Traceback" in capfd.readouterr().err


async def test_what_the_annotation_refuses_is_the_messages_failure():
    """With its span: it is not tried again."""

    def f(value: int) -> int:
        return value

    done = await ran(f, [1, "x"])
    assert isinstance(done.error, FunctionFailed)
    assert str(done.error) == "worker 'f': mine:f was given: expected int, got string \"x\""
    assert done.error.span_id == (2).to_bytes(8)
