"""The program of main.plumb, written in Python: types are classes, and a mistake names the line here that made it.

    python compose/debate/run.py

In a notebook, a cell that ends with ``program`` or with ``program.check()`` shows the graph.
"""

from pathlib import Path

import trio
from pydantic import BaseModel

from fabric.dsl import BARRIER, F, Filter, Map, PlumbBody, Program, Python


class Question(BaseModel):
    """A question, and how often it was heard."""

    question: str
    round: int


class Speech(Question):
    """What an advocate says."""

    speech: str
    points: int


class Ruling(Question):
    """What the judge says; not ``settled``: both speak again."""

    settled: bool
    ruling: str


def build() -> Program:
    """Put it together. What it names, ``court.py``, is beside this file."""
    program = Program(directory=Path(__file__).parent)
    clerk = program.let("clerk", input=Question, output=Question, impl=Python(call="court:call_up"))
    pro = program.let("pro", input=Question, output=Speech, impl=Python(call="court:speak_for"))
    con = program.let("con", input=Question, output=Speech, impl=Python(call="court:speak_against"))
    judge = program.let("judge", input=tuple[Speech, Speech], output=Ruling, impl=Python(call="court:rule"))
    body = PlumbBody("question", "ruling")
    body.wire("question" >> Map(question=F.value, round=0) >> clerk >> (pro * con) >> BARRIER >> judge)
    body.wire(judge, Filter(F.settled).project("ruling"), "ruling")
    body.wire(judge, Filter(~F.settled), Map(F.question, F.round), clerk)
    program.let("main", input=str, output=str, impl=body)
    return program


async def main() -> None:
    """Have three questions ruled on."""
    program = build()
    async with await program.run(verbose=False) as pipeline:
        for question in ("Should tea be served cold?", "Is a bridge better than a tunnel?"):
            print(*await pipeline.call(question))  # all that comes of this message, and of no other
    picture = program._repr_svg_() or ""
    print("picture:", picture.partition("<desc>")[2].partition("</desc>")[0])


if __name__ == "__main__":
    trio.run(main)
