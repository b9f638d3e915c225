"""A program as the model of an agent of Pydantic AI: the program keeps the conversation, and keeps it short.

pip install 'plumb-fabric[pydantic-ai]'
python compose/memory/run.py
"""

import asyncio
from pathlib import Path

from pydantic_ai import Agent

from fabric.provider import PlumbingModel

PROGRAM = Path(__file__).parent / "main.plumb"


async def main() -> None:
    """Two turns. The history is for the agent's books: the program remembers by itself."""
    async with PlumbingModel(PROGRAM) as model:
        agent = Agent(model)
        first = await agent.run("my brother laughs at me all day")
        print(first.output)
        second = await agent.run("perhaps I should give up", message_history=first.all_messages())
        print(second.output)


asyncio.run(main())
