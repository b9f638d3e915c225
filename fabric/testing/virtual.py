"""A program in one process and in virtual time: an approval that expires after five minutes expires at once.

    done = run_virtual("clerk.plumb", ["delete old.txt"], models={"clerk": [Call("delete", …), "gone"]}, approve=decide)
    assert done.outputs == […]
    assert done.ended_s == 300

The session, its workers and the conversations with the models are the real ones; there are no sockets, no processes and
no network. Time passes only where everybody waits. What would do something outside of the session has a stand-in, or is
not done.
"""

from __future__ import annotations

__all__ = ["NoStandIn", "VirtualOutput", "VirtualRun", "run_virtual"]

import random
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import trio

from fabric.compiler import Library, check_program, plan_compiled, read_source
from fabric.errors import ConfigError, sole
from fabric.lang.diagnostic import check_error
from fabric.lang.source import Source
from fabric.lang.tools import EFFECTS
from fabric.plan.plan import Plan
from fabric.session.events import Approval, DeadLetter, Finish, Outcome, Refuse
from fabric.session.settings import Settings
from fabric.testing.answers import ModelRequest
from fabric.testing.endpoint import AGENT_HEADER, read_exchange
from fabric.testing.faults import Faults
from fabric.testing.models import UnscriptedRequest, answered
from fabric.testing.processes import Process
from fabric.testing.script import Script, names_of
from fabric.testing.seeded import run_seeded
from fabric.testing.simulator import Decide, Simulated, python_runner, run_function, simulate
from fabric.wire.payload import decode_json, encode_json
from fabric.wire.spec import WorkerSpec
from fabric.worker.function import make_function

_PATHS = {"anthropic": "/v1/messages", "openai": "/v1/chat/completions"}


class NoStandIn(AssertionError):
    """A builtin tool with effects was called, and no function of the test stands for it. Nothing was done."""


class VirtualOutput(msgspec.Struct, frozen=True):
    """A message that left the program.

    Attributes:
        data: plain JSON values.
        port: the boundary output that it left by.
        at_s: when, from the start.
    """

    data: Any
    port: str
    at_s: float


class VirtualRun(msgspec.Struct, frozen=True):
    """What came of a program.

    Attributes:
        outputs: what left it, in order.
        events: the same, with their ports and times.
        exit_code: what a command would have ended with.
        error: code and text of what ended it; ``None``: its input did.
        ended_s: when it had ended, from the start.
        approvals: calls that somebody had to approve, with what became of each; empty: the session ended before.
        refusals: messages that were refused.
        letters: messages that nobody could do.
        requests: of models.
        unused: which scripted lists have answers left. Nobody minds, unless a test does: ``assert done.unused == []``.
        simulated: all that the simulator knows.
    """

    outputs: list[Any]
    events: tuple[VirtualOutput, ...]
    exit_code: int
    error: tuple[str, str] | None
    ended_s: float
    approvals: tuple[tuple[Approval, Outcome | None], ...]
    refusals: tuple[Refuse, ...]
    letters: tuple[DeadLetter, ...]
    requests: tuple[ModelRequest, ...]
    unused: list[str]
    simulated: Simulated

    @property
    def finish(self) -> Finish:
        """How the session ended."""
        return self.simulated.finish


def run_virtual(
    program: str | Path | Source,
    inputs: Iterable[Any] | Mapping[str, Iterable[Any]],
    *,
    models: Any = None,
    workers: Mapping[str, Callable[[Any], Any]] | None = None,
    approve: Decide | None = None,
    faults: Faults | None = None,
    seed: int = 0,
    search_path: Iterable[str | Path] = (),
    **settings: Any,
) -> VirtualRun:
    """Run a program on these messages until it has drained. Not from within a loop.

    Args:
        program: its file, or its text with the path that what it names is relative to.
        inputs: messages, for a program with one input, or those of each input by its name.
        models: a script as of :func:`~fabric.testing.scripted_model`, for agents whose provider is in the network.
        workers: functions that stand for Python functions, tools or programs, by the worker's name. A builtin tool with
            effects does nothing without one: a call of it that is approved fails the test.
        approve: called when a call waits for approval; returns what somebody decides and when, ``None`` for nobody.
        faults: what goes wrong.
        seed: of the order in which those go on that can.
        search_path: where to look for the files that it uses, beside its own folder.
        settings: fields of :class:`fabric.session.settings.Settings`: ``approval_timeout_s=60.0``.

    Raises:
        ConfigError, CheckError: the program cannot be read, does not check, or cannot be planned; it has no worker of a
            name that is given.
        UnscriptedRequest: a model was asked what is not scripted.
        NoStandIn: a tool with effects was called.
    """
    plan = _plan(program, search_path)
    stand_ins = _StandIns(Script(models), workers or {})
    stand_ins.check(plan)
    messages = [(port, encode_json(value)) for port, value in _inputs(plan, inputs)]

    async def run() -> tuple[Simulated, float]:
        done = await simulate(
            plan,
            messages,
            runners=dict.fromkeys(("python", "agent", "worker", "handler"), stand_ins.run),
            settings=Settings(**settings),
            seed=seed,
            faults=faults,
            decide=approve,
        )
        return done, trio.current_time()

    try:
        done, ended_s = run_seeded(run, seed)
    except BaseExceptionGroup as raised:
        raise sole(raised) from None  # of a function of the test: it was called in many nurseries
    stand_ins.check_calls()
    at = zip(done.outputs, done.output_times_s, strict=True)
    events = tuple(VirtualOutput(decode_json(payload), port, at_s) for (port, payload), at_s in at)
    return VirtualRun(
        [event.data for event in events],
        events,
        done.finish.exit_code,
        done.finish.error,
        ended_s,
        done.approvals,
        done.refusals,
        done.letters,
        tuple(stand_ins.requests),
        stand_ins.unused,
        done,
    )


def _plan(program: str | Path | Source, search_path: Iterable[str | Path]) -> Plan:
    source = program if isinstance(program, Source) else read_source(program)
    compiled, diagnostics = check_program(source, Library(search_path))
    if compiled is None:
        raise check_error(diagnostics)
    plan = plan_compiled(compiled, run_directory="memory", provider="anthropic", model="scripted")
    if plan.servers:
        raise ConfigError("a program with MCP servers cannot be run in virtual time: they are processes of others")
    return plan


def _inputs(plan: Plan, inputs: Iterable[Any] | Mapping[str, Iterable[Any]]) -> Iterable[tuple[str, Any]]:
    if isinstance(inputs, Mapping):
        unknown = sorted(inputs.keys() - plan.inputs.keys())
        if unknown:
            raise ConfigError(f"the program has no input {unknown[0]!r}; it has {', '.join(map(repr, plan.inputs))}")
        return [(port, value) for port, values in inputs.items() for value in values]
    ports = list(plan.inputs)
    if len(ports) != 1:
        raise ConfigError(f"the program has the inputs {', '.join(map(repr, ports))}: give a mapping of their messages")
    return [(ports[0], value) for value in inputs]


def _check_names(argument: str, given: Iterable[str], there: list[str], what: str) -> None:
    known = {name for one in there for name in names_of(one)}
    for name in given:
        if name not in known:
            listed = f"it has {', '.join(map(repr, there))}" if there else "it has none"
            raise ConfigError(f"{argument}: the program has no {what} named {name!r}; {listed}")


class _StandIns:
    """Runs workers: functions for those that have one, the real code with a scripted model for agents."""

    def __init__(self, script: Script, functions: Mapping[str, Callable[[Any], Any]]) -> None:
        self._script = script
        self._functions = functions
        self.requests: list[ModelRequest] = []
        self._unscripted: list[str] = []
        self._not_done: list[str] = []

    def check(self, plan: Plan) -> None:
        """See that there is a function for whoever needs one, and that whoever is named is there."""
        specs = [worker.spec for worker in plan.workers]
        for spec in specs:
            if spec.kind in ("worker", "handler") and self._function(spec) is None:
                text = f"worker {spec.name!r} is a program of its own: give a function that stands for it in 'workers'"
                raise ConfigError(text)
        agents = [spec.name for spec in specs if spec.kind == "agent"]
        asking = [spec.name for spec in specs if spec.kind == "agent" and spec.config["provider"] in _PATHS]
        others = [spec.name for spec in specs if spec.kind != "agent"]
        for name in self._functions:
            if any(name in names_of(agent) for agent in agents):
                raise ConfigError(f"workers: {name!r} is an agent: what it is told is scripted in 'models'")
        _check_names("workers", self._functions, others, "worker that a function could stand for")
        _check_names("models", self._script.agents, asking, "agent that asks a model in the network")

    def check_calls(self) -> None:
        """See that nothing was asked that the test has no answer to."""
        if self._not_done:
            raise NoStandIn("\n".join([*self._not_done, *self._unscripted]))
        if self._unscripted:
            raise UnscriptedRequest("\n".join(self._unscripted))

    @property
    def unused(self) -> list[str]:
        """Which scripted lists have answers left."""
        return self._script.unused

    def _function(self, spec: WorkerSpec) -> Callable[[Any], Any] | None:
        if spec.kind == "agent":
            return None
        given = next((self._functions[name] for name in names_of(spec.name) if name in self._functions), None)
        return self._refusing(spec) if given is None and spec.config.get("builtin") in EFFECTS else given

    def _refusing(self, spec: WorkerSpec) -> Callable[[Any], Any]:
        """Return what stands for a tool with effects if the test has nothing for it."""

        def refuse(arguments: Any) -> Any:
            called = f"{spec.name!r} ({spec.config['builtin']}) was called with {encode_json(arguments).decode()}"
            self._not_done.append(f"tool {called}, and not done: give a function that stands for it in 'workers'")
            raise NoStandIn(self._not_done[-1])

        return refuse

    async def run(self, spec: WorkerSpec, process: Process, endpoints: dict[str, str]) -> int:
        """Run a worker of any kind."""
        function = self._function(spec)
        if function is not None:
            named = msgspec.structs.replace(
                spec, config={"call": spec.name, **spec.config}
            )  # messages name what is called
            return await run_function(make_function(function, named), named, process, endpoints)
        if spec.kind == "agent":
            return await self._run_agent(spec, process, endpoints)
        return await python_runner(spec, process, endpoints)

    async def _run_agent(self, spec: WorkerSpec, process: Process, endpoints: dict[str, str]) -> int:
        # By name, as the zygote finds it: the fabric does not import the agent.
        worker, logs = import_module("plumb_agent.worker"), import_module("plumb_agent.logs")
        rng = random.Random(endpoints["output"])
        status: int = await worker.run_worker(
            spec,
            worker.open_ports(process, endpoints),
            logger=logs.Logger(lambda line: process.complain(line.decode().rstrip("\n"))),
            clock=trio.current_time,
            new_id=rng.randbytes,
            chance=rng,
            provider=self._provider(spec),
        )
        return status

    def _provider(self, spec: WorkerSpec) -> Any:
        """Return a provider in memory for one that is in the network, ``None`` for any other."""
        memory = import_module("plumb_agent.providers.memory")
        name = spec.config.get("provider", "")
        dialect = memory.dialect_of(name)
        if dialect is None:
            return None

        def exchange(body: bytes) -> tuple[int, Mapping[str, str], bytes]:
            return self._answer(_PATHS[name], {AGENT_HEADER: quote(spec.name)}, body)

        return memory.MemoryProvider(dialect, exchange)

    def _answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        request = read_exchange(path, headers, body)
        self.requests.append(request)
        reply = self._script.answer(request)
        if isinstance(reply, str):
            self._unscripted.append(f"request {len(self.requests)}: {reply}")
            return 404, {}, self._unscripted[-1].encode()
        written = answered(reply, request, len(self.requests))
        return written.status, written.headers, b"".join(written.pieces)
