"""The program of words.plumb, written in Python: its types are classes, and every mistake has a line of Python."""

from pathlib import Path

from pydantic import BaseModel

from fabric.dsl import F, Filter, PlumbBody, Program, Python


class Count(BaseModel):
    """A message."""

    word: str
    seen: int


def build() -> Program:
    """Put it together."""
    program = Program(directory=Path(__file__).parent)
    program.let("split", input=str, output=str, impl=Python(call="words:split"))
    program.let("tally", input=str, output=Count, impl=Python(call="words:tally", state=True))
    body = PlumbBody("sentence", "count")
    body.wire("sentence", "split", "tally", Filter(F.seen > 1), "count")
    program.let("main", input=str, output=Count, impl=body)
    return program


if __name__ == "__main__":
    print(build().render())
    print(build().call_sync("the rain and the sun and the wind"))
