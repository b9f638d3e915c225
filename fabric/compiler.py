"""The whole compiler on one screen: program text to plan.

text --lang--> typed module --graph--> wiring graph --plan--> plan
"""

from __future__ import annotations

__all__ = ["Compiled", "check_file", "check_text", "compile_file", "read_documents", "read_source"]

import sys
from pathlib import Path

import msgspec

from fabric.errors import ConfigError, ProgramError
from fabric.graph import passes
from fabric.graph.ir import Graph
from fabric.lang.check import check_source
from fabric.lang.diagnostic import Diagnostic
from fabric.lang.source import Source
from fabric.lang.typed import Module
from fabric.plan.make import Surroundings, make_plan
from fabric.plan.plan import Plan
from fabric.wire.spec import Document


class Compiled(msgspec.Struct, frozen=True):
    """A program that checks.

    Attributes:
        module: its declarations, typed.
        graph: the wiring of its main binding.
        warnings: what the checker remarked.
    """

    module: Module
    graph: Graph
    warnings: tuple[Diagnostic, ...]


def read_source(path: str | Path) -> Source:
    """Read a program's file.

    Raises:
        ConfigError: there is none, or it is not text.
    """
    try:
        return Source(str(path), Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read {path}: it is not UTF-8 text (byte {error.start})") from None


check_text = check_source
"""Check a program's text: the typed module, or ``None``, and every diagnostic."""


def check_file(path: str | Path) -> Compiled:
    """Read and check a program.

    Raises:
        ConfigError: the file cannot be read.
        ProgramError: the program does not check; carries every diagnostic.
    """
    module, diagnostics = check_source(read_source(path))
    if module is None:
        raise ProgramError(diagnostics)
    return Compiled(module, passes.build(module), diagnostics)


def compile_file(
    path: str | Path,
    *,
    run_directory: str,
    provider: str | None = None,
    model: str | None = None,
    resources: str = "",
) -> tuple[Plan, Compiled]:
    """Read, check and plan a program; nothing is started.

    Args:
        path: of the file.
        run_directory: where sockets will be.
        provider, model: for agents that do not say theirs.
        resources: folders of shared prompt files, separated by colons.

    Raises:
        ConfigError: a file cannot be read, an agent cannot be run.
        ProgramError: the program does not check.
    """
    compiled = check_file(path)
    surroundings = Surroundings(
        python=sys.executable,
        run_directory=run_directory,
        directory=str(Path(path).resolve().parent),
        provider=provider,
        model=model,
        documents=read_documents(compiled.module, Path(path).resolve().parent, resources),
    )
    return make_plan(compiled.module, compiled.graph, surroundings), compiled


def read_documents(module: Module, directory: Path, resources: str) -> dict[tuple[str, str], Document]:
    """Read the prompt files that agents name, by binding and name.

    A name with a slash is relative to ``directory``; a bare one is looked up in the folders of ``resources``
    (separated by colons) and then in the installed ones.

    Raises:
        ConfigError: one cannot be found or read.
    """
    installed = Path(__file__).parent / "resources"
    folders = [Path(folder) for folder in resources.split(":") if folder] + [installed]
    documents = {}
    for binding in module.bindings.values():
        for name in binding.config.get("prompts", ()):
            candidates = [directory / name] if "/" in name else [folder / name for folder in folders]
            found = next((path for path in candidates if path.is_file()), None)
            if found is None:
                where = ", ".join(str(path.parent) for path in candidates)
                raise ConfigError(f"agent '{binding.name}': no prompt file {name!r} in {where}")
            documents[binding.name, name] = Document(name, read_source(found).text)
    return documents
