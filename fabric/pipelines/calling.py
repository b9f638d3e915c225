"""A run from whatever calls it: a plain thread, or a thread in which trio or asyncio runs already.

The run itself is always a trio program. In a plain thread it runs there. Otherwise a thread of ours has it, and what
belongs to the caller (hooks, functions that the run waits for) is handed back to the caller's thread.
"""

from __future__ import annotations

__all__ = ["Caller", "Inline", "loop_here", "run_beside_asyncio", "run_here"]

import asyncio
import contextlib
import contextvars
import queue
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

import trio

T = TypeVar("T")


class Caller(Protocol):
    """Whoever called for the run."""

    async def call(self, function: Callable[[], Any]) -> Any:
        """Call a function in the caller's thread, and wait for it."""
        ...


Main: TypeAlias = Callable[[Caller], Awaitable[T]]


class Inline:
    """The caller's thread is the one of the loop."""

    async def call(self, function: Callable[[], Any]) -> Any:
        """Call a function; the loop waits meanwhile."""
        return function()


def loop_here() -> Literal["trio", "asyncio"] | None:
    """Return the loop that runs in this thread; ``None``: there is none."""
    if trio.lowlevel.in_trio_run():
        return "trio"
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return None
    return "asyncio"


def run_here(main: Main[T]) -> T:
    """Run it, and return what it gives. Whatever else runs in this thread waits meanwhile.

    Ctrl-C ends the run, as does what a function of the user's raises to end the process.
    """
    if loop_here() is None:
        try:
            return trio.run(main, Inline())
        except BaseExceptionGroup as group:
            raise _innermost(group) from None
    calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
    beside = _Beside(main, calls.put, lambda: calls.put(None))
    beside.start()
    interrupted: KeyboardInterrupt | None = None
    while True:
        try:
            call = calls.get()
            if call is None:
                break
            call()
        except KeyboardInterrupt as interrupt:
            interrupted = interrupt
            beside.cancel()
    if interrupted is not None:
        raise interrupted
    return beside.result()


async def run_beside_asyncio(main: Main[T]) -> T:
    """Run it, and return what it gives. To be called in asyncio; cancelled, it ends the run and waits for its end."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    beside = _Beside(main, loop.call_soon_threadsafe, lambda: loop.call_soon_threadsafe(ended.set))
    beside.start()
    cancelled: asyncio.CancelledError | None = None
    while not ended.is_set():
        try:
            await ended.wait()
        except asyncio.CancelledError as error:
            cancelled = error
            beside.cancel()
    if cancelled is not None:
        raise cancelled
    return beside.result()


class _Beside(Generic[T]):
    """A run in a thread of ours.

    Args:
        main: the run.
        post: hands the caller's thread something to call.
        ended: is called when the run has ended, in our thread.
    """

    def __init__(
        self, main: Main[T], post: Callable[[Callable[[], None]], object], ended: Callable[[], object]
    ) -> None:
        self._main = main
        self._post = post
        self._ended = ended
        self._cancelled = False
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope = trio.CancelScope()
        self._result: Future[T | None] = Future()

    def start(self) -> None:
        """Begin."""
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._run,), name="fabric-pipeline", daemon=True).start()

    def cancel(self) -> None:
        """End the run soon. Nobody asks for its result then."""
        self._cancelled = True  # before there is a token, the run sees this
        if self._token is not None:
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._scope.cancel)

    def result(self) -> T:
        """Return or raise what came of it, once it has ended."""
        result: Any = self._result.result(timeout=0)
        return result  # type: ignore[no-any-return]

    async def call(self, function: Callable[[], Any]) -> Any:
        """Call a function in the caller's thread, and wait for its end, also if the run is cancelled."""
        token, ended = trio.lowlevel.current_trio_token(), trio.Event()
        result: Future[Any] = Future()

        def perform() -> None:
            try:
                _settle(result, function)
            finally:
                token.run_sync_soon(ended.set)

        self._post(perform)
        with trio.CancelScope(shield=True):
            await ended.wait()
        if not result.done():
            raise KeyboardInterrupt  # it came before the function was called, or behind it
        return result.result(timeout=0)

    def _run(self) -> None:
        try:
            _settle(self._result, lambda: trio.run(self._guarded))
        finally:
            self._ended()

    async def _guarded(self) -> T | None:
        self._token = trio.lowlevel.current_trio_token()
        if self._cancelled:
            self._scope.cancel()
        with self._scope:
            return await self._main(self)
        return None


def _settle(result: Future[Any], function: Callable[[], Any]) -> None:
    try:
        result.set_result(function())
    except BaseExceptionGroup as group:
        result.set_exception(_innermost(group))
    except BaseException as error:  # noqa: BLE001 - it goes to whoever asks for the result
        result.set_exception(error)


def _innermost(error: BaseException) -> BaseException:
    """Return what a group is about: nurseries wrap what their tasks raise."""
    while isinstance(error, BaseExceptionGroup):
        groups = error.exceptions
        error = next((each for each in groups if not isinstance(each, Exception)), groups[0])
    return error
