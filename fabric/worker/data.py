"""The data side of a worker: messages in, answers out."""

from __future__ import annotations

__all__ = ["FAST_CALLS", "run_data"]

import inspect
import os
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any

import trio

from fabric.builtin_tools import Refused
from fabric.errors import FabricError, ValueRejected
from fabric.transport.ports import Receiver, Sender
from fabric.wire.absent import encode_object
from fabric.wire.calls import decline
from fabric.wire.codec import (
    BATCH_BYTES_MAX,
    BATCH_START,
    BatchWriter,
    Question,
    begins_connection,
    decode,
    encode,
    is_batch,
    payload_of,
    read_question,
    read_questions,
    split,
)
from fabric.wire.frame import Data, Decline, Eof, Marker
from fabric.wire.payload import UNIT, resolve, validator
from fabric.wire.spec import WorkerSpec
from fabric.worker.context import NO_MESSAGE, MessageFailed, Work, at_work
from fabric.worker.control import Control
from fabric.worker.failure import FunctionFailed
from fabric.worker.function import Function, to_plain
from fabric.worker.function_calls import FunctionCalls


async def run_data(
    spec: WorkerSpec,
    function: Function,
    source: Receiver,
    sink: Sender,
    control: Control,
    *,
    telemetry: Sender | None = None,
    clock: Callable[[], float] = time.perf_counter,
    span: int | None = None,
    calls: FunctionCalls | None = None,
) -> None:
    """Answer messages until their end, or until told to stop; end the output.

    Args:
        spec: of the worker.
        function: what answers.
        source: its data_in.
        sink: its data_out.
        control: what is asked of it meanwhile.
        telemetry: its telemetry, if it has that port. Who opened it ends it.
        clock: seconds; by what calls take it tells which answers may wait for one another.
        span: the span id of its first answer, as an integer; ``None``: by chance.
        calls: tells of calls of the function, if anybody wants that. Each message is read by itself then.

    Raises:
        FunctionFailed: the function raised, gave up, or gave what is not of the output type.
        RemoteProtocolError: what came is no frame.
    """
    pauses = trio.lowlevel.ParkingLot()
    reading = trio.CancelScope()
    token = trio.lowlevel.current_trio_token()

    def changed() -> None:
        pauses.unpark_all()
        if control.stopping:
            reading.cancel()

    def changed_soon() -> None:
        with suppress(trio.RunFinishedError):  # everything was answered: there is nothing to pause or to stop
            token.run_sync_soon(changed)

    control.changed = changed_soon
    first_span = int.from_bytes(os.urandom(8)) if span is None else span
    caller = _Caller(spec, function, sink, _Remarks(spec.name, telemetry, control, first_span), clock, first_span)
    with at_work(caller.work):
        joined = not spec.fenced
        try:
            while not control.stopping:
                frames: list[bytes] = []
                reading = trio.CancelScope()
                with reading:
                    frames = await source.receive()
                for raw in frames:
                    joined = joined or begins_connection(raw)
                    if not joined:  # it was meant for a process that is gone
                        continue
                    rest = BATCH_START
                    if is_batch(raw) and calls is None:
                        rest = await caller.answer_batch(raw, control)
                    for part in split(raw, rest):
                        while control.paused and not control.stopping:
                            caller.flush()
                            await pauses.park()
                        match decode(part):
                            case Data() as message:
                                if control.stopping:
                                    break  # it is left behind; the coordinator counts it, for its marker never returns
                                if calls is not None:
                                    calls.begun(message)
                                unfinished = caller.answer(read_question(part))
                                if unfinished is not None:
                                    await unfinished
                                if calls is not None:
                                    calls.over(caller.take_refusal())
                            case Marker():
                                caller.return_marker(payload_of(part))
                            case Eof():
                                control.stopping = True
                caller.flush()
        except FunctionFailed as error:
            if calls is not None:
                calls.over(str(error))
            caller.flush()  # what was answered before it
            with suppress(FunctionFailed):  # that was printed, and the first one counts
                await caller.close()
            raise
        await caller.close()
        sink.send_nowait(encode(Eof(spec.name)))
        control.output_ended = True


FAST_CALL_S = 500e-6
"""A function that takes longer is not worth a batch."""

FAST_CALLS = 4
"""So many calls in a row have to be fast before answers wait for one another; a slow one delays those before it."""

SLOW_CALL_S = 0.02
"""What no fast function takes, even where the system lets others have their turn meanwhile."""

FAST_CALLS_PER_SLOW_S = 500_000
"""So many it takes after a call that was slow, for each second of it: what is slow at times delays others once only."""


@lru_cache(maxsize=256)
def _comes_later(kind: type) -> bool:
    """Say whether a result of this class is no output itself: what is awaited for it, or what gives some in turn.

    An iterator is as good as a generator: who says ``-> Iterator[T]`` may return ``map(...)``.
    """
    return issubclass(kind, Awaitable | Iterator | AsyncIterator)


class _Remarks:
    """Sends telemetry, and markers behind it.

    Args:
        name: of the worker.
        port: where to; ``None``: there is none.
        control: forwards markers on ctrl_out if they have to go on every port.
        span: as for the answers, which have others.
    """

    def __init__(self, name: str, port: Sender | None, control: Control, span: int) -> None:
        self._port = port
        self._name = name
        self._control = control
        self._outbox = BatchWriter(name, span ^ 1 << 63)

    @property
    def wanted(self) -> bool:
        """Whether there is a port for them."""
        return self._port is not None

    def report(self, question: Question, payload: bytes) -> None:
        """Send a remark about a message."""
        self._outbox.answer(question, payload)
        raw = self._outbox.take()
        assert raw is not None
        assert self._port is not None
        self._port.send_nowait(raw)

    def return_marker(self, marker: bytes) -> None:
        """Forward a marker's payload, behind the remarks before it."""
        assert self._port is not None
        frame = Marker(self._name, marker[1:].decode())
        self._port.send_nowait(encode(frame))
        if self._control.marks_all:
            self._control.forward(frame.id)


class _Caller:
    """Calls the function and sends what comes of it.

    Attributes:
        work: what it is at.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        function: Function,
        sink: Sender,
        remarks: _Remarks,
        clock: Callable[[], float],
        span: int,
    ) -> None:
        self._spec = spec
        self._clock = clock
        self._function = function.call
        self._read = function.read
        self._close = function.close
        self._remarks = remarks
        self._remarks_wanted = remarks.wanted
        self.work = Work(self._report if remarks.wanted else None)
        self._sink = sink
        self._outbox = BatchWriter(spec.name, span)
        self._output = validator(spec.output)
        self._gives_unit = resolve(spec.output) == UNIT
        self._fast_calls = -FAST_CALLS
        self._refusal: str | None = None

    def flush(self) -> None:
        """Send what there is."""
        raw = self._outbox.take()
        if raw is not None:
            self._sink.send_nowait(raw)

    def _report(self, question: Question, payload: bytes) -> None:
        self.flush()  # on one stream what is said behind an answer belongs to the next message
        self._remarks.report(question, payload)

    def return_marker(self, marker: bytes) -> None:
        """Send a marker's payload back, with the answers before it; not yet if the next answer will come at once."""
        if self._remarks_wanted:
            self._remarks.return_marker(marker)
        self._outbox.write(marker)
        if self._fast_calls < 0 or self._outbox.full:
            self.flush()

    async def answer_batch(self, batch: bytes, control: Control) -> int:
        """Answer the messages of a batch until something else is in it or asked for; return the offset of the rest."""
        behind = BATCH_START
        for question in read_questions(batch):
            if control.paused or control.stopping:
                break
            unfinished = self.answer(question)
            if unfinished is not None:
                await unfinished
            self.return_marker(question.marker)
            behind = question.behind
        return behind

    def answer(self, question: Question) -> Awaitable[None] | None:
        """Answer a message; return what is still to be awaited, if anything."""
        if self._spec.part_of:
            return self._answer_call(question)
        return self._answer(question)

    async def _answer_call(self, question: Question) -> None:
        """Answer a message of a call: a failure is the call's."""
        try:
            unfinished = self._answer(question)
            if unfinished is not None:
                await unfinished
        except (FunctionFailed, Refused) as error:
            self._refusal = str(error)
            self._outbox.write(payload_of(encode(Decline("", decline(error.code, self._refusal)))))

    def take_refusal(self) -> str | None:
        """Return why the last message was declined, if it was."""
        refusal, self._refusal = self._refusal, None
        return refusal

    def _answer(self, question: Question) -> Awaitable[None] | None:
        started_s = self._clock()
        self.work.question = question
        try:
            value = self._read(question.payload)  # it was validated where it came from
        except ValueRejected as error:
            raise self._misfit("was given", error, question) from None
        try:
            result = self._function(value)
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # the user's function may raise anything
            raise self._failed(error, question) from error
        kind: Any = type(result)
        if _comes_later(kind):
            return self._finish(result, question)
        if result is not None or self._gives_unit:
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
            if isinstance(result, Iterator):
                for value in result:
                    self._send(value, question)
                    self.flush()
            elif isinstance(result, AsyncIterator):
                async for value in result:
                    self._send(value, question)
                    self.flush()
            elif result is not None or self._gives_unit:
                self._send(result, question)
        except (Refused, MessageFailed) as error:
            raise self._failed(error, question) from error
        except FabricError:  # ours
            raise
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # as above
            raise self._failed(error, question) from error

    async def close(self) -> None:
        """Let the function give up what it holds. Raises FunctionFailed: it could not, and was printed."""
        self.work.question = NO_MESSAGE
        try:
            closing = self._close()
            if inspect.isawaitable(closing):
                await closing
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # as above
            raise self._failed(error, NO_MESSAGE, "close()") from error

    def _failed(self, error: BaseException, question: Question, where: str = "") -> FunctionFailed:
        if isinstance(error, Refused | MessageFailed):  # it says itself what is wrong, and is no mistake of a program
            return FunctionFailed(str(error), question.span_id, error.code)
        traceback.print_exception(error)
        called = " ".join(filter(None, (self._spec.config["call"], where)))
        raised = f"{called} raised {type(error).__name__}: {error}{_hint(error)}"
        return FunctionFailed(f"worker '{self._spec.name}': {raised}", question.span_id)

    def _misfit(self, how: str, error: ValueRejected, question: Question) -> FunctionFailed:
        text = f"worker '{self._spec.name}': {self._spec.config['call']} {how}: {error}"
        return FunctionFailed(text, question.span_id)

    def _send(self, value: Any, question: Question) -> None:
        try:
            payload = self._encode(value)
        except ValueRejected as error:
            raise self._misfit("returned", error, question) from None
        except (TypeError, ValueError, RecursionError) as error:
            said = f"{self._spec.config['call']} returned what JSON cannot say: {error}"
            raise FunctionFailed(f"worker '{self._spec.name}': {said}", question.span_id) from None
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # a model's serializers are the user's
            raise self._failed(error, question) from error
        if self._outbox.size_bytes + len(payload) > BATCH_BYTES_MAX:
            self.flush()  # a frame has a limit, and a large answer is not to wait for a small one
        self._outbox.answer(question, payload)

    def _encode(self, value: Any) -> bytes:
        try:
            return encode_object(self._output, value, value)
        except TypeError:  # a model of pydantic is somewhere in it, perhaps
            return encode_object(self._output, to_plain(value), value)


def _hint(error: BaseException) -> str:
    """Say what to do about asyncio under trio."""
    text = str(error)
    asks_for_loop = isinstance(error, RuntimeError) and (
        "no running event loop" in text or "current event loop" in text
    )
    if asks_for_loop or (isinstance(error, TypeError) and "unrecognized yield message" in text):
        return (
            " (this is asyncio, and async functions of a worker run under trio: use trio.sleep and the like, or make it"
            " a plain function that calls asyncio.run())"
        )
    return ""
