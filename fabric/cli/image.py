"""The command that builds images of the fabric, and of a program with it."""

from __future__ import annotations

__all__ = ["register"]

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import trio
import typer

from fabric.cli.programs import project_settings
from fabric.cli.report import print_line
from fabric.errors import ConfigError
from fabric.manifests.image import context_files, pack_context, write_context
from fabric.manifests.making import program_root
from fabric.runtime.starting import IMAGE
from fabric.settings import project_file

BASE = "python:3.12-slim"
TARGETS = ("agent", "fabric")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(image)


def image(
    program: Annotated[
        Path | None,
        typer.Argument(metavar="[SPEC]", help="A program: its folder is put into the image at /app.", exists=True),
    ] = None,
    tag: Annotated[
        str | None, typer.Option("--tag", "-t", help=f"Name of the image. [default: {IMAGE}, or {IMAGE}-agent]")
    ] = None,
    target: Annotated[
        str, typer.Option(help="fabric: everything; agent: what a worker needs, without the command line.")
    ] = "fabric",
    base: Annotated[str, typer.Option(help="Image with Python 3.11 or later and pip that it is made from.")] = BASE,
    wheels: Annotated[
        Path | None,
        typer.Option(help="Folder with the wheels of all that is needed; nothing is downloaded then.", file_okay=False),
    ] = None,
    extra: Annotated[
        list[str] | None,
        typer.Option("--extra", help="Also what this extra of ours needs: mcp, otel, prices, …; may be repeated."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Build nothing: write what it is built from to this folder."),
    ] = None,
) -> None:
    """Build an image for containers of workers, or of a whole service, with a Docker Engine: that of DOCKER_HOST, or
    of this machine. The fabric that is installed here gets into it, extras only with --extra.

    Examples: fabric image; fabric image main.plumb -t shop:1 --target agent

    Exit codes: 0, 2 something that it needs is not there, 4 the engine is not there or could not build it.
    """
    if target not in TARGETS:
        raise ConfigError(f"--target {target}: expected {' or '.join(TARGETS)}")
    root = None
    if program is not None:
        root = program_root(program, project_settings(), project_file(Path.cwd()))
    files, left_out = context_files(root, wheels, output=output, extras=extra or ())
    for path, why in left_out:
        print_line(f"left out: {path} ({why})")
    if output is not None:
        write_context(files, output)
        print_line(f"build it with: docker build --target {target} -t {tag or IMAGE} {output}")
        return
    name = tag or (IMAGE if target == "fabric" else f"{IMAGE}-{target}")
    build = partial(_build, pack_context(files), name, target, base)
    print_line(f"built {name} ({trio.run(build) / 1e6:.0f} MB)")


async def _build(context: bytes, tag: str, target: str, base: str) -> int:
    """Build it, and return its size in bytes."""
    from fabric.launch.engine import open_engine

    async with open_engine("", os.environ) as engine:
        await engine.build(context, tag, target, {"BASE": base}, print_line)
        return (await engine.image(tag)).size
