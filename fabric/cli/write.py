"""Commands that show what a program is: nothing is started."""

from __future__ import annotations

__all__ = ["register"]

import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from fabric.cli.flags import Insecure
from fabric.cli.programs import INCLUDE, PROGRAM, find_program, project_settings
from fabric.compiler import Compiled, check_file, compile_file, search_path
from fabric.errors import ConfigError, UnknownName
from fabric.graph.answer import reach_json, reach_text
from fabric.graph.reach import Reach, find_place
from fabric.graph.reach import reach as reach_place
from fabric.graph.render import FORMATS, render
from fabric.graph.svg import draw_svg
from fabric.lang.tools import BUILTINS
from fabric.plan.place import place
from fabric.plan.plan import Plan
from fabric.plan.render import render_plan
from fabric.runtime.prices import Prices
from fabric.runtime.services import project_name
from fabric.runtime.starting import placement_of, whose_ports
from fabric.session.money import PICO


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command()(plan)
    app.command()(graph)


def plan(
    program: Annotated[Path | None, PROGRAM] = None,
    output: Annotated[str, typer.Option("--format", help="text or json.")] = "text",
    provider: Annotated[
        str | None, typer.Option(help="For agents that do not say theirs.", envvar="PLUMB_PROVIDER")
    ] = None,
    model: Annotated[str | None, typer.Option(help="For agents that do not say theirs.", envvar="PLUMB_MODEL")] = None,
    include: Annotated[list[Path] | None, INCLUDE] = None,
    insecure: Insecure = False,
) -> None:
    """Print what `up` and `run` would start: workers, commands, ports, variables, routes; and how many calls of models
    a message can bring about at most, where the wiring tells. Nothing is started.

    Examples: fabric plan main.plumb; fabric plan --format json main.plumb

    Exit codes: 0, 2 the program does not check or cannot be run.
    """
    if output not in ("text", "json"):
        raise ConfigError(f"--format {output}: expected text or json")
    project = project_settings()
    provider, model = project.choose_model(provider, model)
    spec = find_program(program, project)
    made, _ = compile_file(
        spec,
        run_directory="RUN",
        provider=provider,
        model=model,
        endpoint=os.environ.get("PLUMB_ENDPOINT"),
        resources=os.environ.get("PLUMB_RESOURCES", ""),
        folders=search_path(include),
    )
    project.check_workers([worker.name for worker in made.workers])
    whose = whose_ports(spec, project_name(spec))
    made = place(made, placement_of(project, whose=whose, insecure=insecure))
    typer.echo(render_plan(made, output, _reply_prices(made, Prices(project.prices))))


def _reply_prices(plan: Plan, prices: Prices) -> dict[str, float]:
    """Return what a million tokens of a reply cost in dollars, by agent, where that is known."""
    agents = {worker.node: worker.spec.config for worker in plan.workers if worker.spec.kind == "agent"}
    rates = {name: prices.rate_of(str(said["provider"]), str(said["model"]), 0) for name, said in agents.items()}
    return {name: rate.output * 1_000_000 / PICO for name, rate in rates.items() if rate is not None}


def graph(
    program: Annotated[Path | None, PROGRAM] = None,
    style: Annotated[
        str | None, typer.Option("--format", help=f"{', '.join(FORMATS)}.", show_default="mermaid; svg with --open")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file to write, instead of stdout.")] = None,
    open_: Annotated[bool, typer.Option("--open", help="Show the picture in the browser.")] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Color it by what the running service of the program does: svg.")
    ] = False,
    name: Annotated[
        str | None, typer.Option("--project", "-p", help="Name of the service.", envvar="FABRIC_PROJECT")
    ] = None,
    include: Annotated[list[Path] | None, INCLUDE] = None,
    reach: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE",
            help="Tell what can come to a place, and where it leads: tool:NAME, a port, a worker. With --format svg,"
            " ascii, mermaid or dot: draw that part.",
        ),
    ] = None,
) -> None:
    """Draw the wiring graph: as a picture (svg), in characters (ascii), as text for other programs. Works offline.

    Examples: fabric graph --open main.plumb; fabric graph --format ascii main.plumb;
    fabric graph --format dot main.plumb | dot -Tsvg; fabric graph --live --open main.plumb;
    fabric graph --reach tool:sys.exec main.plumb; fabric graph --reach writer@ctrl_in main.plumb

    --live looks for a second, and writes messages per second beside the channels, and how many wait into the boxes.

    --reach answers in words (json: as one object): every input with the shortest way, or that there is none. A
    process is taken to pass everything on, so what is said to be out of reach is.

    Exit codes: 0, 2 the program does not check, there is no such place, the file cannot be written, or there is no
    browser to open; --live: 7 no such service is running, 1 it does not answer.
    """
    chosen = style or ("svg" if open_ or live else "mermaid")
    in_words = reach is not None and not open_ and style in (None, "json")
    if chosen not in FORMATS:
        raise ConfigError(f"--format {chosen}: expected {', '.join(FORMATS)}")
    if open_ and chosen != "svg":
        raise ConfigError(f"--open shows a picture: expected --format svg, got {chosen}")
    if live and chosen != "svg":
        raise ConfigError(f"--live colors a picture: expected --format svg, got {chosen}")
    if live and reach is not None:
        raise ConfigError("--live colors the whole graph, --reach tells of a part of it: give one of them")
    spec = find_program(program, project_settings())
    compiled = check_file(spec, search_path(include))
    graph = compiled.graph
    found = None if reach is None else _reach(compiled, reach)
    if found is not None and in_words:
        text = reach_json(graph, found) if style == "json" else reach_text(graph, found)
    elif found is not None:
        text = render(found.part, chosen)
    elif live:
        from fabric.cli.watch import look_at  # the event loop with it

        text = draw_svg(graph, look_at(spec, name, graph))
    else:
        text = render(graph, chosen)
    drawing = text.encode()  # UTF-8, whatever the terminal's is
    if open_ and output is None:
        descriptor, name = tempfile.mkstemp(prefix="fabric-", suffix=".svg")
        os.close(descriptor)
        output = Path(name)
    if output is None:
        typer.echo(drawing)
        return
    try:
        output.write_bytes(drawing + b"\n")
    except OSError as error:
        raise ConfigError(f"cannot write {output}: {error.strerror}") from None
    if open_:
        import webbrowser

        if not webbrowser.open(output.resolve().as_uri()):
            raise ConfigError(f"no browser can be opened here; the picture is in {output}")


def _reach(compiled: Compiled, wanted: str) -> Reach:
    """Return what can come to a place of a program.

    Raises:
        ConfigError: there is no such place.
    """
    bindings = compiled.module.bindings.values()
    tools = {binding.name: binding.config.get("builtin", "") for binding in bindings if binding.kind == "tool"}
    servers = {f"mcp:{server['name']}": "" for binding in bindings for server in binding.config.get("mcp", ())}
    builtins = dict.fromkeys(BUILTINS, "")
    try:
        place = find_place(compiled.graph, wanted, builtins | tools | servers)
    except UnknownName as error:
        raise ConfigError(f"--reach {wanted}: {error}") from None
    return reach_place(compiled.graph, place)
