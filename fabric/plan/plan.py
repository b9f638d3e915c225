"""The plan as data: what ``fabric plan`` prints and a session runs."""

from __future__ import annotations

__all__ = [
    "Address",
    "Check",
    "Component",
    "Emit",
    "Plan",
    "Resources",
    "Route",
    "Runner",
    "ServerPlan",
    "Sink",
    "Step",
    "ToolPlan",
    "Transform",
    "WorkerPlan",
    "sinks_of",
]

from collections.abc import Iterator
from typing import Literal, TypeAlias

import msgspec

from fabric.graph.ir import End, Graph
from fabric.lang.typed import Expr
from fabric.wire.payload import Type
from fabric.wire.spec import WorkerSpec


class Address(msgspec.Struct, frozen=True):
    """Where one port of a worker is: the address that its binder binds, and the one that the other side connects to."""

    bind: str
    connect: str


Runner: TypeAlias = Literal["process", "container", "external"]
"""Who starts a worker: we as a process of this host, we as a container, or somebody else."""


class Resources(msgspec.Struct, frozen=True):
    """What a container may use. ``None``: as much as there is.

    Attributes:
        memory_bytes: more ends it.
        cpus: of its host's, such as 1.5.
        pids: processes and threads.
    """

    memory_bytes: int | None = None
    cpus: float | None = None
    pids: int | None = None


class WorkerPlan(msgspec.Struct, frozen=True):
    """One worker process.

    Attributes:
        name: of the worker: its node's id, with ``#`` and a number behind it if it is one of several replicas.
        spec: what it is told; ``spec.name`` is the node's id, for that is who speaks.
        command: program and arguments.
        transport: ``zmq``, or ``stdio`` for JSON lines.
        endpoints: by port; the worker binds its output ports and connects its input ports. Empty for ``stdio``.
        pass_on: names of environment variables that it gets beyond the usual ones.
        window: messages that it may have unacknowledged at a time.
        markers: a ``stdio`` program that echoes markers.
        compat: it does not forward markers: one message at a time, at most once.
        frames: ``v2``, or ``bare`` for JSON without provenance.
        tools: names by which it may call tools, to those of the tools.
        servers: names by which it knows servers, to their keys in ``Plan.servers``.
        mcp_tools: path of the file that tells it of the tools of its servers; empty if it has none.
        calls: whether it has tool_req and tool_resp: for tools, for those of MCP servers, or to ask for its budget.
        release_early: outputs are passed on before their input is acknowledged.
        ours: started with our own module, so it reads its spec from a descriptor and can be forked.
        runner: who starts it.
        host: the name of the host that it runs on; empty: beside the coordinator.
        engine: of a container: its Docker Engine; empty: the one of this machine.
        image: of its container.
        limits: of its container.
        secured: its endpoints need keys.
        node: the id of its node; the same as the name where nothing else is said.
    """

    name: str
    spec: WorkerSpec
    command: tuple[str, ...]
    transport: Literal["zmq", "stdio"] = "zmq"
    endpoints: dict[str, Address] = {}
    pass_on: tuple[str, ...] = ()
    window: int = 1
    markers: bool = False
    compat: bool = False
    frames: Literal["v2", "bare"] = "v2"
    release_early: bool = False
    tools: dict[str, str] = {}
    servers: dict[str, str] = {}
    mcp_tools: str = ""
    calls: bool = False
    ours: bool = False
    runner: Runner = "process"
    host: str = ""
    engine: str = ""
    image: str = ""
    limits: Resources = Resources()
    secured: bool = False
    node: str = ""

    def __post_init__(self) -> None:
        if not self.node:
            msgspec.structs.force_setattr(self, "node", self.name)


# --- Routes: the way of a message from where it comes into being to where it waits --------------------------------


class Sink(msgspec.Struct, frozen=True):
    """Where a message waits, or leaves: the end of a route.

    Attributes:
        kind: ``worker`` (its queue), ``barrier`` (a slot), ``merge`` (a place that cuts a route), ``output``;
            ``monitor`` (nothing waits there, but the wire's protocol decides whether it goes on), ``result`` (what
            comes of a call).
        end: node and input port; of a ``merge`` the source of the route that goes on from there.
        feedback: it comes from inside the loop that the sink lies on.
        entry: it leads into a loop of workers from outside: messages wait before that until there is room inside.
    """

    kind: Literal["worker", "barrier", "merge", "monitor", "output", "result"]
    end: End
    feedback: bool = False
    entry: bool = False


class Emit(msgspec.Struct, frozen=True):
    """Put the message into a sink (an index into ``Plan.sinks``)."""

    sink: int


class Check(msgspec.Struct, frozen=True):
    """Validate against ``type``, then go on. In front of a filter (``drops``) what does not fit is not selected."""

    node: str
    type: Type
    drops: bool
    then: tuple[Step, ...]


class Transform(msgspec.Struct, frozen=True):
    """Apply a ``map``, ``filter`` or ``project``, then go on with its result."""

    node: str
    kind: Literal["map", "filter", "project"]
    expr: Expr | None
    select: tuple[str, ...]
    index: int | str | None
    input: Type
    output: Type
    then: tuple[Step, ...]


Step: TypeAlias = Emit | Check | Transform


def sinks_of(steps: tuple[Step, ...]) -> Iterator[int]:
    """Yield the sinks in which steps end, as indexes."""
    for step in steps:
        if isinstance(step, Emit):
            yield step.sink
        else:
            yield from sinks_of(step.then)


class Route(msgspec.Struct, frozen=True):
    """All ways of a message that comes into being at ``source``, in the order of the program. Becomes one function.

    Attributes:
        trusted: the message was validated before it got here (out of a barrier, a merge or a monitor).
    """

    source: End
    type: Type
    steps: tuple[Step, ...]
    trusted: bool = False


# --- Components: what drains as one -------------------------------------------------------------------------------


class Component(msgspec.Struct, frozen=True):
    """A strongly connected component of the graph.

    Attributes:
        nodes: ids.
        entries: how many channels come in from outside.
        exits: channels that leave, as (source end, number of the component that they enter).
        loop: whether it is one.
    """

    nodes: tuple[str, ...]
    entries: int
    exits: tuple[tuple[End, int], ...]
    loop: bool


class ToolPlan(msgspec.Struct, frozen=True):
    """A tool that somebody may call: a part of the graph that nothing else is wired to.

    Attributes:
        name: of its binding.
        call: the port where calls come in.
        gives: whether a message comes of each call. If not, its result is ``null``.
        callers: workers that may call it.
        alone: it does one call at a time: a session wire within it is one conversation.
        effects: it changes something, or reaches somebody, outside of the session.
        repeatable: it may be run twice with the same arguments: that is as if it was run once.
    """

    name: str
    call: End
    gives: bool
    callers: tuple[str, ...]
    alone: bool = False
    effects: bool = False
    repeatable: bool = False


class ServerPlan(msgspec.Struct, frozen=True):
    """An MCP server that agents call tools of: a program, or an address. Agents that declare the same one share it.

    Attributes:
        key: its name in the program, with a number behind it if another server has that name.
        name: in the program.
        command: program and arguments; empty for one that is somewhere else.
        url: where that is, over streamable HTTP.
        env: names of environment variables that it gets beyond the usual ones.
        directory: that it works in, absolute: that of the file that declares it.
        callers: agents that declare it.
        tools: names of its tools; only the server knows them, so they are empty until it runs.
        repeatable: those of them of which the server says that they change nothing, or that once more changes nothing.
    """

    key: str
    name: str
    command: tuple[str, ...] = ()
    url: str = ""
    env: tuple[str, ...] = ()
    directory: str = ""
    callers: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    repeatable: frozenset[str] = frozenset()


class Plan(msgspec.Struct, frozen=True):
    """A program, ready to run.

    Attributes:
        path: of the program's file, absolute.
        graph: the whole wiring graph.
        workers: in starting order, consumers first.
        routes: one for each boundary input, tool, worker output, barrier, loop-cutting merge, and side of a monitor.
        sinks: where routes end.
        components: in topological order: a channel never leads to an earlier one.
        inputs: the boundary's inputs: name of the port to its node.
        outputs: the boundary's outputs: node to name of the port.
        tools: by name.
        servers: by key.
        extras: outputs that the program does not have: node to the name of the ports that are observed there.
    """

    path: str
    graph: Graph
    workers: tuple[WorkerPlan, ...]
    routes: tuple[Route, ...]
    sinks: tuple[Sink, ...]
    components: tuple[Component, ...]
    inputs: dict[str, str]
    outputs: dict[str, str]
    extras: dict[str, str] = {}
    tools: dict[str, ToolPlan] = {}
    servers: dict[str, ServerPlan] = {}
