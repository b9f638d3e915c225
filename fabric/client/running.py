"""The last frame of a session in the engine: whatever becomes of its work, its callers are told how it ended."""

from __future__ import annotations

__all__ = ["run_to_end"]

from collections.abc import Awaitable, Callable

import trio

from fabric.client.exchange import Ending, Exchange
from fabric.errors import sole


async def run_to_end(
    exchange: Exchange,
    work: Callable[[], Awaitable[Ending]],
    ending_of: Callable[[BaseException], Ending],
    cut_off: Ending,
) -> None:
    """Do a session's work, and end its exchange. Raises nothing but ``trio.Cancelled``.

    Args:
        exchange: where its callers are.
        work: all of it; nothing of it is left when it returns.
        ending_of: what an error of it means for those who wait.
        cut_off: how it has ended if the engine ends before it.
    """
    ending = cut_off
    try:
        ending = await work()
    except BaseExceptionGroup as group:
        cancelled, failure = group.split(trio.Cancelled)
        if failure is not None:
            ending = ending_of(sole(failure))
        if cancelled is not None:  # the engine ends
            raise cancelled from None
    except Exception as error:  # noqa: BLE001 - whoever waits for it is told
        ending = ending_of(error)
    finally:
        exchange.end(ending)
