"""Every setting: its value, and where that comes from. Pure: what files and the environment say comes in."""

from __future__ import annotations

__all__ = ["SETTINGS", "Row", "Setting", "Sources", "render_rows", "settle"]

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from fabric.cli.listing import align
from fabric.runtime.http_listen import HTTP_USUAL
from fabric.runtime.starting import IMAGE
from fabric.session.settings import Settings
from fabric.settings import ProjectSettings, Variable, check_usd, read_duration, read_switch

From: TypeAlias = Literal["environment", "dotenv", "project", "user", "default"]


class Setting(NamedTuple):
    """One thing that can be set.

    Attributes:
        name: in a file of settings; of what can only be a variable, that.
        variable: in the environment.
        of: gives what the files say.
        default: if nobody says anything.
        read: makes of a variable's text what it stands for; raises ValueError.
        secret: whether only that it is set may be shown.
    """

    name: str
    variable: str = ""
    of: Callable[[ProjectSettings], object] = lambda _: None
    default: object = None
    read: Callable[[str], object] = str
    secret: bool = False


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """A setting that is settled.

    Attributes:
        name: of it.
        value: ``None``: nobody says anything, and there is no default. Of a secret whether it is set.
        source: which kind of place says it.
        place: which: a variable, with its file and line if it has one; a file and line.
        error: why what is said cannot be meant.
        secret: whether the value is kept back.
    """

    name: str
    value: object
    source: From
    place: str = ""
    error: str = ""
    secret: bool = False


class Sources(NamedTuple):
    """What is said, and where.

    Attributes:
        environment: with the variables of ``.env`` that count.
        dotenv: those, with their places.
        settings: what the files say, one over the other.
        project: the keys of the project's file, with their places.
        user: likewise, of the user's.
    """

    environment: Mapping[str, str]
    dotenv: Mapping[str, Variable]
    settings: ProjectSettings
    project: Mapping[str, str]
    user: Mapping[str, str]


def _least(least: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        number = float(text)
        if not number >= least:
            raise ValueError(f"expected at least {least:g}, got {text!r}")
        return number

    return read


def _whole(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        number = int(text)
        if number < least:
            raise ValueError(f"expected at least {least}, got {text!r}")
        return number

    return read


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"expected {', '.join(words[:-1])} or {words[-1]}, got {text!r}")
        return text

    return read


def _without_password(text: str) -> str:
    return re.sub(r"(?<=://)[^/]*@", "[password]@", text)


_RUN = Settings()

SETTINGS = (
    Setting("spec", of=lambda said: None if said.spec is None else str(said.spec)),
    Setting("launch", of=lambda said: said.launch, default="zygote"),
    Setting("defaults.provider", "PLUMB_PROVIDER", lambda said: said.provider),
    Setting("defaults.model", "PLUMB_MODEL", lambda said: said.model),
    Setting(
        "run.ready_timeout",
        "FABRIC_READY_TIMEOUT",
        lambda said: said.ready_timeout_s,
        _RUN.ready_timeout_s,
        _least(0.1),
    ),
    Setting("run.grace", "FABRIC_GRACE", lambda said: said.grace_s, _RUN.grace_s, _least(0.0)),
    Setting("run.restarts", "FABRIC_RESTARTS", lambda said: said.restarts_max, _RUN.restarts_max, _whole(0)),
    Setting("run.redeliveries", of=lambda said: said.redeliveries_max, default=_RUN.redeliveries_max),
    Setting("run.stall", of=lambda said: said.stall_s, default=_RUN.stall_s),
    Setting(
        "run.approval_timeout",
        "FABRIC_APPROVAL_TIMEOUT",
        lambda said: said.approval_timeout_s,
        _RUN.approval_timeout_s,
        _least(0.1),
    ),
    Setting("run.tool_timeout", of=lambda said: said.tool_timeout_s, default=_RUN.tool_timeout_s),
    Setting("run.host", of=lambda said: said.host),
    Setting(
        "run.runner",
        "FABRIC_RUNNER",
        lambda said: said.runner,
        "process",
        _one_of("process", "container", "docker", "external"),
    ),
    Setting("run.image", of=lambda said: said.image, default=IMAGE),
    Setting("run.http", "FABRIC_HTTP", lambda said: said.http, HTTP_USUAL),
    Setting("limits.usd", "FABRIC_BUDGET_USD", lambda said: said.limits.usd, read=lambda text: check_usd(float(text))),
    Setting("limits.tokens", "FABRIC_BUDGET_TOKENS", lambda said: said.limits.tokens, read=_whole(1)),
    Setting("limits.calls", "FABRIC_BUDGET_CALLS", lambda said: said.limits.calls, read=_whole(1)),
    Setting("limits.wall", "FABRIC_MAX_TIME", lambda said: said.limits.wall_s, read=read_duration),
    Setting("edges.queue", of=lambda said: said.queue, default=_RUN.queue),
    Setting("edges.policy", of=lambda said: said.policy, default=_RUN.policy),
    Setting("store.url", "FABRIC_STORE", lambda said: said.store, read=_without_password),
    Setting("PLUMB_PATH", "PLUMB_PATH"),
    Setting("PLUMB_RESOURCES", "PLUMB_RESOURCES"),
    Setting("PLUMB_ENDPOINT", "PLUMB_ENDPOINT", read=_without_password),
    Setting("PIPELINE_DEBUG", "PIPELINE_DEBUG"),
    Setting("FABRIC_PROJECT", "FABRIC_PROJECT"),
    Setting("FABRIC_STATE_DIR", "FABRIC_STATE_DIR", default=".fabric"),
    Setting("FABRIC_DOCROOT", "FABRIC_DOCROOT"),
    Setting("FABRIC_TOKEN_FILE", "FABRIC_TOKEN_FILE"),
    Setting("FABRIC_AUTO_APPROVE", "FABRIC_AUTO_APPROVE", default=False, read=read_switch),
    Setting("FABRIC_APPROVE_IN_DOUBT", "FABRIC_APPROVE_IN_DOUBT", default=False, read=read_switch),
    Setting("FABRIC_INSECURE", "FABRIC_INSECURE", default=False, read=read_switch),
    Setting("FABRIC_KEYS", "FABRIC_KEYS"),
    Setting(
        "FABRIC_LOG_LEVEL",
        "FABRIC_LOG_LEVEL",
        read=_one_of("debug", "info", "warning", "error"),
    ),
    Setting("FABRIC_LOG_FORMAT", "FABRIC_LOG_FORMAT", default="pretty", read=_one_of("pretty", "json")),
    Setting("FABRIC_COLOR", "FABRIC_COLOR", default="auto", read=_one_of("auto", "always", "never")),
    Setting(
        "FABRIC_PROGRESS",
        "FABRIC_PROGRESS",
        default="auto",
        read=_one_of("auto", "tty", "plain", "json", "quiet"),
    ),
    Setting("FABRIC_ENV_FILE", "FABRIC_ENV_FILE"),
    Setting("FABRIC_TEST_ENDPOINT", "FABRIC_TEST_ENDPOINT", read=_without_password),
    Setting("FABRIC_NO_DOTENV", "FABRIC_NO_DOTENV", default=False, read=read_switch),
    Setting("ANTHROPIC_API_KEY", "ANTHROPIC_API_KEY", secret=True),
    Setting("ANTHROPIC_API_KEY_FILE", "ANTHROPIC_API_KEY_FILE"),
    Setting("OPENAI_API_KEY", "OPENAI_API_KEY", secret=True),
    Setting("OPENAI_API_KEY_FILE", "OPENAI_API_KEY_FILE"),
)
"""All of them, but for what is said of single workers, hosts and models."""


def settle(sources: Sources) -> Iterator[Row]:
    """Yield every setting, those of single workers and prices of models last."""
    for setting in SETTINGS:
        yield _settle(setting, sources)
    for table, key, value in _named(sources.settings):
        yield _from_files(f"{table}.{key}", value, sources)


def _settle(setting: Setting, sources: Sources) -> Row:
    text = sources.environment.get(setting.variable)
    if text:  # an empty one counts as none
        return _from_variable(setting, text, sources.dotenv.get(setting.variable))
    if setting.secret:
        return Row(setting.name, False, "default", secret=True)
    value = setting.of(sources.settings)
    if setting.name == "defaults.model":  # one of another provider's is not taken
        provider = sources.environment.get("PLUMB_PROVIDER") or None
        _, value = sources.settings.choose_model(provider, None)
    if value is None:
        return Row(setting.name, setting.default, "default")
    return _from_files(setting.name, value, sources)


def _from_variable(setting: Setting, text: str, dotenv: Variable | None) -> Row:
    source: From = "environment" if dotenv is None else "dotenv"
    place = setting.variable if dotenv is None else f"{setting.variable}, {dotenv.place}"
    if setting.secret:
        return Row(setting.name, True, source, place, secret=True)
    try:
        return Row(setting.name, setting.read(text), source, place)
    except ValueError as error:
        return Row(setting.name, text, source, place, str(error))


def _from_files(name: str, value: object, sources: Sources) -> Row:
    spellings = ("launch", "run.launch") if name == "launch" else (name,)
    places: list[tuple[From, Mapping[str, str]]] = [("project", sources.project), ("user", sources.user)]
    source, place = next((source, keys[key]) for source, keys in places for key in spellings if key in keys)
    plain = float(value) if isinstance(value, float) else value  # not of a kind of ours, which JSON does not know
    return Row(name, plain, source, place)


def _named(settings: ProjectSettings) -> Iterator[tuple[str, str, object]]:
    """Yield table, key and value of what is said of single workers, hosts and models."""
    for name, worker in settings.workers.items():
        said: dict[str, Any] = {
            "retries": worker.retries,
            "idle_timeout": worker.idle_timeout_s,
            "on_crash": worker.on_crash,
            "host": worker.host,
            "runner": worker.runner,
            "image": worker.image,
            "replicas": worker.replicas,
            "env": ", ".join(worker.env) or None,
            "limits.memory": worker.limits.memory_bytes,
            "limits.cpus": worker.limits.cpus,
            "limits.pids": worker.limits.pids,
        }
        yield from ((f"workers.{name}", key, value) for key, value in said.items() if value is not None)
    for name, host in settings.hosts.items():
        ports = None if host.ports is None else f"{host.ports.first}-{host.ports.last}"
        said = {"address": host.address, "bind": host.bind, "ports": ports, "engine": host.engine}
        yield from ((f"hosts.{name}", key, value) for key, value in said.items() if value is not None)
    for model, price in settings.prices.items():
        said = {key: getattr(price, key) for key in ("input", "output", "cache_read", "cache_write")}
        yield from ((f"prices.{model}", key, value) for key, value in said.items() if value is not None)


def render_rows(rows: Iterable[Row], here: str, *, origin: bool) -> list[str]:
    """Return a line for each setting.

    Args:
        rows: of :func:`settle`.
        here: a folder; files in it are named as seen from there.
        origin: whether to say where a value comes from.
    """
    lines = []
    for row in rows:
        is_default = row.source == "default" and row.value is not None and not row.secret
        place = "default" if is_default else row.place.replace(f"{here}/", "")
        wrong = f"✘ {row.error}" if row.error else ""
        lines.append((row.name, _show(row), *([place] if origin else []), wrong))
    return align(lines)


def _show(row: Row) -> str:
    if row.secret:
        return "set" if row.value else "not set"
    match row.value:
        case None:
            return "-"
        case bool():
            return "yes" if row.value else "no"
        case float():
            return f"{row.value:g}"
    return "".join(character if character.isprintable() else "?" for character in str(row.value))
