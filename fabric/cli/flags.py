"""The flags that commands share, and what they mean."""

from __future__ import annotations

__all__ = [
    "ApprovalTimeout",
    "Attach",
    "AutoApprove",
    "ColorChoice",
    "Docroot",
    "Grace",
    "Http",
    "Include",
    "Insecure",
    "LogFormat",
    "LogLevel",
    "LogPrefix",
    "Model",
    "NoAttach",
    "Project",
    "Provider",
    "ReadyTimeout",
    "Restarts",
    "RunnerChoice",
    "Timestamps",
    "TokenFile",
    "check_level",
    "check_runner",
    "choose",
    "state_directory",
]

import os
from pathlib import Path
from typing import Annotated

import typer

from fabric.cli.programs import INCLUDE
from fabric.errors import ConfigError
from fabric.plan.plan import Runner
from fabric.runtime.http_listen import HTTP_USUAL
from fabric.session.events import Level
from fabric.session.settings import Settings

DEFAULTS = Settings()

Project = Annotated[str | None, typer.Option("--project", "-p", help="Name of the service.", envvar="FABRIC_PROJECT")]
Provider = Annotated[str | None, typer.Option(help="For agents that do not say theirs.", envvar="PLUMB_PROVIDER")]
Model = Annotated[str | None, typer.Option(help="For agents that do not say theirs.", envvar="PLUMB_MODEL")]
Include = Annotated[list[Path] | None, INCLUDE]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure",
        help="Speak without keys to workers that are reached over TCP: whoever reaches their ports may read and write.",
        envvar="FABRIC_INSECURE",
    ),
]
ReadyTimeout = Annotated[
    float | None,
    typer.Option(
        help="Seconds until every worker has to be ready.",
        envvar="FABRIC_READY_TIMEOUT",
        min=0.1,
        show_default=f"{DEFAULTS.ready_timeout_s:g}",
    ),
]
Grace = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        "-t",
        help="Seconds of silence before a worker that should end is ended.",
        envvar="FABRIC_GRACE",
        min=0.0,
        show_default=f"{DEFAULTS.grace_s:g}",
    ),
]
Restarts = Annotated[
    int | None,
    typer.Option(
        help="How often a worker that crashed may be started again in a minute.",
        envvar="FABRIC_RESTARTS",
        min=0,
        show_default=f"{DEFAULTS.restarts_max}",
    ),
]
RunnerChoice = Annotated[
    str | None,
    typer.Option(
        "--runner",
        help="Who starts workers of which fabric.toml says nothing: process, container or external.",
        envvar="FABRIC_RUNNER",
        show_default="process",
    ),
]
Docroot = Annotated[
    Path | None, typer.Option(help="Folder of the file tools; else that of the program.", envvar="FABRIC_DOCROOT")
]
AutoApprove = Annotated[
    bool,
    typer.Option(
        "--auto-approve",
        help="Let tools write and delete files, run programs, notify, and call servers, without asking.",
        envvar="FABRIC_AUTO_APPROVE",
    ),
]
ApprovalTimeout = Annotated[
    float | None,
    typer.Option(
        help="Seconds that a call of a tool with effects waits until somebody approves it.",
        envvar="FABRIC_APPROVAL_TIMEOUT",
        min=0.1,
        show_default=f"{DEFAULTS.approval_timeout_s:g}",
    ),
]
Http = Annotated[
    str | None,
    typer.Option(
        metavar="ADDR:PORT",
        help="Where it can be watched over HTTP: /metrics, /livez, /readyz, /api/v1; or off.",
        envvar="FABRIC_HTTP",
        show_default=HTTP_USUAL,
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Holds the token that has to be said over HTTP for what is not open; else one is made, for this machine.",
        envvar="FABRIC_TOKEN_FILE",
        show_default=False,
    ),
]
LogLevel = Annotated[str, typer.Option(help="debug, info, warning or error.", envvar="FABRIC_LOG_LEVEL")]
LogFormat = Annotated[
    str, typer.Option(help="pretty, or json: every line on stderr is one JSON object.", envvar="FABRIC_LOG_FORMAT")
]
ColorChoice = Annotated[str, typer.Option("--color", help="auto, always or never.", envvar="FABRIC_COLOR")]
Attach = Annotated[list[str] | None, typer.Option(metavar="WORKER", help="Print only what this worker writes.")]
NoAttach = Annotated[list[str] | None, typer.Option(metavar="WORKER", help="Do not print what this worker writes.")]
LogPrefix = Annotated[bool, typer.Option("--log-prefix/--no-log-prefix", help="The worker's name in each line.")]
Timestamps = Annotated[bool, typer.Option("--timestamps", help="The time in each line.")]


def check_level(level: str) -> Level:
    """Return what ``--log-level`` says. Raises ConfigError: there is no such level."""
    match level:
        case "debug" | "info" | "warning" | "error":
            return level
    raise ConfigError(f"--log-level {level}: expected debug, info, warning or error")


def check_runner(runner: str | None) -> Runner | None:
    """Return what ``--runner`` says. Raises ConfigError: there is no such way to start a worker."""
    match runner:
        case None | "process" | "container" | "external":
            return runner
        case "docker":
            return "container"
    raise ConfigError(f"--runner {runner}: expected process, container or external")


def choose(color: str, log_format: str = "pretty") -> None:
    """Let ``use_color`` and ``use_json`` know what the user wants.

    Raises:
        ConfigError: there is no such thing.
    """
    if color not in ("auto", "always", "never"):
        raise ConfigError(f"--color {color}: expected auto, always or never")
    if log_format not in ("pretty", "json"):
        raise ConfigError(f"--log-format {log_format}: expected pretty or json")
    os.environ |= {"FABRIC_COLOR": color, "FABRIC_LOG_FORMAT": log_format}


def state_directory() -> Path | None:
    """Return the state directory that the environment names."""
    named = os.environ.get("FABRIC_STATE_DIR")
    return Path(named) if named else None
