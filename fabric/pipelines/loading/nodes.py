"""A file as a tree: maps, lists and what is neither, each with its place."""

from __future__ import annotations

__all__ = ["Entry", "Fields", "Items", "Node", "Scalar", "plain"]

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec


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
