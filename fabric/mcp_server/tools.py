"""The tools of `fabric mcp`: check a program, call it once."""

from __future__ import annotations

__all__ = ["CALLS_MAX", "TIMEOUT_S", "TOOLS", "Answer", "Tools"]

from collections.abc import Mapping
from typing import Any

import msgspec
import trio

from fabric.compiler import Compiled
from fabric.errors import ConfigError, FabricError, ValueRejected
from fabric.lang.diagnostic import Diagnostic, render_all
from fabric.mcp_server.programs import Programs
from fabric.plan.plan import Plan
from fabric.runtime.coordinator import Report
from fabric.runtime.directory import open_run_directory
from fabric.runtime.one_shot import call_once
from fabric.runtime.prices import Prices, check_prices
from fabric.session.settings import Settings
from fabric.wire.lines import DATA, write_line
from fabric.wire.payload import Type, decode_json, encode_json, validator

TIMEOUT_S = 600.0
"""Until a call has its answer, unless it says less."""

CALLS_MAX = 8
"""Programs that run at a time; further calls wait. Each is some processes, and its models cost money."""

_SOURCE = {"type": "string", "description": "The text of a .plumb program."}

TOOLS: dict[str, tuple[str, dict[str, Any]]] = {
    "check": (
        'Check a .plumb program; nothing is started. Returns {"ok":true}, or what is wrong and where.',
        {"type": "object", "properties": {"source": _SOURCE}, "required": ["source"], "additionalProperties": False},
    ),
    "call": (
        "Run a .plumb program once: give its main process one input, return the first output as JSON, end it.",
        {
            "type": "object",
            "properties": {
                "source": _SOURCE,
                "input": {
                    "description": "A value of the type of the main process's input, or its JSON text."
                    " Left out: null, for a unit input."
                },
                "timeout_s": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "maximum": TIMEOUT_S,
                    "default": TIMEOUT_S,
                    "description": "Seconds after which a program that has given nothing is ended.",
                },
            },
            "required": ["source"],
            "additionalProperties": False,
        },
    ),
}
"""Description and schema of the arguments, by name."""


class Answer(msgspec.Struct, frozen=True):
    """What a tool returns. ``failed``: the text says what is wrong."""

    text: str
    failed: bool = False


class Tools:
    """Serves calls of the tools, any number at a time.

    Args:
        programs: says what may run.
        settings: how it is run.
        prices: of models.
        environment: of the server.
        report: hears of what happens.
    """

    def __init__(
        self, programs: Programs, settings: Settings, prices: Prices, environment: Mapping[str, str], report: Report
    ) -> None:
        self._programs = programs
        self._settings = settings
        self._prices = prices
        self._environment = environment
        self._report = report
        self._room = trio.CapacityLimiter(CALLS_MAX)

    async def use(self, name: str, arguments: Mapping[str, Any]) -> Answer:
        """Use one of ``TOOLS``. What is wrong with a call is its answer; only a bug is raised."""
        try:
            known = TOOLS[name][1]["properties"]
            unknown = arguments.keys() - known.keys()
            if unknown:
                raise ConfigError(f"{name} has no argument {min(unknown)!r}; it takes {', '.join(known)}")
            source = arguments.get("source")
            if not isinstance(source, str):
                raise ConfigError(f"{name}: expected 'source', the text of a program; got {_shown(source)}")
            if name == "check":
                return await self._check(source)
            return await self._call(source, arguments.get("input"), _timeout(arguments.get("timeout_s", TIMEOUT_S)))
        except FabricError as error:
            return Answer(self._programs.shown(str(error)), failed=True)

    async def _check(self, source: str) -> Answer:
        compiled, diagnostics = await self._checked(source)
        if compiled is None:
            return Answer(self._programs.shown(render_all(diagnostics)), failed=True)
        return Answer('{"ok":true}')

    async def _checked(self, source: str) -> tuple[Compiled | None, tuple[Diagnostic, ...]]:
        """Check a program beside everything else: a long one takes seconds."""
        return await trio.to_thread.run_sync(self._programs.check, source, abandon_on_cancel=True)

    async def _call(self, source: str, value: Any, timeout_s: float) -> Answer:
        with trio.move_on_after(timeout_s):
            compiled, diagnostics = await self._checked(source)
            if compiled is None:
                return Answer(self._programs.shown(render_all(diagnostics)), failed=True)
            async with self._room:
                with open_run_directory(self._environment) as directory:
                    plan = self._programs.plan(compiled, directory)
                    if self._settings.limits.usd is not None:
                        check_prices(plan, self._prices)
                    payload = _payload(plan, value)
                    came = await call_once(plan, self._settings, self._prices, payload, self._report, self._environment)
            if came.output is None:
                return Answer(f"{came.code}: {self._programs.shown(came.error)}", failed=True)
            port = DATA if len(plan.outputs) == 1 else came.output.port
            return Answer(write_line(port, came.output.payload).decode().rstrip("\n"))
        return Answer(f"timeout: the program gave nothing within {timeout_s:g} s, and was ended", failed=True)


def _timeout(said: object) -> float:
    if isinstance(said, int | float) and not isinstance(said, bool) and 0 < said <= TIMEOUT_S:
        return float(said)
    raise ConfigError(f"timeout_s: expected seconds, more than 0 and at most {TIMEOUT_S:g}; got {_shown(said)}")


def _payload(plan: Plan, value: Any) -> bytes:
    """Return the JSON text of a program's input.

    Many who call tools give as text what has no schema. So text that does not fit, and is JSON that does, is that.

    Raises:
        ConfigError: the program has several inputs, or none.
        ValueRejected: the value does not have the type of its input.
    """
    if len(plan.inputs) != 1:
        inputs = ", ".join(plan.inputs) or "none"
        raise ConfigError(f"a call gives one input to a program that has one; the inputs of this one are: {inputs}")
    (node,) = plan.inputs.values()
    type_ = plan.graph.nodes[node].outputs[0].type
    try:
        return _fitting(type_, _encoded(value))
    except ValueRejected:
        if isinstance(value, str):
            try:
                decode_json(value)
                return _fitting(type_, value.encode())
            except ValueRejected:
                pass  # the first reason is the better one
        raise


def _encoded(value: Any) -> bytes:
    try:
        return encode_json(value)
    except (UnicodeEncodeError, RecursionError) as error:  # JSON knows halves of characters, and any depth
        raise ValueRejected("$", "a JSON value", f"one that cannot be written ({error.__class__.__name__})") from None


def _fitting(type_: Type, payload: bytes) -> bytes:
    validator(type_).check(payload)
    return payload


def _shown(value: object) -> str:
    text = _encoded(value).decode()
    return text if len(text) <= 40 else text[:39] + "…"
