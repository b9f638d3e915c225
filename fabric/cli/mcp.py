"""`fabric mcp`: check and call programs over the Model Context Protocol."""

from __future__ import annotations

__all__ = ["register"]

import os
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from fabric.cli.flags import AutoApprove, LogLevel, Model, Provider, check_level
from fabric.cli.limits import BudgetCalls, BudgetTokens, BudgetUsd
from fabric.cli.programs import project_settings
from fabric.cli.report import JsonReport, print_line
from fabric.compiler import search_path
from fabric.errors import ConfigError
from fabric.runtime.directory import open_run_directory
from fabric.runtime.prices import Prices
from fabric.runtime.starting import limits_of, settings_of
from fabric.session.settings import Settings
from fabric.wire.payload import encode_json

if TYPE_CHECKING:
    import trio

    from fabric.mcp_server.programs import Policy

NEEDED = ("mcp", "hypercorn")
"""Modules of the extra."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(mcp)


def mcp(
    http: Annotated[
        int | None,
        typer.Option(
            "--http",
            metavar="PORT",
            help="Serve http://127.0.0.1:PORT/mcp instead of stdin and stdout; 0: any free port.",
            min=0,
            max=65535,
            show_default=False,
        ),
    ] = None,
    docroot: Annotated[
        Path | None,
        typer.Option(help="Folder of modules, prompts and file tools; else there are none.", envvar="FABRIC_DOCROOT"),
    ] = None,
    provider: Provider = None,
    model: Model = None,
    auto_approve: AutoApprove = False,
    allow_processes: Annotated[
        bool,
        typer.Option(
            "--allow-processes",
            help="Let programs run Python functions, workers and MCP servers, and name endpoints of providers.",
        ),
    ] = False,
    budget_usd: BudgetUsd = None,
    budget_tokens: BudgetTokens = None,
    budget_calls: BudgetCalls = None,
    log_level: LogLevel = "error",
) -> None:
    """Serve two MCP tools: `check {source}` and `call {source, input}`, which runs a program once, up to its first
    output. On stdin and stdout one JSON-RPC message is one line; logs go to stderr.

    Programs may come from anybody. They can use agents, with the keys that this server has; modules of PLUMB_PATH and
    of the library; and what lies in --docroot. They cannot start processes, write files, notify or choose where a key
    is sent, unless --allow-processes or --auto-approve says so. A budget is one of each call. Over HTTP only pages and
    programs of this machine are answered, and only POST.

    Examples: fabric mcp --docroot notes --provider anthropic --model claude-haiku-4-5; fabric mcp --http 8321

    Exit codes: 0 the client has left, or a signal came, 2 what it needs is not installed, or the configuration is
    wrong.
    """
    level = check_level(log_level)
    if any(find_spec(module) is None for module in NEEDED):
        raise ConfigError("the MCP server is not installed: pip install 'plumb-fabric[mcp]'")
    if docroot is not None and not docroot.is_dir():
        raise ConfigError(f"--docroot {docroot}: there is no such folder")
    from fabric.mcp_server.programs import Policy

    project = project_settings()
    provider, model = project.choose_model(provider, model)
    limits = limits_of(project, budget_usd, budget_tokens, budget_calls, None)
    settings = settings_of(project, None, None, None, limits=limits, refusal_ends=True, auto_approve=auto_approve)
    settings = msgspec.structs.replace(settings, workers={})  # those are another program's
    if settings.approval == "ask":  # nobody is here
        settings = msgspec.structs.replace(settings, approval="refuse")
    policy = Policy(
        docroot=None if docroot is None else docroot.resolve(),
        folders=tuple(folder.resolve() for folder in search_path(None)),
        resources=os.environ.get("PLUMB_RESOURCES", ""),
        allow_processes=allow_processes,
        metered=limits.metered,
        provider=provider,
        model=model,
        endpoint=os.environ.get("PLUMB_ENDPOINT"),
    )
    with open_run_directory(os.environ) as nowhere:
        _serve(policy, settings, Prices(project.prices), Path(nowhere), http, JsonReport(level))


def _serve(
    policy: Policy, settings: Settings, prices: Prices, nowhere: Path, port: int | None, report: JsonReport
) -> None:
    import trio

    from fabric.mcp_server.http import HOST, PATH, listen, serve_http
    from fabric.mcp_server.lines import serve_lines
    from fabric.mcp_server.programs import Programs
    from fabric.mcp_server.server import make_server
    from fabric.mcp_server.tools import Tools

    tools = Tools(Programs(policy, nowhere), settings, prices, os.environ, report)
    server = make_server(tools)

    async def serve() -> None:
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_at_signal, stop)
            if port is None:
                nursery.start_soon(_cancel_when, stop, nursery.cancel_scope)
                await serve_lines(server, 0, _take_stdout())
            else:
                listening = listen(port)
                url = f"http://{HOST}:{listening.getsockname()[1]}{PATH}"
                print_line(encode_json({"log": "info", "event": "mcp.listening", "url": url}).decode())
                await serve_http(server, listening, stop)
            nursery.cancel_scope.cancel()

    trio.run(serve)


def _take_stdout() -> int:
    """Return a descriptor of stdout, which is stderr from now on: whatever is printed by mistake is no message."""
    ours = os.dup(1)
    os.dup2(2, 1)
    return ours


async def _stop_at_signal(stop: trio.Event) -> None:
    import trio

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            stop.set()


async def _cancel_when(stop: trio.Event, scope: trio.CancelScope) -> None:
    await stop.wait()
    scope.cancel()
