"""Join a service that runs: any number of callers may talk to it at once, and it goes on when they leave.

python compose/hello/join.py
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import fabric

PROGRAM = Path(__file__).parent / "main.plumb"
FABRIC = [sys.executable, "-m", "fabric.cli"]  # the command `fabric` of this environment


async def ask(message: str) -> str:
    """Join, ask, leave. A service that answers several callers gives each what came of its own messages."""
    async with await fabric.connect("hello") as pipeline:
        (answer,) = await pipeline.call(message)
        return str(answer)


async def main() -> None:
    """Two callers at once."""
    answers = await asyncio.gather(ask("I feel sad today"), ask("I feel sad today"))
    print(len(answers), "answers")


with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)  # the service is known in the folder where it was started
    subprocess.run([*FABRIC, "up", "-d", "-p", "hello", "--progress", "quiet", PROGRAM], check=True)
    try:
        asyncio.run(main())
    finally:
        subprocess.run([*FABRIC, "down", "-p", "hello"], check=True, stderr=subprocess.DEVNULL)
        os.chdir("/")
