"""Approve what an agent wants to do: a function is asked for every call of a tool that has effects.

python compose/clerk/run.py
"""

import shutil
import tempfile
from pathlib import Path

import fabric

FOLDER = Path(__file__).parent


def approve(call: fabric.Approval) -> bool:
    """Let it write notes, and nothing else. It may be ``async``, or ask a person: the program waits."""
    allowed = call.tool == "Fs.write" and "notes/remembered.txt" in call.arguments
    print(f"{call.worker} wants {call.tool}: {'granted' if allowed else 'denied'}")
    return allowed


with tempfile.TemporaryDirectory() as folder:  # a copy, for the clerk really writes
    program = Path(shutil.copytree(FOLDER, folder, dirs_exist_ok=True)) / "main.plumb"
    print(*fabric.call_sync(program, "remember the door", approve=approve))
    print("written:", (Path(folder) / "notes" / "remembered.txt").read_text().strip())
    try:
        fabric.call_sync(program, "remember the window")  # nobody is asked: it is refused, and that is an error
    except fabric.PipelineError as error:
        print("exit code:", error.returncode)
