# pyright: strict
"""What users write with Pydantic AI."""

from pathlib import Path
from typing import assert_type

from pydantic_ai import Agent

from fabric import PlumbingModelError
from fabric.provider import PlumbingModel


async def main() -> None:
    """The page's example of two turns."""
    async with PlumbingModel(Path("doctor.plumb"), pass_history=False, search_path=["modules"]) as model:
        assert_type(model, PlumbingModel)
        agent = Agent(model)
        r1 = await agent.run("I feel anxious")
        r2 = await agent.run("Tell me more", message_history=r1.all_messages())
        assert_type(r2.output, str)
        try:
            await agent.run("And now?")
        except PlumbingModelError as error:
            assert_type(error.cause, BaseException | None)
