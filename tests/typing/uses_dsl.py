# pyright: strict
"""What users write with the DSL: the page's examples, and what the page has in tables."""

from dataclasses import dataclass
from typing import Any, assert_type

from pydantic import BaseModel

import fabric as pb
from fabric.dsl import (
    COPY,
    ID,
    Agent,
    Bare,
    Copy,
    Discard,
    Expr,
    F,
    Filter,
    Id,
    ListType,
    Map,
    Merge,
    PlumbBody,
    PortRef,
    ProductType,
    Program,
    Raw,
    Record,
    StreamType,
    SumType,
    Tool,
)


class Verdict(BaseModel):
    """As the page has it."""

    verdict: bool
    commentary: str
    draft: str


@dataclass
class Draft:
    """A dataclass does as well."""

    title: str
    mark: int = 0


prog = Program()
prog.let("composer", input=str, output=str, impl=Agent(model="claude-haiku-4-5", thinking_budget=1024))
prog.let("checker", input=str, output=Verdict, impl=Agent(model="claude-haiku-4-5", thinking_budget=1024))

body = PlumbBody("input", "output")
body.wire("input", "composer", "checker")
body.wire("checker", Filter(F.verdict == True).project("draft"), "output")  # noqa: E712
body.raw("checker ; discard")

prog.let("main", input=str, output=str, impl=body)

source = prog.render()
assert_type(source, str)
assert_type(prog.check(), pb.CheckResult)
assert_type(prog.call_sync("hello"), list[Any])

prog.let("words", input=list[str], output=Draft | None, impl=Map(title=F.title, mark=F.mark + 1))
prog.let("any", input=dict, output=None, impl=Discard())
prog.let("record", input=Record([("f", str)]), output=SumType([Verdict, Draft]), impl=Id())
prog.let("pairs", input=ProductType([int, str]), output=StreamType(ListType(float)), impl=Raw("id"))
prog.let("tool_binding", input=Bare(str), output=Bare(int), impl=Tool(process="count"))
prog.let("chain", input=int, output=int, impl=ID >> Copy() >> (COPY * Id()) >> Merge())
body.wire(PortRef("composer", "ctrl_out"), "composer")
assert_type((F.a > 0) & (F.b < 10), Expr)


async def main() -> None:
    """As the page has it."""
    async with await prog.run() as pipeline:
        await pipeline.send("hello")
        print(await pipeline.recv())
    assert_type(await prog.call("hello"), list[Any])
