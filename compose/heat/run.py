"""Look at what agents say beside their answers: a port that nobody in the program reads is observed.

    python compose/heat/run.py

Under trio; under asyncio it is the same, but for the task group.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import trio

import fabric

PROGRAM = Path(__file__).parent / "main.plumb"


async def watch(said: AsyncIterator[tuple[str, Any]], seen: set[str]) -> None:
    """Note who says what on the port, until the program has ended."""
    async for agent, message in said:
        seen.add(f"{agent} {message['kind']}")


async def main() -> None:
    """Ask one question, and look at the telemetry meanwhile."""
    seen: set[str] = set()
    async with (
        await fabric.run(PROGRAM, verbose=False, extra=["telemetry"]) as pipeline,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(watch, pipeline.extra("telemetry"), seen)
        await pipeline.send("tea in the afternoon")
        print(await pipeline.recv())
        await pipeline.close_input()  # the program ends, and the watching with it
    print("seen:", ", ".join(sorted(seen)))


trio.run(main)
