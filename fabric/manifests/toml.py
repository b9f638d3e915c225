"""Write a project's settings as a ``fabric.toml`` that says the same."""

from __future__ import annotations

__all__ = ["write_settings"]

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fabric.settings import ProjectHost, ProjectPrice, ProjectSettings, ProjectWorker

_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_UNSAFE = re.compile('["\\\\\x00-\x08\x0a-\x1f\x7f]')


def write_settings(settings: ProjectSettings, comment: str = "") -> str:
    """Return the text of a file; ``comment`` stands above it. What is not said is not written."""
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    for table, keys in _tables(settings):
        said = {key: value for key, value in keys.items() if value not in (None, (), {})}
        if not said and not table.startswith("workers."):
            continue
        if table:
            lines += ["", f"[{table}]"]
        lines += [f"{key} = {_value(value)}" for key, value in said.items()]
    return "\n".join(lines).lstrip("\n") + "\n"


def _tables(said: ProjectSettings) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "", {"spec": None if said.spec is None else said.spec.as_posix(), "launch": said.launch}
    yield "defaults", {"provider": said.provider, "model": said.model}
    limits = said.limits
    yield "limits", {"usd": limits.usd, "tokens": limits.tokens, "calls": limits.calls, "wall": limits.wall_s}
    yield (
        "run",
        {
            "host": said.host,
            "runner": said.runner,
            "image": said.image,
            "http": said.http,
            "ready_timeout": said.ready_timeout_s,
            "grace": said.grace_s,
            "restarts": said.restarts_max,
            "redeliveries": said.redeliveries_max,
            "stall": said.stall_s,
            "approval_timeout": said.approval_timeout_s,
            "tool_timeout": said.tool_timeout_s,
        },
    )
    yield "store", {"url": said.store}
    yield "edges", {"queue": said.queue, "policy": said.policy}
    for name, host in said.hosts.items():
        yield f"hosts.{_key(name)}", _host(host)
    for name, worker in said.workers.items():
        yield f"workers.{_key(name)}", _worker(worker)
    for name, price in said.prices.items():
        yield f"prices.{_key(name)}", _price(price)


def _host(host: ProjectHost) -> dict[str, Any]:
    ports = None if host.ports is None else f"{host.ports.first}-{host.ports.last}"
    return {"address": host.address, "bind": host.bind, "ports": ports, "engine": host.engine}


def _worker(worker: ProjectWorker) -> dict[str, Any]:
    limits = {"memory": worker.limits.memory_bytes, "cpus": worker.limits.cpus, "pids": worker.limits.pids}
    return {
        "host": worker.host,
        "runner": worker.runner,
        "image": worker.image,
        "replicas": worker.replicas,
        "limits": {key: value for key, value in limits.items() if value is not None},
        "env": worker.env,
        "retries": worker.retries,
        "idle_timeout": worker.idle_timeout_s,
        "on_crash": worker.on_crash,
    }


def _price(price: ProjectPrice) -> dict[str, Any]:
    return {
        "input": price.input,
        "output": price.output,
        "cache_read": price.cache_read,
        "cache_write": price.cache_write,
    }


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return repr(value)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _text(text: str) -> str:
    return '"' + _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + '"'
