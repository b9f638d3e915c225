"""The keys of ``agent``, ``tool``, ``python``, ``worker`` and ``handler``, and what their values may be.

Keys are data (:data:`KEYS`): a name and a rule. A rule looks at a value and returns what it wants in words, or None if
the value will do. Nothing is filled in here but the only model that ``eliza`` has.
"""

from __future__ import annotations

__all__ = ["DEFAULT_MAX_TOKENS", "KEYS", "PROVIDERS", "check_config"]

import re
from collections.abc import Callable
from typing import Any, TypeAlias

from fabric.lang import syntax
from fabric.lang.body import Scope
from fabric.lang.diagnostic import Report
from fabric.lang.source import Span
from fabric.wire.calls import RESERVE

PROVIDERS = ("anthropic", "openai", "eliza", "scripted")
"""Those that an agent can speak to."""

DEFAULT_MAX_TOKENS = 8192

_Rule: TypeAlias = Callable[[Any], str | None]

_CALLABLE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _string(value: Any) -> str | None:
    return None if isinstance(value, str) and value else "a string that is not empty"


def _bool(value: Any) -> str | None:
    return None if isinstance(value, bool) else "true or false"


def _count(least: int) -> _Rule:
    def rule(value: Any) -> str | None:
        good = isinstance(value, int) and not isinstance(value, bool) and value >= least
        return None if good else f"a whole number of at least {least}"

    return rule


def _one_of(*words: str) -> _Rule:
    wanted = " or ".join(f'"{word}"' for word in words)
    return lambda value: None if value in words and isinstance(value, str) else wanted


def _strings(value: Any) -> str | None:
    good = isinstance(value, list) and all(isinstance(item, str) and item for item in value)
    return None if good else "a list of strings"


def _command(value: Any) -> str | None:
    good = _strings(value) is None and value
    return None if good else 'a list of strings that is not empty, such as ["./worker", "--fast"]'


def _variables(value: Any) -> str | None:
    good = _strings(value) is None and all(_VARIABLE.fullmatch(item) for item in value)
    return None if good else 'a list of names of environment variables, such as ["API_TOKEN"]'


def _callable(value: Any) -> str | None:
    good = isinstance(value, str) and _CALLABLE.fullmatch(value)
    return None if good else '"package.module:function"'


def _script(value: Any) -> str | None:
    good = isinstance(value, str) and (value.endswith(".jsonl") or _CALLABLE.fullmatch(value))
    return None if good else '"./file.jsonl" or "package.module:function"'


def _texts(value: Any) -> str | None:
    good = isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
    return None if good else 'names with strings, such as { tenant: "acme" }'


_OURS = RESERVE.partition(".")[0]
"""A tool ``reserve`` of a server with this name would be taken for a reservation, and get no answer."""


def _servers(value: Any) -> str | None:
    wanted = 'a list of servers: { name: "time", command: "mcp-time" } or { name: "time", url: "http://..." }'
    if not isinstance(value, list):
        return wanted
    for server in value:
        if not isinstance(server, dict) or not _string_in(server, "name") or len(server) < 2:
            return wanted
        remote = _string_in(server, "url") and server.keys() <= {"name", "url"}
        local = _string_in(server, "command") and server.keys() <= {"name", "command", "args", "env"}
        if not remote and not local:
            return wanted
        if _strings(server.get("args", [])) or _variables(server.get("env", [])):
            return "a list of servers whose 'args' and 'env' are lists of strings"
    names = [server["name"] for server in value]
    if _OURS in names:
        return f"a list of servers with other names than {_OURS!r}, which the fabric's own calls begin with"
    return None if len(set(names)) == len(names) else "a list of servers with different names"


def _string_in(entries: dict[str, Any], key: str) -> bool:
    return _string(entries.get(key)) is None


def _anything(_value: Any) -> str | None:
    return None


_EVERYWHERE: dict[str, _Rule] = {"env": _variables, "release": _one_of("commit", "early")}

KEYS: dict[str, dict[str, _Rule]] = {
    "agent": {
        "provider": _string,  # compared with PROVIDERS below, for a better message
        "model": _string,
        "prompt": _string,
        "prompts": _strings,
        "max_retries": _count(0),
        "max_tokens": _count(1),
        "max_tool_calls": _count(0),
        "thinking_budget": _count(1),
        "endpoint": _string,
        "amnesiac": _bool,
        "max_messages": _count(1),
        "runtime_context": _bool,
        "lenient_string": _bool,
        "tools": _anything,  # names; see _read_tools
        "mcp": _servers,
        "script": _script,
        **_EVERYWHERE,
    },
    "tool": {"process": _anything, "builtin": _string, "description": _string, "idempotent": _bool},
    "python": {"call": _callable, "state": _bool, **_EVERYWHERE},
    "worker": {
        "command": _command,
        "transport": _one_of("zmq", "stdio"),
        "markers": _bool,
        "frames": _one_of("v2", "bare"),
        "compat": _bool,
        "state": _bool,
        "tools": _anything,
        **_EVERYWHERE,
    },
    "handler": {
        "command": _command,
        "mode": _one_of("command", "rpc"),
        "timeout": _count(1),
        "retries": _count(0),
        "agent": _string,
        "metadata": _texts,
        **_EVERYWHERE,
    },
}

_REQUIRED = {
    "python": ("call", 'call: "package.module:function"'),
    "worker": ("command", 'command: ["./worker"]'),
    "handler": ("command", 'command: ["python", "handler.py"]'),
}


def check_config(name: str, impl: syntax.ConfiguredImpl, scope: Scope, report: Report) -> dict[str, Any]:
    """Return a process's configuration as plain values. ``scope``: the processes and tools that it may name."""
    rules = KEYS[impl.kind]
    values: dict[str, Any] = {}
    places: dict[str, syntax.ConfigEntry] = {}
    for entry in impl.config.entries:
        key = entry.key.text
        if key in places:
            report.add(
                "E0205",
                entry.key.span,
                f"key '{key}' is given twice",
                related=[(places[key].key.span, "first given here")],
            )
            continue
        places[key] = entry
        if key not in rules:
            _unknown_key(impl.kind, entry.key, report)
        if key == "tools":
            values[key] = _read_tools(entry.value, scope, report)
            continue
        if key == "process" and isinstance(entry.value, syntax.ConfigName):
            process = scope.process(entry.value.name, report)
            values[key] = process.binding if process else None
            continue
        values[key] = _plain(entry.value, key, report)
        wanted = rules[key](values[key]) if key in rules else None
        if wanted is not None:
            report.add("E0602", entry.value.span, f"'{key}' must be {wanted}", label=f"expected {wanted}")
            del values[key]
    if impl.kind == "agent":
        _check_agent(values, places, report)
    elif impl.kind in _REQUIRED and (required := _REQUIRED[impl.kind])[0] not in places:
        report.add(
            "E0601",
            Span(impl.span.start, impl.span.start + len(impl.kind)),
            f"{impl.kind} '{name}' needs the key '{required[0]}'",
            help=f"add  {required[1]}",
        )
    return values


def _unknown_key(kind: str, key: syntax.Name, report: Report) -> None:
    elsewhere = [other for other, rules in KEYS.items() if key.text in rules]
    article = "an agent" if kind == "agent" else f"a {kind}"
    report.add(
        "W0610",
        key.span,
        f"{article} does not know the key '{key.text}'",
        notes=[f"it is a key of: {', '.join(elsewhere)}"] if elsewhere else [],
        help=report.suggest(key.text, KEYS[kind]),
    )


def _check_agent(values: dict[str, Any], places: dict[str, syntax.ConfigEntry], report: Report) -> None:
    provider = values.get("provider")
    if provider is not None and provider not in PROVIDERS:
        report.add(
            "E0603",
            places["provider"].value.span,
            f"there is no provider '{provider}'",
            notes=[f"there are: {', '.join(PROVIDERS)}"],
            help=report.suggest(provider, PROVIDERS),
        )
    if provider == "eliza" and values.setdefault("model", "doctor") != "doctor":
        report.add("E0602", places["model"].value.span, f"the only model of eliza is 'doctor', not '{values['model']}'")
    budget, limit = values.get("thinking_budget"), values.get("max_tokens", DEFAULT_MAX_TOKENS)
    if budget is not None and budget >= limit:
        stated = "max_tokens" in values
        report.add(
            "E0602",
            places["thinking_budget"].value.span,
            f"'thinking_budget' must be less than 'max_tokens', which is {limit}{'' if stated else ' by default'}",
            related=[(places["max_tokens"].value.span, "max_tokens")] if stated else [],
        )
    if "script" in values and provider not in (None, "scripted"):
        report.add(
            "E0602",
            places["script"].key.span,
            f"'script' belongs to the provider 'scripted', this is '{provider}'",
            related=[(places["provider"].value.span, "the provider")],
        )
    if provider == "scripted" and "script" not in places:
        report.add(
            "E0601",
            places["provider"].value.span,
            "the provider 'scripted' needs the key 'script'",
            help='add  script: "./replies.jsonl"  or  script: "package.module:function"',
        )


def _read_tools(value: syntax.ConfigValue, scope: Scope, report: Report) -> list[str]:
    """Return the tools that an agent or a worker names, as names of bindings."""
    if not isinstance(value, syntax.ConfigList):
        report.add("E0602", value.span, "'tools' must be a list of names", label="expected a list")
        return []
    tools: dict[str, Span] = {}
    for item in value.items:
        if not isinstance(item, syntax.ConfigName):
            report.add("E0602", item.span, "'tools' must be a list of names, without quotes", label="expected a name")
            continue
        tool = scope.process(item.name, report, "tool")
        if tool is None:
            continue
        if tool.kind != "tool":
            report.add(
                "E0605",
                item.span,
                f"'{tool.name}' is no tool",
                related=[(tool.span, "declared here")],
                help=f"make one of it: let {tool.name.lower().replace('.', '_')}_tool : A -> B = "
                f"tool {{ process: {tool.name} }}",
            )
        elif tool.binding in tools:
            first = [(tools[tool.binding], "first named here")]
            report.add("E0205", item.span, f"tool '{tool.name}' is named twice", related=first)
        tools.setdefault(tool.binding, item.span)
    return list(tools)


def _plain(value: syntax.ConfigValue, key: str, report: Report) -> Any:
    """Return a value as plain JSON; a bare name where none belongs is reported and read as a string."""
    match value:
        case syntax.ConfigScalar(scalar):
            return scalar
        case syntax.ConfigList(items):
            return [_plain(item, key, report) for item in items]
        case syntax.Config(entries):
            return {entry.key.text: _plain(entry.value, key, report) for entry in entries}
        case syntax.ConfigName(name):
            report.add("E0602", name.span, f'a string needs quotes: "{name.text}"', help=f'write "{name.text}"')
            return name.text
