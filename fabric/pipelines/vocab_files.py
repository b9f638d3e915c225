"""Files of vocabularies: read whole and checked, written so that the comments of their owner stay."""

from __future__ import annotations

__all__ = ["SUFFIXES", "load_vocabularies", "read_vocabulary", "write_vocabulary"]

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fabric.errors import ConfigError
from fabric.pipelines.vocab import KEYS, Vocabulary

SUFFIXES = (".yaml", ".yml")

# A vocabulary of a million terms has about 30 MB; what is longer is no list of terms.
FILE_BYTES_MAX = 64 * 1024 * 1024


def load_vocabularies(directory: Path) -> tuple[Mapping[str, Vocabulary], Sequence[str]]:
    """Return the vocabularies of a directory, by file name and, where no file has that name, by label; and warnings.

    A file that is no vocabulary is left out with a warning. Files are read in the order of their names.
    """
    found: dict[str, Vocabulary] = {}
    odd: list[str] = []
    if not directory.is_dir():
        return found, odd
    for path in sorted(directory.iterdir(), key=lambda path: path.name):
        if path.suffix not in SUFFIXES or not path.is_file():
            continue
        if path.stem in found:
            odd.append(f"{path}: left out: there is another file {path.stem!r} with vocabulary terms")
            continue
        try:
            data = _data(path)
            found[path.stem] = _made(data, path)
        except (ConfigError, ValueError) as error:
            odd.append(f"{path}: left out: {error}" if str(path) not in str(error) else f"left out: {error}")
            continue
        odd.extend(f"{path}: unknown key {key!r}; there are {', '.join(KEYS)}" for key in data if key not in KEYS)
    for name, vocabulary in list(found.items()):
        first = found.setdefault(vocabulary.label, vocabulary)
        if first is not vocabulary and vocabulary.label != name and first.label == vocabulary.label:
            odd.append(f"{directory / name}: its label {vocabulary.label!r} is that of another file, which has it")
    return found, odd


def read_vocabulary(path: Path) -> Vocabulary:
    """Return the vocabulary of a file; without a label of its own it is called as the file is.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: it is no vocabulary.
    """
    data = _data(path)
    try:
        return _made(data, path)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def _made(data: Mapping[str, Any], path: Path) -> Vocabulary:
    vocabulary = Vocabulary.from_dict(data, label=path.stem)
    vocabulary.path = path
    return vocabulary


def _data(path: Path) -> Mapping[str, Any]:
    yaml = _yaml()
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise ConfigError(f"{path}: expected at most {FILE_BYTES_MAX} bytes, got {path.stat().st_size}")
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_loader())
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    if not isinstance(data, Mapping):
        raise ConfigError(f"{path}: expected a map with the key 'known', got {type(data).__name__}")
    return data


def write_vocabulary(vocabulary: Vocabulary, path: Path) -> None:
    """Write a vocabulary to a file; its directory is made.

    In a file that is there only keys whose values have changed are written anew; its other lines stay, comments too. A
    reader sees either the old file or the new one.

    Raises:
        OSError: it cannot be written.
    """
    path = path.resolve()  # who keeps a link keeps it
    path.parent.mkdir(parents=True, exist_ok=True)
    said = vocabulary.to_dict()
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    revised = _revised(text, said, path.stem)
    if text and revised == text:
        return
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(revised, encoding="utf-8")
    if path.exists():
        shutil.copymode(path, beside)
    beside.replace(path)


def _revised(text: str, said: Mapping[str, Any], stem: str) -> str:
    """Return a file's text with what a vocabulary says now."""
    yaml = _yaml()
    try:
        node = yaml.compose(text, Loader=_loader())
        old = yaml.load(text, Loader=_loader())
    except (yaml.YAMLError, RecursionError):
        node = old = None
    if not isinstance(old, dict) or not isinstance(node, yaml.MappingNode) or node.flow_style:
        return "".join(_block(key, value) for key, value in said.items())
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    starts = [(key.value, key.start_mark.line, value.end_mark) for key, value in node.value]
    changed = {("terms" if key == "known" and "terms" in old else key): value for key, value in said.items()}
    changed = {key: value for key, value in changed.items() if not _same(key, value, old, stem)}
    for name, first, end in reversed(starts):
        if name in changed:
            last = end.line + 1 if end.column and end.line < len(lines) else end.line
            lines[first : _without_trailing_comments(lines, first, last)] = [_block(name, changed.pop(name))]
    return "".join([*lines, *(_block(key, value) for key, value in changed.items())])


def _same(key: str, value: Any, old: Mapping[str, Any], stem: str) -> bool:
    """Whether a file says a value already, be it by saying nothing."""
    return bool(old[key] == value) if key in old and old[key] is not None else bool(_SILENT.get(key, stem) == value)


_SILENT: Mapping[str, Any] = {
    "fuzzy_match": True,
    "case_sensitive": False,
    "growth_policy": "human",
    "capture_ideal": False,
    "inject_prompt": True,
    "persist": None,
    "description": None,
    "growth_policy_model": None,
    "known": None,
    "terms": None,
    "denied": [],
    "pending": [],
}


def _without_trailing_comments(lines: Sequence[str], first: int, last: int) -> int:
    """Return where a block ends: comments and empty lines behind it belong to what follows."""
    while last > first + 1 and (not lines[last - 1].strip() or lines[last - 1].lstrip().startswith("#")):
        last -= 1
    return last


def _block(key: str, value: Any) -> str:
    text: str = _yaml().safe_dump({key: value}, allow_unicode=True, sort_keys=False, width=1_000)
    return text


def _loader() -> Any:
    """Return the reader of the library in C, where there is one: ten times as fast."""
    yaml = _yaml()
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _yaml() -> Any:
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise ConfigError("it needs pyyaml and jinja2: pip install 'plumb-fabric[pipelines]'") from error
    return yaml
