"""YAML as a tree of our own: every key and value with its place, and nothing of a size that nobody writes by hand.

The tree is built from the events of PyYAML without recursion, and each limit is checked as soon as it is passed: a
file that is hostile costs what a file of allowed size costs. No tag makes an object. Aliases share their node; what
the file would be with all aliases written out is limited, too, for whoever walks the tree walks that.

What is wrong in the grammar ends the reading; keys that stand twice are collected.
"""

from __future__ import annotations

__all__ = ["DEPTH_MAX", "SCALAR_CHARS_MAX", "VALUES_MAX", "Tree"]

import datetime
import re
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any, NoReturn

import yaml

from fabric.pipelines.errors import PipelineLoadError
from fabric.pipelines.loading.nodes import Entry, Fields, Items, Node, Scalar
from fabric.pipelines.loading.problems import Place, Problems, near

# Literal prompts are the longest values that are written.
SCALAR_CHARS_MAX = 1024 * 1024
NUMBER_CHARS_MAX = 300
# Of a file with all its aliases written out; a long text counts for more than one.
VALUES_MAX = 100_000
_CHARS_PER_VALUE = 64
# Steps within steps within schemas take some ten levels.
DEPTH_MAX = 64

_CORE = "tag:yaml.org,2002:"
_MERGE = f"{_CORE}merge"
_BOOL_WORDS = frozenset({"yes", "no", "on", "off"})
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
_NUMBERS = (f"{_CORE}int", f"{_CORE}float")
_SCALARS = {f"{_CORE}{name}": getattr(_CONSTRUCTOR, f"construct_yaml_{name}") for name in _KINDS}


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


class Tree:
    """Takes events, one after the other; ``root`` is the tree then."""

    def __init__(self, text: str, problems: Problems, file: str, values_max: int = VALUES_MAX) -> None:
        self.root: Node | None = None
        self._text = text
        self._problems = problems
        self._file = file
        self._values_max = values_max
        self._documents = 0
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int] | None] = {}
        self._weight = 0

    def take(self, event: yaml.Event) -> None:
        """Take the next event of a parser.

        Raises:
            PipelineLoadError: it is what the tree does not take, or more of it.
        """
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
        if len(text) > NUMBER_CHARS_MAX and tag in _NUMBERS:
            # Some are read in quadratic time, and those of more than 4,300 digits cannot be written again.
            self._refuse(f"a number of {len(text):,} characters: at most {NUMBER_CHARS_MAX} are read", place)
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
        if self._weight > self._values_max:
            self._refuse(f"the file has more than {self._values_max:,} values, with all aliases written out", place)
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
