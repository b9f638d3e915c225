"""YAML as a tree of our own: every key and value with its place, and nothing of a size that nobody writes by hand.

The tree is built from the events of PyYAML without recursion, and each limit is checked as soon as it is passed: a
file that is hostile costs what a file of allowed size costs. No tag makes an object. Aliases share their node; what
the file would be with all aliases written out is limited, too, for whoever walks the tree walks that.

What is wrong in the grammar ends the reading; keys that stand twice are collected.
"""

from __future__ import annotations

__all__ = [
    "DEPTH_MAX",
    "FILE_BYTES_MAX",
    "SCALAR_CHARS_MAX",
    "VALUES_MAX",
    "Entry",
    "Fields",
    "Items",
    "Node",
    "Scalar",
    "decode",
    "parse_document",
    "plain",
    "read_document",
    "read_limited",
]

import codecs
import datetime
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn, TypeAlias

import msgspec

from fabric.errors import ConfigError
from fabric.pipelines.errors import PipelineLoadError
from fabric.pipelines.problems import Place, Problems, near

try:
    import yaml
except ModuleNotFoundError:
    raise ConfigError("it needs pyyaml and jinja2: pip install 'plumb-fabric[pipelines]'") from None

# A pipeline of 500 steps has 150 kB. Nobody writes more than a few of these by hand.
FILE_BYTES_MAX = 4 * 1024 * 1024
# Literal prompts are the longest values that are written.
SCALAR_CHARS_MAX = 1024 * 1024
# Of a file with all its aliases written out; a long text counts for more than one.
VALUES_MAX = 100_000
_CHARS_PER_VALUE = 64
# Steps within steps within schemas take some ten levels.
DEPTH_MAX = 64

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CORE = "tag:yaml.org,2002:"
_MERGE = f"{_CORE}merge"
_BOOL_WORDS = frozenset({"yes", "no", "on", "off"})
_BRACKETS = re.compile(r"\{.*(?:list|dict)\[")
_OCTAL = re.compile(r"[-+]?0[0-7_]+")

_RESOLVER: Any = yaml.resolver.Resolver()
_CONSTRUCTOR = yaml.constructor.SafeConstructor()
_KINDS = {
    "null": "nothing",
    "bool": "truth value",
    "int": "whole number that can be read",
    "float": "number",
    "timestamp": "date",
    "str": "text",
}
_SCALARS = {f"{_CORE}{name}": getattr(_CONSTRUCTOR, f"construct_yaml_{name}") for name in _KINDS}


class Scalar(msgspec.Struct, frozen=True):
    """A value that is no map and no list.

    Attributes:
        value: text, number, truth value, date or ``None``.
        column: of its first character, the quote if it has one.
        text: as it is written, without quotes.
        style: ``'`` and ``"``: in quotes; ``|`` and ``>``: a block; empty: plain.
        expanded: whether a variable of the environment was put into it.
        anchored: whether it has a name, so that it can stand elsewhere, too.
    """

    value: Any
    line: int
    column: int
    text: str = ""
    style: str = ""
    expanded: bool = False
    anchored: bool = False


class Items(msgspec.Struct, frozen=True):
    """A list."""

    items: tuple[Node, ...]
    line: int
    column: int
    anchored: bool = False


class Entry(msgspec.Struct, frozen=True):
    """A key and its value."""

    key: Scalar
    value: Node


class Fields(msgspec.Struct, frozen=True):
    """A map, in the order of the file; what is merged into it comes last."""

    entries: Mapping[Any, Entry]
    line: int
    column: int
    anchored: bool = False


Node: TypeAlias = Scalar | Items | Fields


def plain(node: Node) -> Any:
    """Return the value as Python has it. Maps and lists are new ones."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Items):
        return [plain(item) for item in node.items]
    return {key: plain(entry.value) for key, entry in node.entries.items()}


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


def parse_document(text: str, problems: Problems, file: str) -> Node | None:
    """Return what a text has; ``None`` if it is empty. See :func:`read_document`."""
    odd = _UNPRINTABLE.search(text)
    if odd is not None:
        line, column = _position(text, odd.start())
        raise PipelineLoadError(f"a file has no control characters: here is U+{ord(odd[0]):04X}", file, line, column)
    tree = _Tree(text, problems, file)
    # The one of C is twenty times as fast; both give the same events.
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        for event in yaml.parse(text, Loader=loader):
            tree.take(event)
    except yaml.YAMLError as error:
        raise _grammar_error(error, text, file) from None
    return tree.root


def _grammar_error(error: yaml.YAMLError, text: str, file: str) -> PipelineLoadError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    said = str(getattr(error, "problem", None) or error).strip()
    line, column = (None, None) if mark is None else (mark.line + 1, mark.column + 1)
    here = text.split("\n")[mark.line] if mark is not None and mark.line < text.count("\n") + 1 else ""
    if "\t" in here[: len(here) - len(here.lstrip())]:
        said = "a tab cannot indent: use spaces"
    elif _BRACKETS.search(here):
        said = f"{said}: inside of {{ }} put a type with [ ] in quotes"
    elif "{{" in here or "}}" in here:
        said = f"{said}: put a value with {{{{ }}}} in quotes"
    return PipelineLoadError(f"this is not YAML: {said}", file, line, column)


class _Open:
    """A map or a list of which the end is not read yet."""

    def __init__(self, place: Place, anchor: str | None, offset: int, *, is_map: bool, flow: bool) -> None:
        self.place = place
        self.anchor = anchor
        self.offset = offset
        self.is_map = is_map
        self.flow = flow
        self.parts: list[Node] = []
        self.weight = 1


class _Tree:
    """Takes events, one after the other; ``root`` is the tree then."""

    def __init__(self, text: str, problems: Problems, file: str) -> None:
        self.root: Node | None = None
        self._text = text
        self._problems = problems
        self._file = file
        self._documents = 0
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int] | None] = {}
        self._weight = 0

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._start(event)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._end()
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._refuse("a file is one document: '---' begins a second one", _place(event))

    def _refuse(self, message: str, place: Place, suggestion: str | None = None) -> NoReturn:
        raise PipelineLoadError(message, self._file, place.line, place.column, suggestion=suggestion)

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        place, text = _place(event), event.value
        if len(text) > SCALAR_CHARS_MAX:
            self._refuse(f"a value of {len(text):,} characters: at most {SCALAR_CHARS_MAX:,} are read", place)
        tag = event.tag
        if tag is None or tag == "!":
            tag = _RESOLVER.resolve(yaml.ScalarNode, text, event.implicit)
        style = event.style or ""
        if tag == _MERGE:
            node = Scalar("<<", place.line or 1, place.column or 1, text, "<<")
        else:
            node = Scalar(
                self._value(tag, text, place),
                place.line or 1,
                place.column or 1,
                text,
                style,
                False,
                bool(event.anchor),
            )
        self._add(node, event.anchor, 1 + len(text) // _CHARS_PER_VALUE, place)

    def _value(self, tag: str, text: str, place: Place) -> Any:
        construct = _SCALARS.get(tag)
        if construct is None:
            self._refuse_tag(tag, place)
        try:
            return construct(yaml.ScalarNode(tag, text))
        except (ValueError, KeyError, IndexError, AttributeError, OverflowError, yaml.YAMLError):
            shown = text if len(text) <= 40 else f"{text[:40]}…"
            self._refuse(f"{shown!r} is no {_KINDS[tag.removeprefix(_CORE)]}: put it in quotes if it is a text", place)

    def _refuse_tag(self, tag: str, place: Place) -> NoReturn:
        shown = f"!!{tag.removeprefix(_CORE)}" if tag.startswith(_CORE) else tag
        self._refuse(f"the tag {shown!r} is not taken: a pipeline is plain data", place)

    def _start(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        place, is_map = _place(event), isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", f"{_CORE}map" if is_map else f"{_CORE}seq"):
            self._refuse_tag(event.tag, place)
        if len(self._open) >= DEPTH_MAX:
            self._refuse(f"maps and lists are nested more than {DEPTH_MAX} levels deep", place)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        offset = _mark(event).index
        self._open.append(_Open(place, event.anchor, offset, is_map=is_map, flow=bool(event.flow_style)))

    def _end(self) -> None:
        ended = self._open.pop()
        line, column = ended.place.line or 1, ended.place.column or 1
        node: Node = (
            Fields(MappingProxyType(self._entries(ended)), line, column, ended.anchor is not None)
            if ended.is_map
            else Items(tuple(ended.parts), line, column, ended.anchor is not None)
        )
        # The parts are counted already.
        self._add(node, ended.anchor, ended.weight, ended.place, new=1)

    def _alias(self, event: yaml.AliasEvent) -> None:
        place = _place(event)
        if event.anchor not in self._anchors:
            known = near(event.anchor, self._anchors)
            self._refuse(f"there is no anchor '&{event.anchor}' above this '*{event.anchor}'", place, known)
        found = self._anchors[event.anchor]
        if found is None:
            self._refuse(f"'*{event.anchor}' is inside of what it stands for: it would never end", place)
        node, weight = found
        self._add(node, None, weight, place)

    def _add(self, node: Node, anchor: str | None, weight: int, place: Place, new: int | None = None) -> None:
        self._weight += weight if new is None else new
        if self._weight > VALUES_MAX:
            self._refuse(f"the file has more than {VALUES_MAX:,} values, with all aliases written out", place)
        if anchor is not None:
            self._anchors[anchor] = (node, weight)
        if self._open:
            self._open[-1].parts.append(node)
            self._open[-1].weight += weight
        else:
            self.root = node

    def _entries(self, ended: _Open) -> dict[Any, Entry]:
        entries: dict[Any, Entry] = {}
        merged: list[Node] = []
        pairs: Iterator[Node] = iter(ended.parts)
        for key, value in zip(pairs, pairs, strict=True):
            if not isinstance(key, Scalar):
                self._refuse_key(key, ended)
            if key.style == "<<":
                merged.append(value)
            elif key.value in entries:
                first = entries[key.value].key.line
                self._problems.error(
                    PipelineLoadError,
                    f"the key {key.text!r} stands here twice; first in line {first}",
                    key,
                    file=self._file,
                )
            else:
                entries[key.value] = Entry(key, value)
                self._warn_of_surprise(key.text, value)
        for source in merged:
            for entry in self._merged(source):
                entries.setdefault(entry.key.value, entry)
        return entries

    def _refuse_key(self, key: Node, ended: _Open) -> NoReturn:
        written = self._text[ended.offset : ended.offset + 200]
        if ended.flow and written.startswith("{{") and "}}" in written:
            braces = written[: written.index("}}") + 2]
            self._refuse("an expression in braces has to stand in quotes", ended.place, f'"{braces}"')
        self._refuse("a key is a word, not a map or a list", Place(key.line, key.column))

    def _merged(self, source: Node) -> Iterator[Entry]:
        sources = source.items if isinstance(source, Items) else (source,)
        for part in sources:
            if not isinstance(part, Fields):
                self._refuse("'<<' takes a map, or a list of maps", Place(part.line, part.column))
            yield from part.entries.values()

    def _warn_of_surprise(self, key: str, node: Node) -> None:
        if not isinstance(node, Scalar) or node.style:
            return
        value, text = node.value, node.text
        if isinstance(value, bool) and text.lower() in _BOOL_WORDS:
            meant = "true" if value else "false"
            said = f"{key}: {text} is read as {meant}: write {meant}, or '{text}' in quotes if it is a word"
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and ":" in text:
            said = f"{key}: {text} is read as the number {value}, by sixties: write '{text}' in quotes"
        elif isinstance(value, int) and not isinstance(value, bool) and value > 7 and _OCTAL.fullmatch(text):
            said = f"{key}: {text} is read as the number {value}, by eights: write '{text}' in quotes"
        elif isinstance(value, (datetime.date, datetime.datetime)):
            said = f"{key}: {text} is read as a date: write '{text}' in quotes if it is a text"
        else:
            return
        self._problems.warn(said, node, file=self._file)


def _place(event: yaml.Event) -> Place:
    mark = _mark(event)
    return Place(mark.line + 1, mark.column + 1)


def _mark(event: yaml.Event) -> Any:
    """Return where an event begins: a parser always says it, the declared type allows that it does not."""
    return event.start_mark
