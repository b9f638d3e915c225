"""Mistakes that a checker has to find: each line that says so, and no other."""

from typing import Any

import fabric as pb
from fabric.dsl import Agent, F, Filter, PlumbBody, PortRef, Program
from fabric.provider import PlumbingModel
from fabric.types import map_type

pb.check(3)  # mistake
print(pb.check("a.plumb").binding)  # mistake
pb.check("a.plumb").bindings[0].name + 1  # mistake
pb.call_sync("a.plumb")  # mistake
pb.call_sync("a.plumb", "a", auto_aprove=True)  # mistake
pb.chekc("a.plumb")  # mistake
print(pb.CheckError.nothing)  # mistake
map_type("string")  # mistake
Program().let("main", input=str, impl=Agent())  # mistake
Program().let("main", input=str, output=str, impl=3)  # mistake
print(Filter("a").nothing)  # mistake
PlumbBody("a", 1)  # mistake
PortRef()  # mistake
F.a >> 3  # mistake
PlumbingModel()  # mistake
PlumbingModel("a.plumb", True, pass_histori=True)  # mistake


async def main() -> None:
    pipeline = pb.run("a.plumb")
    pipeline.recv()  # mistake
    async with pb.run("a.plumb") as unawaited:  # mistake
        print(unawaited)
    async with await pb.run("a.plumb") as running:
        await running.send()  # mistake
        await running.shutdown("soon")  # mistake
        event = await running.recv_event()
        print(event.data)  # mistake
        found: int = await running.call("a")  # mistake
        anything: Any = await running.recv()
        print(found, anything)
