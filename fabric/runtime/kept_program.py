"""The text of a program beside the log of its run: so it is known what was recorded, when the program has changed.

    sessions/<sid>/program.json     its files, and what a plan depends on besides them; created once

A history has only what cannot be computed again. What a worker took, and what left the graph, are found out by the
program that computed it then.
"""

from __future__ import annotations

__all__ = ["KeptProgram", "describe_program", "keep_program", "plan_kept", "read_program"]

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from fabric.compiler import INSTALLED, Compiled, Library, check_program, directories_of, read_text
from fabric.errors import LogDamaged
from fabric.graph import passes
from fabric.lang.diagnostic import check_error
from fabric.lang.source import Source
from fabric.plan.make import Surroundings, make_plan
from fabric.plan.plan import Plan
from fabric.store.keys import session_prefix
from fabric.store.objects import ObjectStore
from fabric.wire.spec import Document

ANY_PROVIDER = "eliza"
"""Of agents that say none: nobody is asked when a history is relived."""


class KeptProgram(msgspec.Struct, frozen=True, omit_defaults=True):
    """A program as it was when its run began.

    Attributes:
        main: path of its file, as it was given.
        files: text of each file, by the path by which it was found; the main one as well.
        folders: the search path.
        observed: side ports that had an extra output.
        provider, model: of agents that do not say theirs.
    """

    main: str
    files: Mapping[str, str]
    folders: tuple[str, ...] = ()
    observed: tuple[str, ...] = ()
    provider: str = ""
    model: str = ""
    v: int = 1


def describe_program(
    compiled: Compiled,
    folders: Iterable[str | Path] = (),
    observed: Iterable[str] = (),
    provider: str | None = None,
    model: str | None = None,
) -> KeptProgram:
    """Return what is to be kept of a program that was checked."""
    sources = compiled.module.sources
    files = {str(Path(source.path)): source.text for source in sources.files}
    main = str(Path(sources.main.path))
    return KeptProgram(main, files, tuple(map(str, folders)), tuple(observed), provider or "", model or "")


def _key(session: str) -> str:
    return f"{session_prefix(session)}program.json"


def keep_program(store: ObjectStore, session: str, program: KeptProgram) -> None:
    """Keep the program of a run, unless it is kept. Raises StoreFailed."""
    store.create(_key(session), msgspec.json.encode(program))


def read_program(store: ObjectStore, session: str) -> KeptProgram | None:
    """Return the program of a run as it was; ``None``: it was not kept.

    Raises:
        LogDamaged: it cannot be read.
    """
    raw = store.get(_key(session))
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=KeptProgram)
    except msgspec.DecodeError as error:
        raise LogDamaged(f"{_key(session)}: this version cannot read it: {error}") from None


def plan_kept(program: KeptProgram, run_directory: str) -> Plan:
    """Plan a program as it was. It can be relived; it cannot be run, for its prompts are not there.

    Raises:
        CheckError: this version does not take it any more.
    """

    def read(path: Path) -> str:
        if str(path) in program.files:
            return program.files[str(path)]
        if path.is_relative_to(INSTALLED):  # of another place or version by then
            named = (text for name, text in program.files.items() if Path(name).name == path.name)
            return next(named, None) or read_text(path)
        raise FileNotFoundError(path)

    source = Source(program.main, program.files[program.main])
    compiled, diagnostics = check_program(source, Library(program.folders, read))
    if compiled is None:
        raise check_error(diagnostics)
    module = compiled.module
    surroundings = Surroundings(
        python=sys.executable,
        run_directory=run_directory,
        directory=str(Path(program.main).parent.absolute()),
        directories=directories_of(module),
        provider=program.provider or ANY_PROVIDER,
        model=program.model or None,
        documents={
            (binding.name, name): Document(name, "")
            for binding in module.bindings.values()
            for name in binding.config.get("prompts", ())
        },
    )
    graph = passes.build(module, program.observed) if program.observed else compiled.graph
    return make_plan(module, graph, surroundings)
