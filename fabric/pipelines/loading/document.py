"""Files of YAML: read, decoded and parsed; what is too large or no text is refused before anything looks at it."""

from __future__ import annotations

__all__ = ["FILE_BYTES_MAX", "decode", "is_file", "parse_document", "read_document", "read_limited"]

import codecs
import re
from pathlib import Path
from typing import Any

from fabric.errors import ConfigError
from fabric.pipelines.errors import PipelineLoadError
from fabric.pipelines.loading.nodes import Node
from fabric.pipelines.loading.problems import Problems

try:
    import yaml
except ModuleNotFoundError:
    raise ConfigError("it needs pyyaml and jinja2: pip install 'plumb-fabric[pipelines]'") from None

from fabric.pipelines.loading.yaml_tree import VALUES_MAX, Tree

# A pipeline of 500 steps has 150 kB. Nobody writes more than a few of these by hand.
FILE_BYTES_MAX = 4 * 1024 * 1024

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Of a line around an error.
_NEAR_CHARS = 250
_BRACKETS = re.compile(r"\{.*(?:list|dict)\[")


def is_file(path: Path) -> bool:
    """Whether there is such a file; with a name that no file can have there is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def read_document(path: Path, problems: Problems, file: str | None = None) -> Node | None:
    """Return what a file has; ``None`` if it is empty.

    Args:
        path: of the file.
        problems: are told of keys that stand twice, and of values that are read as something unexpected.
        file: what messages call it.

    Raises:
        PipelineLoadError: there is no such file, or it is no YAML that we take.
    """
    shown = file or str(path)
    return parse_document(decode(read_limited(path, shown), shown), problems, shown)


def read_limited(path: Path, file: str, bytes_max: int = FILE_BYTES_MAX) -> bytes:
    """Return what a file has.

    Raises:
        PipelineLoadError: it cannot be read, or is larger than it may be.
    """
    try:
        with path.open("rb") as opened:
            data = opened.read(bytes_max + 1)
            size = max(len(data), path.stat().st_size)
    except OSError as error:
        raise PipelineLoadError(f"the file cannot be read: {error.strerror or error}", file) from None
    except ValueError as error:
        raise PipelineLoadError(f"this is no name of a file: {error}", file) from None
    if len(data) > bytes_max:
        raise PipelineLoadError(f"the file has {size:,} bytes; at most {bytes_max:,} are read", file)
    return data


def decode(data: bytes, file: str) -> str:
    """Return the text of a file, with or without a mark of its byte order.

    Raises:
        PipelineLoadError: it is no text.
    """
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "utf-16" if wide else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(encoding, "replace")
        line, column = _position(before, len(before))
        byte = "" if wide else f": byte 0x{data[error.start]:02x}"
        raise PipelineLoadError(f"the file is not UTF-8 here{byte}", file, line, column) from None


def _position(text: str, offset: int) -> tuple[int, int]:
    line_start = text.rfind("\n", 0, offset) + 1
    return text.count("\n", 0, offset) + 1, offset - line_start + 1


def parse_document(text: str, problems: Problems, file: str, values_max: int = VALUES_MAX) -> Node | None:
    """Return what a text has; ``None`` if it is empty. See :func:`read_document`."""
    odd = _UNPRINTABLE.search(text)
    if odd is not None:
        line, column = _position(text, odd.start())
        raise PipelineLoadError(f"a file has no control characters: here is U+{ord(odd[0]):04X}", file, line, column)
    tree = Tree(text, problems, file, values_max)
    # The one of C is twenty times as fast; both give the same events.
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        for event in yaml.parse(text, Loader=loader):
            tree.take(event)
    except yaml.YAMLError as error:
        raise _grammar_error(error, text, file) from None
    return tree.root


def _around(text: str, offset: int) -> str:
    """Return the line of a place; of a long one what is near."""
    first = text.rfind("\n", 0, offset) + 1
    last = text.find("\n", offset)
    return text[max(first, offset - _NEAR_CHARS) : min(last if last >= 0 else len(text), offset + _NEAR_CHARS)]


def _grammar_error(error: yaml.YAMLError, text: str, file: str) -> PipelineLoadError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    said = str(getattr(error, "problem", None) or error).strip()
    line, column = (None, None) if mark is None else (mark.line + 1, mark.column + 1)
    here = "" if mark is None else _around(text, mark.index)
    if "\t" in here[: len(here) - len(here.lstrip())]:
        said = "a tab cannot indent: use spaces"
    elif _BRACKETS.search(here):
        said = f"{said}: inside of {{ }} put a type with [ ] in quotes"
    elif "{{" in here or "}}" in here:
        said = f"{said}: put a value with {{{{ }}}} in quotes"
    return PipelineLoadError(f"this is not YAML: {said}", file, line, column)
