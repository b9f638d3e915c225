"""The shortest use from Python: check a program, call it, get its answers.

python compose/hello/run.py
"""

from pathlib import Path

import fabric
from fabric.types import input_type, output_type

PROGRAM = Path(__file__).parent / "main.plumb"

checked = fabric.check(PROGRAM)  # starts nothing; raises fabric.CheckError, with line and column, if it does not check
print(f"{checked.main} takes {input_type(checked).__name__} and gives {output_type(checked).__name__}")

for message in ("I feel sad today", "My mother hates me"):
    answers = fabric.call_sync(PROGRAM, message)  # a list: a message may bring any number of them
    print(*answers)
