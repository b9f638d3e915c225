"""Files of vocabularies: read whole and checked, written so that the comments of their owner stay."""

from __future__ import annotations

__all__ = ["SUFFIXES", "load_vocabularies", "read_vocabulary", "write_vocabulary"]

import os
import shutil
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from fabric.errors import ConfigError
from fabric.pipelines.errors import PipelineLoadError
from fabric.pipelines.loading.document import decode, parse_document, read_limited
from fabric.pipelines.loading.nodes import Fields, Items, Node, plain
from fabric.pipelines.loading.problems import Problems
from fabric.pipelines.vocab import KEYS, Vocabularies, Vocabulary

SUFFIXES = (".yaml", ".yml")

# A vocabulary of a million terms has about 30 MB; what is longer is no list of terms.
FILE_BYTES_MAX = 64 * 1024 * 1024
VALUES_MAX = 4_000_000


def load_vocabularies(directory: Path) -> tuple[Vocabularies, Sequence[str]]:
    """Return the vocabularies of a directory, by file name and, where no file has that name, by label; and warnings.

    A file that is no vocabulary is left out with a warning. Files are read in the order of their names.
    """
    found = Vocabularies()
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
        except (OSError, ConfigError, ValueError) as error:
            found.left_out[path.stem] = str(error)
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
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        node = _parsed(_text(path), str(path))
    except PipelineLoadError as error:
        place = ":".join(str(part) for part in (path, error.line, error.column) if part)
        raise ConfigError(f"{place}: cannot be read: {error.message}") from None
    if not isinstance(node, Fields):
        found = type(None if node is None else plain(node)).__name__
        raise ConfigError(f"{path}: expected a map with the key 'known', got {found}")
    data: Mapping[str, Any] = plain(node)
    return data


def _text(path: Path) -> str:
    return decode(read_limited(path, str(path), FILE_BYTES_MAX), str(path))


def _parsed(text: str, file: str) -> Node | None:
    """Return what a text has. There are the limits of a pipeline's file, but it may be longer.

    Raises:
        PipelineLoadError: it is no YAML, or a key stands twice.
    """
    problems = Problems(file)
    node = parse_document(text, problems, file, VALUES_MAX)
    problems.raise_if_any()
    return node


def write_vocabulary(vocabulary: Vocabulary, path: Path) -> None:
    """Write a vocabulary to a file; its directory is made.

    In a file that is there only keys whose values have changed are written anew; its other lines stay, comments too. A
    reader sees either the old file or the new one.

    Raises:
        OSError: it cannot be written.
        ConfigError: the file that is there is no text.
    """
    path = path.resolve()  # who keeps a link keeps it
    path.parent.mkdir(parents=True, exist_ok=True)
    said = vocabulary.to_dict()
    try:
        text = _text(path) if path.exists() else ""
    except PipelineLoadError as error:
        raise ConfigError(f"{path}: cannot be read: {error.message}") from None
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
    try:
        node = _parsed(text, "")
    except PipelineLoadError:
        node = None
    if isinstance(node, Fields):
        revised = _with_changes(text, node, said, stem)
        if _says(revised, said, stem):
            return revised
    return "".join(_dumped({key: value}) for key, value in said.items())


def _says(text: str, said: Mapping[str, Any], stem: str) -> bool:
    """Whether a text says a vocabulary: it has been put together from lines, and YAML has more ways than one thinks."""
    try:
        node = _parsed(text, "")
    except PipelineLoadError:
        return False
    data = plain(node) if isinstance(node, Fields) else {}
    return all(_same(key, value, data, stem) for key, value in _as_called(said, data).items())


def _as_called(said: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    return {("terms" if key == "known" and "terms" in old else key): value for key, value in said.items()}


def _with_changes(text: str, node: Fields, said: Mapping[str, Any], stem: str) -> str:
    """Return a text in which the lines of keys whose values have changed are other ones."""
    old: Mapping[str, Any] = plain(node)
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    changed = {key: value for key, value in _as_called(said, old).items() if not _same(key, value, old, stem)}
    # What is merged into a map does not stand here.
    keys = [entry.key for entry in node.entries.values() if entry.key.column == node.column]
    firsts = [*(key.line - 1 for key in keys), len(lines)]
    for key, (first, following) in reversed([*zip(keys, pairwise(firsts), strict=True)]):
        if key.value not in changed:
            continue
        value = changed.pop(key.value)
        last = _without_trailing_comments(lines, first, following)
        more = _more(lines, node.entries[key.value].value, old[key.value], value)
        if more is None:
            lines[first:last] = [_dumped({key.value: value})]
        else:
            lines.insert(last, more)
    return "".join([*lines, *(_dumped({key: value}) for key, value in changed.items())])


def _more(lines: Sequence[str], node: Node, old: Any, new: Any) -> str | None:
    """Return the lines that a list or a map has more than before; ``None``: that is not all that has changed.

    The lines that are there stay, with their comments.
    """
    added: Any = None
    places: list[Node] = []
    if isinstance(node, Items) and isinstance(new, list) and new[: len(old)] == old:
        added, places = new[len(old) :], list(node.items)
    elif isinstance(node, Fields) and isinstance(new, Mapping) and list(new.items())[: len(old)] == list(old.items()):
        added, places = dict(list(new.items())[len(old) :]), [entry.key for entry in node.entries.values()]
    starts = [_start(lines, place, is_item=isinstance(node, Items)) for place in places]
    if not added or not starts or starts[0] is None or len({*starts}) > 1:
        return None
    return "".join(f"{starts[0]}{line}" for line in _dumped(added).splitlines(keepends=True))


def _start(lines: Sequence[str], node: Node, *, is_item: bool) -> str | None:
    """Return what stands in front of an entry that begins a line of its own: spaces."""
    line = lines[node.line - 1]
    before = line[: node.column - 1] if node.column <= len(line) else line
    if is_item:
        before = before.rstrip()
        if not before.endswith("-"):
            return None
        before = before[:-1]
    return None if before.strip() else before


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


def _dumped(value: Any) -> str:
    import yaml  # ``document`` has told already if it is not there

    text: str = yaml.safe_dump(value, allow_unicode=True, sort_keys=False, width=1_000)
    return text
