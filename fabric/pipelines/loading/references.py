"""``module:function``: what a pipeline names is looked for beside its file first, then where Python looks.

Modules beside a file are imported into a package of their own for each directory, whose name nobody writes: two
pipelines that have a ``schemas.py`` each do not see each other's. Such a module finds the others of its directory by
their plain names, for the ``import`` of its own code looks there first; nothing in ``sys.path`` changes. If Python
itself leads to the same file by the plain name, then the module is the one that everybody else has.
"""

from __future__ import annotations

__all__ = ["Importer", "expect_called", "package_of"]

import builtins
import hashlib
import importlib
import importlib.machinery
import importlib.util
import inspect
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from fabric.pipelines.errors import CallableImportError, PipelineLoadError
from fabric.pipelines.loading.problems import near

_PREFIX = "_pipeline_"
_REFERENCE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_LOCK = threading.Lock()


class Importer:
    """Imports for one directory.

    Args:
        directory: of the pipeline's file.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory.resolve()
        self._package = _package(self._directory)
        self._found: dict[str, Any] = {}

    def find(self, text: str, kind: type[PipelineLoadError] = CallableImportError) -> Any:
        """Return what a reference names.

        Raises:
            PipelineLoadError: of the given kind: it is no reference, or there is no such module or name, or importing
                it failed. ``suggestion`` is what was meant, perhaps; it has no place.
        """
        if text not in self._found:
            self._found[text] = self._look_up(text, kind)
        return self._found[text]

    def _look_up(self, text: str, kind: type[PipelineLoadError]) -> Any:
        if not _REFERENCE.fullmatch(text):
            raise kind(f"{text!r} is not of the form module:name", suggestion=_colon(text))
        module_name, _, path = text.partition(":")
        module = self._module(module_name, kind)
        found: Any = module
        for part in path.split("."):
            try:
                found = getattr(found, part)
            except AttributeError:
                names = [name for name in dir(found) if not name.startswith("_")]
                close = near(part, names)
                whole = f"{text[: len(text) - len(path)]}{path.replace(part, close)}" if close else None
                raise kind(f"module {module_name!r} has no {part!r}", suggestion=whole) from None
        return found

    def _module(self, name: str, kind: type[PipelineLoadError]) -> ModuleType:
        try:
            return self._import(name)
        except ModuleNotFoundError as error:
            missing = (error.name or "").removeprefix(f"{self._package}.")
            if missing and (name == missing or name.startswith(f"{missing}.")):
                raise kind(
                    f"there is no module {missing!r}: looked in {self._directory} and where Python is installed",
                    suggestion=near(name, self._beside()),
                ) from None
            raise kind(f"importing {name!r} failed: {error}") from error
        except (Exception, SystemExit) as error:
            raise kind(f"importing {name!r} failed: {type(error).__name__}: {error}") from error

    def _import(self, name: str) -> ModuleType:
        if not _stands_in(self._directory, name) or _is_everybodys(self._directory, name):
            return importlib.import_module(name)
        return importlib.import_module(f"{self._package}.{name}")

    def _beside(self) -> list[str]:
        return sorted(path.stem for path in self._directory.glob("*.py"))


def expect_called(found: Any, what: str) -> None:
    """Refuse what cannot be called for its value.

    Args:
        found: what a name stands for.
        what: it is, for the message.

    Raises:
        CallableImportError: it is no function, or one that is to be awaited.
    """
    if not callable(found):
        raise CallableImportError(f"{what} is not a function")
    for each in (found, type(found).__call__):
        if inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each):
            raise CallableImportError(
                f"{what} is an async function, and is not awaited: write def, with trio.run or asyncio.run in it"
            )


def _colon(text: str) -> str | None:
    module, dot, name = text.rpartition(".")
    return f"{module}:{name}" if dot and ":" not in text else None


def package_of(directory: Path) -> str:
    """Return the name of the package of the modules in a directory. It is the same in every process."""
    return _PREFIX + hashlib.sha256(str(directory.resolve()).encode(errors="surrogateescape")).hexdigest()[:12]


def _package(directory: Path) -> str:
    name = package_of(directory)
    with _LOCK:
        if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
            sys.meta_path.insert(0, _Finder())
        if name not in sys.modules:
            package = ModuleType(name, f"Modules beside the pipelines of {directory}.")
            package.__path__ = [str(directory)]
            sys.modules[name] = package
    # Files may have been written since Python looked; of other directories it keeps what it knows.
    sys.path_importer_cache.pop(str(directory), None)
    return name


def _stands_in(directory: Path, name: str) -> bool:
    top = directory / name.partition(".")[0]
    return top.with_name(f"{top.name}.py").is_file() or (top / "__init__.py").is_file() or _holds(top, name)


def _holds(top: Path, name: str) -> bool:
    """Whether a directory without ``__init__.py`` is a package that has the module that is named."""
    rest = name.split(".")[1:]
    return bool(rest) and top.joinpath(*rest).with_suffix(".py").is_file()


def _is_everybodys(directory: Path, name: str) -> bool:
    top = name.partition(".")[0]
    module = sys.modules.get(top)
    try:
        spec = importlib.util.find_spec(top) if module is None else module.__spec__
    except (ImportError, ValueError):
        return False
    origin = getattr(module, "__file__", None) or (spec.origin if spec is not None else None)
    places = [origin] if origin else list((spec.submodule_search_locations if spec is not None else None) or ())
    beside = (directory / f"{top}.py", directory / top / "__init__.py", directory / top)
    return any(Path(place).resolve() in beside for place in places)


class _Finder:
    """Finds modules of the packages of directories, as Python does, and gives each its own way to import."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not name.startswith(_PREFIX) or path is None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is importlib.machinery.SourceFileLoader:
            spec.loader = _Loader(name, spec.loader.path)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    """Executes a module whose ``import`` looks into its directory first."""

    def exec_module(self, module: ModuleType) -> None:
        package = module.__name__.partition(".")[0]
        directory = Path(sys.modules[package].__path__[0])

        def import_(
            name: str,
            globals_: Mapping[str, object] | None = None,
            locals_: Mapping[str, object] | None = None,
            fromlist: Sequence[str] | None = (),
            level: int = 0,
        ) -> ModuleType:
            if level or not _stands_in(directory, name) or _is_everybodys(directory, name):
                return builtins.__import__(name, globals_, locals_, fromlist or (), level)
            found = builtins.__import__(f"{package}.{name}", globals_, locals_, fromlist or (), 0)
            return found if fromlist else sys.modules[f"{package}.{name.partition('.')[0]}"]

        vars(module)["__builtins__"] = {**vars(builtins), "__import__": import_}
        super().exec_module(module)
