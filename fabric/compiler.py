"""The whole compiler on one screen: program text to plan.

text --lang--> typed module --graph--> wiring graph --plan--> plan
"""

from __future__ import annotations

__all__ = [
    "INSTALLED",
    "Compiled",
    "Library",
    "check_file",
    "check_program",
    "check_text",
    "compile_file",
    "directories_of",
    "plan_compiled",
    "read_documents",
    "read_source",
    "read_text",
    "search_path",
    "tools_of",
]

import errno
import os
import stat
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from fabric.errors import ConfigError
from fabric.graph import passes
from fabric.graph.ir import Graph
from fabric.lang import modules
from fabric.lang.check import check_source
from fabric.lang.diagnostic import Diagnostic, check_error
from fabric.lang.modules import Found, Missing
from fabric.lang.source import Source
from fabric.lang.typed import Module
from fabric.plan.make import Surroundings, make_plan
from fabric.plan.plan import Plan
from fabric.plan.tools import tool_spec
from fabric.wire.spec import Document, ToolSpec

INSTALLED = Path(__file__).parent / "library"
"""The modules that come with us."""


HERE = Path()
"""The working directory, as it is when something is looked at. Who may have another by then says which he means."""


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


def read_source(path: str | Path, here: Path = HERE) -> Source:
    """Read a program's file; ``here``: the folder that its path is relative to. It is shown as it is written.

    Raises:
        ConfigError: there is none, or it is not text.
    """
    try:
        return Source(str(path), (here / path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read {path}: it is not UTF-8 text (byte {error.start})") from None


def read_text(path: Path) -> str:
    """Return the text of a regular file, which has to be UTF-8. A program may not make us read a device or a pipe.

    Raises:
        OSError: there is none, or it cannot be read.
        UnicodeDecodeError: it is not UTF-8.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # of a folder, reading says so
        raise OSError(errno.EINVAL, "it is not a regular file")
    return path.read_text(encoding="utf-8")


class Library:
    """Finds the files that programs use; see :class:`fabric.lang.modules.Library`.

    ``use name`` is ``name.plumb`` in the folder of the file that uses it, in the folders of the search path, or in the
    installed library, in this order. ``use "path"`` is relative to the file that uses it.

    Args:
        folders: the search path.
        read: returns a file's text; raises what :func:`read_text` does. An editor has texts that are not on disk yet.
        here: what paths are relative to. They are shown as they are written.
    """

    def __init__(
        self, folders: Iterable[str | Path] = (), read: Callable[[Path], str] = read_text, here: Path = HERE
    ) -> None:
        self._here = here
        self._folders = [Path(folder) for folder in folders]
        self._read = read

    def find(self, name: str, *, is_path: bool, importer: str) -> Found | Missing:
        """Return a file, or why there is none."""
        if is_path:
            places = [Path(importer).parent / name]
        else:
            places = [folder / f"{name}.plumb" for folder in self._searched(importer)]
        for place in places:
            try:
                return Found(str(place), self._read(self._here / place))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                return Missing(str(error.strerror), (str(place),))
            except UnicodeDecodeError as error:
                return Missing(f"it is not UTF-8 text (byte {error.start})", (str(place),))
            except ValueError:  # a zero byte in the path
                return Missing("this cannot be a file's name")
        known = () if is_path else self.names(importer)
        return Missing("no such file", tuple(map(str, places)), known)

    def names(self, importer: str) -> tuple[str, ...]:
        """Return the names that can be found from a file."""
        return tuple(file.stem for folder in self._searched(importer) for file in (self._here / folder).glob("*.plumb"))

    def _searched(self, importer: str) -> tuple[Path, ...]:
        return (Path(importer).parent, *self._folders, INSTALLED)


def search_path(folders: Iterable[str | Path] | None, environment: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Return where modules are looked for: these folders, then those of ``PLUMB_PATH``, without empty ones."""
    listed = environment.get("PLUMB_PATH", "").split(os.pathsep)
    return (*map(Path, folders or ()), *(Path(folder) for folder in listed if folder))


def check_text(source: Source, folders: Iterable[str | Path] = ()) -> tuple[Module | None, tuple[Diagnostic, ...]]:
    """Check a program's text: the typed module, or ``None``, and every diagnostic."""
    return check_source(source, Library(folders))


def check_file(path: str | Path, folders: Iterable[str | Path] = ()) -> Compiled:
    """Read and check a program.

    Args:
        path: of its main file.
        folders: where to look for the files that it uses, beside its own and the installed one.

    Raises:
        ConfigError: the file cannot be read.
        CheckError: the program does not check; carries every diagnostic.
    """
    compiled, diagnostics = check_program(read_source(path), Library(folders))
    if compiled is None:
        raise check_error(diagnostics)
    return compiled


def check_program(source: Source, library: modules.Library) -> tuple[Compiled | None, tuple[Diagnostic, ...]]:
    """Check a program whose text is there already: what it is, or ``None``, and every diagnostic.

    Args:
        source: the main file; what it names is relative to its path, which need not exist.
        library: finds the files that it uses.
    """
    module, diagnostics = check_source(source, library)
    return (None if module is None else Compiled(module, passes.build(module), diagnostics)), diagnostics


def compile_file(
    path: str | Path,
    *,
    run_directory: str,
    provider: str | None = None,
    model: str | None = None,
    endpoint: str | None = None,
    metered: bool = False,
    resources: str = "",
    folders: Iterable[str | Path] = (),
    observed: Iterable[str] = (),
    docroot: Path | None = None,
    detour: str | None = None,
) -> tuple[Plan, Compiled]:
    """Read, check and plan a program; nothing is started.

    Args:
        path: of the file.
        run_directory: where sockets will be.
        provider, model, endpoint: for agents that do not say theirs.
        metered: whether agents have to ask for each call of a model, since there is a budget.
        resources: folders of shared prompt files, separated by colons.
        folders: see :func:`check_file`.
        observed: side ports that get an extra output.
        docroot: folder of the file tools; ``None``: that of the program.
        detour: of a test: where agents that say their endpoint are sent instead.

    Raises:
        ConfigError: a file cannot be read, an agent cannot be run.
        CheckError: the program does not check.
    """
    compiled = check_file(path, folders)
    plan = plan_compiled(
        compiled,
        run_directory=run_directory,
        provider=provider,
        model=model,
        endpoint=endpoint,
        metered=metered,
        resources=resources,
        observed=observed,
        docroot=docroot,
        detour=detour,
    )
    return plan, compiled


def plan_compiled(
    compiled: Compiled,
    *,
    run_directory: str,
    provider: str | None = None,
    model: str | None = None,
    endpoint: str | None = None,
    metered: bool = False,
    resources: str = "",
    observed: Iterable[str] = (),
    docroot: Path | None = None,
    here: Path = HERE,
    detour: str | None = None,
) -> Plan:
    """Plan a program that was checked; nothing is started.

    Args:
        compiled: the program.
        run_directory, provider, model, endpoint, metered, resources, observed, docroot, detour: as of
                :func:`compile_file`.
        here: what paths are relative to, those of the program as well.

    Raises:
        ConfigError: a file cannot be read, an agent cannot be run.
    """
    directories = directories_of(compiled.module, here)
    surroundings = Surroundings(
        python=sys.executable,
        run_directory=run_directory,
        directory=str((here / compiled.module.source.path).resolve().parent),
        provider=provider,
        model=model,
        endpoint=endpoint,
        metered=metered,
        directories=directories,
        documents=read_documents(compiled.module, directories, resources, here),
        docroot=None if docroot is None else _folder(here, docroot),
        detour=detour or None,
    )
    graph = passes.build(compiled.module, observed) if observed else compiled.graph
    return make_plan(compiled.module, graph, surroundings)


def _folder(here: Path, path: Path) -> str:
    if not (here / path).is_dir():
        raise ConfigError(f"--docroot {path}: there is no such folder")
    return str((here / path).resolve())


def directories_of(module: Module, here: Path = HERE) -> dict[str, str]:
    """Return the folder of the file that declares each binding, absolute: what a binding names is relative to it."""
    return {
        binding.name: str((here / module.sources.at(binding.span).path).resolve().parent)
        for binding in module.bindings.values()
    }


def tools_of(module: Module, agent: str) -> tuple[ToolSpec, ...]:
    """Return what an agent may call, by its binding's name."""
    return tuple(tool_spec(module, tool, tool) for tool in module.bindings[agent].config.get("tools", ()))


def read_documents(
    module: Module, directories: Mapping[str, str], resources: str, here: Path = HERE
) -> dict[tuple[str, str], Document]:
    """Read the prompt files that agents name, by binding and name.

    A name with a slash is relative to the folder of the binding (``directories``); a bare one is looked up in the
    folders of ``resources`` (separated by colons; relative to ``here``) and then in the installed ones.

    Raises:
        ConfigError: one cannot be found or read.
    """
    installed = Path(__file__).parent / "resources"
    folders = [here / folder for folder in resources.split(":") if folder] + [installed]
    documents = {}
    for binding in module.bindings.values():
        for name in binding.config.get("prompts", ()):
            candidates = (
                [Path(directories[binding.name], name)] if "/" in name else [folder / name for folder in folders]
            )
            found = next((path for path in candidates if path.is_file()), None)
            if found is None:
                where = ", ".join(str(path.parent) for path in candidates)
                beside = Path(directories[binding.name], name)
                hint = f"; for the one beside the program write './{name}'" if beside.is_file() else ""
                raise ConfigError(f"agent '{binding.name}': no prompt file {name!r} in {where}{hint}")
            documents[binding.name, name] = Document(name, read_source(found).text)
    return documents
