"""Wait for the end of a program, whatever happens meanwhile."""

from __future__ import annotations

__all__ = ["wait_gone", "wait_gone_sync"]

import anyio

from fabric.client.exchange import Exchange


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
