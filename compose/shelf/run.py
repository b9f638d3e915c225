"""Send and receive, with messages that are classes: a customer at the shelf.

python compose/shelf/run.py
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fabric

PROGRAM = Path(__file__).parent / "main.plumb"


@dataclass(frozen=True)
class Store:
    """An order: it becomes the message ``{"store": …, "what": …}``."""

    store: str
    what: Any


@dataclass(frozen=True)
class Fetch:
    """An order."""

    fetch: str


async def main() -> None:
    """One order after the other. What is not of the input's type is refused, and the program goes on."""
    async with await fabric.run(PROGRAM, verbose=False) as pipeline:
        for order in (Store("tea", {"grams": 50}), Fetch("tea"), Fetch("milk")):
            await pipeline.send(order)
            print(await pipeline.recv())
        try:
            await pipeline.send({"steal": "tea"})
        except fabric.PipelineError as error:
            print("refused:", error.code)
        await pipeline.send({"close": True})
        print(await pipeline.recv())
        print("exit code:", await pipeline.shutdown())


asyncio.run(main())
