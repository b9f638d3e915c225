"""The command that explains the codes of the checker."""

from __future__ import annotations

__all__ = ["explain", "explanations", "register"]

import re
import shutil
import textwrap
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from fabric import lang
from fabric.cli.report import use_color
from fabric.errors import ConfigError
from fabric.lang.diagnostic import CODES, did_you_mean
from fabric.lang.explanation import Explanation, codes_meant, parse_explanation
from fabric.wire.payload import encode_json

FOLDER = Path(lang.__file__).parent / "explanations"

WIDTH_MAX = 100
"""Longer lines are hard to read, however wide the terminal is."""

_BOLD, _RED, _GREEN, _YELLOW = "\x1b[1m", "\x1b[1;31m", "\x1b[32m", "\x1b[1;33m"
_CYAN, _RESET = "\x1b[36m", "\x1b[0m"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(explain)


def explanations() -> dict[str, Explanation]:
    """Return what is known of every code, by code."""
    return {
        code: parse_explanation(code, (FOLDER / f"{code}.md").read_text(encoding="utf-8")) for code in sorted(CODES)
    }


def explain(
    code: Annotated[
        str | None,
        typer.Argument(help="A code, or a word such as type_mismatch; left out: all codes.", show_default=False),
    ] = None,
    output: Annotated[str, typer.Option("--format", help="text or json.")] = "text",
) -> None:
    """Explain a code of the checker: what it means, a program that fails, one that passes, what to do.

    Examples: fabric explain E0412; fabric explain type_mismatch; fabric explain

    Exit codes: 0, 2 there is no such code.
    """
    if output not in ("text", "json"):
        raise ConfigError(f"--format {output}: expected text or json")
    found = explanations()
    meant = list(found) if code is None else codes_meant(code)
    if not meant:
        near = did_you_mean(code or "", (*CODES, *{slug for slug, _ in CODES.values()}))
        raise ConfigError(f"there is no code {code!r}; {near or 'fabric explain lists them all'}")
    if output == "json":
        said = [msgspec.to_builtins(found[one]) for one in meant]
        typer.echo(encode_json({"v": 1, "explanations": said}).decode())
    elif len(meant) == 1:
        width = min(shutil.get_terminal_size().columns, WIDTH_MAX)
        typer.echo(render(found[meant[0]], width, color=use_color(1)))
    else:
        typer.echo(render_list([found[one] for one in meant], color=use_color(1)))


def render(explanation: Explanation, width: int, *, color: bool) -> str:
    """Return an explanation as text for a terminal: programs are indented, and marked as failing or passing."""

    def paint(style: str, text: str) -> str:
        return f"{style}{text}{_RESET}" if color else text

    style = _RED if explanation.code.startswith("E") else _YELLOW
    blocks = [paint(style, f"{explanation.code} {explanation.slug}") + paint(_BOLD, f": {explanation.title}")]
    for part in re.split(r"(?ms)(^```plumb.*?^```$)", explanation.text):
        if part.startswith("```"):
            first, *lines = part.split("\n")[:-1]
            fails = first.endswith("error")
            blocks.append(paint(style, f"this gives {explanation.code}:") if fails else paint(_GREEN, "this passes:"))
            blocks.append(textwrap.indent("\n".join(lines), "    "))
            continue
        for paragraph in filter(None, part.strip().split("\n\n")):
            kept = re.sub(r"`[^`]+`", lambda match: match[0].replace(" ", "\0"), paragraph)  # code is not broken
            filled = textwrap.fill(kept, width, break_long_words=False, break_on_hyphens=False).replace("\0", " ")
            blocks.append(re.sub(r"`([^`]+)`", lambda match: paint(_CYAN, match[1]), filled) if color else filled)
    return "\n\n".join(blocks)


def render_list(of: list[Explanation], *, color: bool) -> str:
    """Return a line for each: code, slug, title."""
    width = max(len(explanation.slug) for explanation in of)
    bold, cyan, reset = (_BOLD, _CYAN, _RESET) if color else ("", "", "")
    return "\n".join(f"{bold}{e.code}{reset}  {cyan}{e.slug:{width}}{reset}  {e.title}" for e in of)
