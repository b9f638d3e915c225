"""Many calls at once, under asyncio: each is a session of its own, and leaves nothing behind it.

python compose/review/run.py
"""

import asyncio
from pathlib import Path

import fabric

PROGRAM = Path(__file__).parent / "main.plumb"
TOPICS = ["tea", "the new bridge", "rain"]


async def main() -> None:
    """Call the program on every topic; the answers are in the order of the topics."""
    published = await asyncio.gather(*(fabric.call(PROGRAM, topic) for topic in TOPICS))
    for topic, lines in zip(TOPICS, published, strict=True):
        print(f"{topic}: {' '.join(lines)}")


asyncio.run(main())
