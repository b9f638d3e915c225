"""Wait for the end of a program, whatever happens meanwhile."""

from __future__ import annotations

__all__ = ["start_and_wait", "wait_gone", "wait_gone_sync"]

from collections.abc import Callable

import anyio

from fabric.client.exchange import Exchange


async def start_and_wait(
    exchange: Exchange, look: Callable[[], object | None], start: Callable[[], object], stop: Callable[[], object]
) -> None:
    """Start a program and wait for something; interrupted, end it, and go on when nothing is left of it.

    Args:
        exchange: where it is met.
        look: see :meth:`fabric.client.bell.Bell.wait`.
        start, stop: do so soon, and wait for nothing. To stop what was not started yet keeps it from being started.
    """
    try:
        start()
        await exchange.bell.wait(look)
    except BaseException:
        stop()
        await wait_gone(exchange)
        raise


async def wait_gone(exchange: Exchange) -> None:
    """Return when nothing is left of a program that was told to end.

    asyncio's own ``task.cancel()`` knows no shields: a second one comes all the same. Whoever calls this raises the
    first.
    """
    while exchange.ending is None:
        try:
            with anyio.CancelScope(shield=True):
                await exchange.bell.wait(exchange.look_for_end)
        except (anyio.get_cancelled_exc_class(), KeyboardInterrupt):
            continue


def wait_gone_sync(exchange: Exchange) -> None:
    """Do the same in a thread: Ctrl-C once more does not help."""
    while exchange.ending is None:
        try:
            exchange.bell.wait_sync(exchange.look_for_end)
        except KeyboardInterrupt:
            continue
