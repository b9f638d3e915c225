"""A run from whatever calls it: a plain thread, or a thread in which trio or asyncio runs already.

The run itself is a trio program in a thread of ours. What belongs to the caller (hooks, functions that have the run for
themselves) is handed back to the caller's thread, which has nothing else to do. So nothing that a user's function does
keeps requests waiting that are under way, and such a function may have a loop of its own.

``arun`` in trio is the exception: its run is a part of the caller's own loop.
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
    """The caller's thread is the one of the loop: for functions that are documented to be called in it."""

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

    Ctrl-C ends the run, as does what a function of the user's raises to end the process. A function with effects that
    is under way then is waited for.
    """
    calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
    beside = _Beside(main, calls.put, lambda: calls.put(None))
    beside.start()
    interrupted: KeyboardInterrupt | None = None
    while True:
        try:  # Ctrl-C may come anywhere in here: what has just been taken from the queue is lost then
            if interrupted is not None:
                beside.cancel()
            while not beside.over:
                call = calls.get()
                if call is not None:
                    call()
            break
        except KeyboardInterrupt as interrupt:
            interrupted = interrupt
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
        self._called: list[trio.Event] = []  # each is set when its call has ended
        self._result: Future[T | None] = Future()

    def start(self) -> None:
        """Begin."""
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._run,), name="fabric-pipeline", daemon=True).start()

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._result.done()

    def cancel(self) -> None:
        """End the run soon. Nobody asks for its result then. Called in the caller's thread, also more than once."""
        self._cancelled = True  # before there is a token, the run sees this
        if self._token is not None:
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._end)

    def result(self) -> T:
        """Return or raise what came of it, once it has ended."""
        result: Any = self._result.result(timeout=0)
        return result  # type: ignore[no-any-return]

    async def call(self, function: Callable[[], Any]) -> Any:
        """Call a function in the caller's thread, and wait for its end, also if the run is cancelled."""
        await trio.lowlevel.checkpoint_if_cancelled()
        token, ended = trio.lowlevel.current_trio_token(), trio.Event()
        result: Future[Any] = Future()

        def perform() -> None:
            if self._cancelled:
                return  # the loop does not wait for it, see _end
            try:
                _settle(result, function)
            finally:
                token.run_sync_soon(ended.set)

        self._called.append(ended)
        self._post(perform)
        with trio.CancelScope(shield=True):
            await ended.wait()
        self._called.remove(ended)
        if result.done():
            return result.result(timeout=0)
        await trio.lowlevel.checkpoint_if_cancelled()
        raise KeyboardInterrupt  # it came before the function was called, or behind it

    def _end(self) -> None:
        """Cancel the run. The caller's thread, which wanted that, is in no call; so what is waited for has ended, or is
        never going to begin."""
        self._scope.cancel()
        for ended in self._called:
            ended.set()

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
        value = function()
    except BaseExceptionGroup as group:
        result.set_exception(_innermost(group))
    except BaseException as error:  # noqa: BLE001 - it goes to whoever asks for the result
        result.set_exception(error)
    else:
        result.set_result(value)


def _innermost(error: BaseException) -> BaseException:
    """Return what a group is about: nurseries wrap what their tasks raise."""
    while isinstance(error, BaseExceptionGroup):
        groups = error.exceptions
        error = next((each for each in groups if not isinstance(each, Exception)), groups[0])
    return error
