"""The worker behind ``python { call: "package.module:function" }``.

The function is called with each message as plain Python values (dict, list, str, int, float, bool, None) and

* returns one value, which is the output, or ``None`` for no output (a ``unit`` output type takes the ``None``); or
* yields any number of outputs, as a generator or an async generator; or
* is ``async`` and does either, under trio.

A function that is not async runs inline: while it works nothing else of the data side does. Control has a thread and
sockets of its own, so a busy function does not keep it from being acknowledged.

One that works for a tool does not fail when its function does: it *declines* the message, and the caller is told. What
a builtin tool does is in ``fabric.builtin_tools``.

The module is looked for beside the program's file first, then where Python looks, the working directory included.
"""

from __future__ import annotations

__all__ = ["Control", "load_function", "main", "run_control", "run_data"]

import importlib
import inspect
import os
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from fabric.builtin_tools import Refused, builtin
from fabric.errors import ConfigError, FabricError, ValueRejected, sole
from fabric.transport.liveness import die_with_parent
from fabric.transport.ports import Receiver, Sender, fail_on_stranger
from fabric.transport.sockets import SOCKETS_OF_A_WORKER_MAX, open_sockets
from fabric.wire.calls import decline
from fabric.wire.codec import (
    BATCH_BYTES_MAX,
    BATCH_START,
    BatchWriter,
    Question,
    decode,
    encode,
    is_batch,
    payload_of,
    read_question,
    read_questions,
    split,
)
from fabric.wire.control import BATCHES, NUMBERED, ready
from fabric.wire.frame import Data, Decline, Eof, Marker
from fabric.wire.payload import UNIT, decode_json, encode_json, resolve, validator
from fabric.wire.spec import ENDPOINT_VARIABLES, PARENT_FD_VARIABLE, SPEC_FD_VARIABLE, WorkerSpec, decode_spec


class FunctionFailed(FabricError):
    """The user's function raised, or returned what its output type does not admit.

    Attributes:
        span_id: of the message that it was given; empty if that had none.
    """

    code = "python_error"

    def __init__(self, message: str, span_id: bytes = b"") -> None:
        super().__init__(message)
        self.span_id = span_id


def load_function(spec: WorkerSpec) -> Callable[[Any], Any]:
    """Import the function that a spec names.

    Raises:
        ConfigError: there is no such module or function, or importing it failed.
    """
    if "builtin" in spec.config:
        return builtin(spec.config)
    name = spec.config["call"]
    module_name, _, path = name.partition(":")
    sys.path[:0] = [spec.directory, os.getcwd()]
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise ConfigError(
                f"worker '{spec.name}': there is no module {error.name!r} for call: \"{name}\"; looked beside the"
                f" program in {spec.directory}, in {os.getcwd()} and where Python is installed"
            ) from None
        raise ConfigError(f"worker '{spec.name}': importing {module_name!r} failed: {error}") from error
    except Exception as error:
        traceback.print_exc()
        raise ConfigError(
            f"worker '{spec.name}': importing {module_name!r} failed: {type(error).__name__}: {error}"
        ) from error
    for part in path.split("."):
        found = getattr(found, part, None)
        if found is None:
            raise ConfigError(f"worker '{spec.name}': module {module_name!r} has no {path!r}")
    if not callable(found):
        raise ConfigError(f"worker '{spec.name}': {name!r} is a {type(found).__name__}, not a function")
    function: Callable[[Any], Any] = found
    return function


class Control:
    """What the control side tells the data side. Set from one thread, read from another."""

    def __init__(self) -> None:
        self.paused = False
        self.stopping = False
        self.changed: Callable[[], None] = lambda: None


async def run_control(ctrl_in: Receiver, ctrl_out: Sender, name: str, control: Control) -> None:
    """Announce the worker; obey and acknowledge control messages until their end; end ctrl_out."""

    def say(message: dict[str, Any]) -> None:
        ctrl_out.send_nowait(encode(Data(name, encode_json(message))))

    ctrl_out.send_nowait(encode(Data(name, ready(BATCHES, NUMBERED))))
    while True:
        for raw in await ctrl_in.receive():
            match decode(raw):
                case Data(_, payload):
                    _obey(decode_json(payload), control, say)
                case Marker(_, marker):
                    ctrl_out.send_nowait(encode(Marker(name, marker)))
                case Eof():
                    control.paused = False  # nobody could end the pause any more
                    control.changed()
                    ctrl_out.send_nowait(encode(Eof(name)))
                    return


def _obey(message: Any, control: Control, say: Callable[[dict[str, Any]], None]) -> None:
    if not isinstance(message, dict):
        return
    if message.get("pause") is True:
        control.paused = True
        say({"kind": "pause_ack"})
    if message.get("resume") is True:
        control.paused = False
        say({"kind": "resume_ack"})
    if message.get("stop") is True:
        control.stopping = True
    control.changed()


async def run_data(
    spec: WorkerSpec,
    function: Callable[[Any], Any],
    source: Receiver,
    sink: Sender,
    control: Control,
    *,
    clock: Callable[[], float] = time.perf_counter,
    span: int | None = None,
) -> None:
    """Answer messages until their end, or until told to stop; end the output.

    Args:
        spec: of the worker.
        function: what answers.
        source: its data_in.
        sink: its data_out.
        control: what is asked of it meanwhile.
        clock: seconds; by what calls take it tells which answers may wait for one another.
        span: the span id of its first answer, as an integer; ``None``: by chance.

    Raises:
        FunctionFailed: the function raised, or gave what is not of the output type.
        RemoteProtocolError: what came is no frame.
    """
    pauses = trio.lowlevel.ParkingLot()
    reading = trio.CancelScope()
    token = trio.lowlevel.current_trio_token()

    def changed() -> None:
        pauses.unpark_all()
        if control.stopping:
            reading.cancel()

    control.changed = lambda: token.run_sync_soon(changed)
    answer = _Answer(spec, function, sink, clock, int.from_bytes(os.urandom(8)) if span is None else span)
    try:
        while not control.stopping:
            frames: list[bytes] = []
            reading = trio.CancelScope()
            with reading:
                frames = await source.receive()
            for raw in frames:
                rest = BATCH_START
                if is_batch(raw):
                    rest = await answer.to_all(raw, control)
                for part in split(raw, rest):
                    while control.paused and not control.stopping:
                        answer.flush()
                        await pauses.park()
                    match decode(part):
                        case Data():
                            if control.stopping:
                                break  # it is left behind; the coordinator counts it, for its marker never returns
                            unfinished = answer.to(read_question(part))
                            if unfinished is not None:
                                await unfinished
                        case Marker():
                            answer.return_marker(payload_of(part))
                        case Eof():
                            control.stopping = True
            answer.flush()
    except FunctionFailed:
        answer.flush()  # what was answered before it
        raise
    sink.send_nowait(encode(Eof(spec.name)))


FAST_CALL_S = 500e-6
"""A function that takes longer is not worth a batch."""

FAST_CALLS = 4
"""So many calls in a row have to be fast before answers wait for one another; a slow one delays those before it."""

SLOW_CALL_S = 0.02
"""What no fast function takes, even where the system lets others have their turn meanwhile."""

FAST_CALLS_PER_SLOW_S = 500_000
"""So many it takes after a call that was slow, for each second of it: what is slow at times delays others once only."""


_VALUES = frozenset({dict, list, str, int, float, bool})


class _Answer:
    """Calls the function and sends what comes of it."""

    def __init__(
        self, spec: WorkerSpec, function: Callable[[Any], Any], sink: Sender, clock: Callable[[], float], span: int
    ) -> None:
        self._spec = spec
        self._clock = clock
        self._function = function
        self._sink = sink
        self._outbox = BatchWriter(spec.name, span)
        self._output = validator(spec.output)
        self._gives_unit = resolve(spec.output) == UNIT
        self._fast_calls = -FAST_CALLS

    def flush(self) -> None:
        """Send what there is."""
        raw = self._outbox.take()
        if raw is not None:
            self._sink.send_nowait(raw)

    def return_marker(self, marker: bytes) -> None:
        """Send a marker's payload back, with the answers before it; not yet if the next answer will come at once."""
        self._outbox.write(marker)
        if self._fast_calls < 0 or self._outbox.full:
            self.flush()

    async def to_all(self, batch: bytes, control: Control) -> int:
        """Answer the messages of a batch until something else is in it or asked for; return the offset of the rest."""
        behind = BATCH_START
        for question in read_questions(batch):
            if control.paused or control.stopping:
                break
            unfinished = self.to(question)
            if unfinished is not None:
                await unfinished
            self.return_marker(question.marker)
            behind = question.behind
        return behind

    def to(self, question: Question) -> Awaitable[None] | None:
        """Answer a message; return what is still to be awaited, if anything."""
        if self._spec.part_of:
            return self._to_call(question)
        return self._to(question)

    async def _to_call(self, question: Question) -> None:
        """Answer a message of a call: a failure is the call's."""
        try:
            unfinished = self._to(question)
            if unfinished is not None:
                await unfinished
        except (FunctionFailed, Refused) as error:
            self._outbox.write(payload_of(encode(Decline("", decline(error.code, str(error))))))

    def _to(self, question: Question) -> Awaitable[None] | None:
        started_s = self._clock()
        try:
            result = self._function(decode_json(question.payload))  # it was validated where it came from
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # the user's function may raise anything
            raise self._failed(error, question) from error
        if type(result) not in _VALUES:
            return self._finish(result, question)
        self._send(result, question)
        took_s = self._clock() - started_s
        if took_s < FAST_CALL_S:
            self._fast_calls += 1
        else:
            self._fast_calls = min(self._fast_calls, -FAST_CALLS)
            if took_s >= SLOW_CALL_S:
                self._fast_calls -= int(took_s * FAST_CALLS_PER_SLOW_S)
        return None

    async def _finish(self, result: Any, question: Question) -> None:
        """Send what an async function or a generator gives, as it gives it; or nothing."""
        self._fast_calls = min(self._fast_calls, -FAST_CALLS)
        try:
            self.flush()  # this may take long
            if inspect.isawaitable(result):
                result = await result
            if inspect.isgenerator(result):
                for value in result:
                    self._send(value, question)
                    self.flush()
            elif inspect.isasyncgen(result):
                async for value in result:
                    self._send(value, question)
                    self.flush()
            elif result is not None or self._gives_unit:
                self._send(result, question)
        except FabricError:
            raise
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # as above
            raise self._failed(error, question) from error

    def _failed(self, error: BaseException, question: Question) -> FunctionFailed:
        if isinstance(error, Refused):  # it says itself what is wrong, and is no mistake of a program
            return FunctionFailed(str(error), question.span_id)
        traceback.print_exception(error)
        hint = ""
        if isinstance(error, RuntimeError) and "no running event loop" in str(error):
            hint = ". Async functions run under trio: use trio.sleep and the like, or a plain function"
        raised = f"{self._spec.config['call']} raised {type(error).__name__}: {error}{hint}"
        return FunctionFailed(f"worker '{self._spec.name}': {raised}", question.span_id)

    def _send(self, value: Any, question: Question) -> None:
        call = self._spec.config["call"]
        try:
            payload = self._output.encode(value)
        except ValueRejected as error:
            raise FunctionFailed(f"worker '{self._spec.name}': {call} returned: {error}", question.span_id) from None
        except (TypeError, ValueError, RecursionError) as error:
            text = f"worker '{self._spec.name}': {call} returned what JSON cannot say: {error}"
            raise FunctionFailed(text, question.span_id) from None
        if self._outbox.size_bytes + len(payload) > BATCH_BYTES_MAX:
            self.flush()  # a frame has a limit, and a large answer is not to wait for a small one
        self._outbox.answer(question, payload)


async def _serve_control(endpoints: dict[str, str], name: str, control: Control) -> None:
    async with open_sockets(linger_ms=-1, sockets_max=SOCKETS_OF_A_WORKER_MAX) as transport:
        ctrl_in = transport.receiver(endpoints["ctrl_in"], bind=False)
        ctrl_out = transport.sender(endpoints["ctrl_out"], bind=True, watch=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail_on_stranger, ctrl_out, name, "ctrl_out")
            await run_control(ctrl_in, ctrl_out, name, control)
            nursery.cancel_scope.cancel()


def _control_thread(endpoints: dict[str, str], name: str, control: Control) -> None:
    """Serve control; without it the worker cannot be ended in order, so a failure here is the worker's."""
    try:
        trio.run(_serve_control, endpoints, name, control)
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - the last place of this thread
        found = sole(error)
        if not isinstance(found, FabricError):
            traceback.print_exc()
            found = FunctionFailed(f"worker '{name}': control failed: {found}")
        os._exit(_fail(found))


async def _serve(spec: WorkerSpec, function: Callable[[Any], Any], endpoints: dict[str, str]) -> None:
    control = Control()
    thread = threading.Thread(target=_control_thread, args=(endpoints, spec.name, control), name="control", daemon=True)
    async with open_sockets(linger_ms=-1, sockets_max=SOCKETS_OF_A_WORKER_MAX) as transport:
        source = transport.receiver(endpoints["input"], bind=False)
        sink = transport.sender(endpoints["output"], bind=True, watch=True)
        thread.start()  # it announces us: only now, when the data sockets are open
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail_on_stranger, sink, spec.name, "data_out")
            try:
                await run_data(spec, function, source, sink, control)
            except FunctionFailed as error:
                failure: FunctionFailed | None = error
            else:
                failure = None
                # Its end proves that the end of our output has arrived.
                await trio.to_thread.run_sync(thread.join, abandon_on_cancel=True)
            nursery.cancel_scope.cancel()
    if failure is not None:  # only now: what was answered before has arrived
        raise failure


def main() -> int:
    """Run the worker that the environment describes; return its exit status."""
    environment = os.environ
    try:
        die_with_parent(int(environment[PARENT_FD_VARIABLE]))
        with open(int(environment[SPEC_FD_VARIABLE]), "rb") as file:
            spec = decode_spec(file.read())
        endpoints = {port: environment[name] for port, name in ENDPOINT_VARIABLES.items() if name in environment}
    except KeyError as error:
        return _fail(ConfigError(f"{error.args[0]} is not set: this program is started by a fabric"))
    try:
        trio.run(_serve, spec, load_function(spec), endpoints)
    except (FabricError, BaseExceptionGroup) as raised:
        found = sole(raised)
        if not isinstance(found, FabricError):
            raise
        return _fail(found)
    return 0


def _fail(error: FabricError) -> int:
    said = {"error": str(error), "code": error.code}
    if isinstance(error, FunctionFailed) and error.span_id:
        said["span"] = error.span_id.hex()  # which of the messages that the worker has is to blame
    sys.stderr.write(encode_json(said).decode() + "\n")
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
