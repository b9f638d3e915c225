"""One program that runs, and all that comes of it in the order in which it comes: outputs and telemetry.

python compose/essay/run.py
"""

import asyncio
from collections import Counter
from pathlib import Path

import fabric

PROGRAM = Path(__file__).parent / "main.plumb"


async def main() -> None:
    """Send two tasks, and read until the program has finished them."""
    tokens: Counter[str] = Counter()
    async with await fabric.run(PROGRAM) as pipeline:
        for task in ("the bridge", "tea"):
            await pipeline.send(task)  # waits while the program has more than it can take
        await pipeline.close_input()  # else it would wait for more, and so would we
        async for event in pipeline:
            match event:
                case fabric.Output(data=essay):
                    print("essay:", essay)
                case fabric.Telemetry(agent=agent, payload={"kind": "usage", "completion_tokens": int(count)}):
                    tokens[agent] += count
    print("tokens:", ", ".join(f"{agent} {count}" for agent, count in sorted(tokens.items())))


asyncio.run(main())
