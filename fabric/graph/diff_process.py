"""What is different between a process and what it has become: kind, ports, configuration, expression."""

from __future__ import annotations

__all__ = ["Change", "changes_of", "describe"]

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from fabric.graph.captions import show_expr
from fabric.lang.typed import Binding, Port
from fabric.lang.types import is_subtype
from fabric.wire.payload import UNIT, Alias, ListOf, Product, Record, Sum, Type, encode_json, resolve, show_stream

TEXT_MAX = 60
"""Longer values are clipped around what is different: prompts are pages."""

_LISTS = {"tools": "tool", "mcp": "server"}
"""Keys of a configuration whose items are told one by one, and what an item is."""


class Change(msgspec.Struct, frozen=True):
    """One difference.

    Attributes:
        kind: a word for programs, such as ``output_widened``.
        subject: the process, module or protocol that it is about.
        text: a line for people.
        old, new: what was and what is, where there are two.
    """

    kind: str
    subject: str
    text: str
    old: str | None = None
    new: str | None = None


def describe(binding: Binding) -> str:
    """Return kind, name and signature."""
    kind = "process" if binding.kind == "plumb" else binding.kind
    return f"{kind} {binding.name} : {_signature(binding.inputs, binding)} -> {_signature(binding.outputs, binding)}"


def _signature(ports: tuple[Port, ...], binding: Binding) -> str:
    shown = [_shown(port.type, binding) for port in ports if _is_declared(port, binding)]
    return shown[0] if len(shown) == 1 else f"({', '.join(shown)})" if shown else _shown(UNIT, binding)


def _is_declared(port: Port, binding: Binding) -> bool:
    return not binding.declared or port.name in binding.declared


def _shown(type_: Type, of: Binding) -> str:
    """Print the type of a port; a tool takes and gives values, no streams."""
    text = show_stream(type_)
    return text.removeprefix("!") if of.kind == "tool" else text


def changes_of(old: Binding, new: Binding, renamed: Mapping[str, str]) -> Iterator[Change]:
    """Yield the differences. ``renamed``: old and new name of processes that a configuration may mention."""
    if old.kind != new.kind:
        before, after = ("a body" if kind == "plumb" else kind for kind in (old.kind, new.kind))
        yield Change("kind_changed", new.name, f"{new.name}: {before} -> {after}", before, after)
    for side in ("input", "output"):
        yield from _ports(side, old, new)
    if old.kind == new.kind:
        yield from _configuration(old, new, renamed)
        before, after = _computed(old), _computed(new)
        if before != after:
            yield Change("expression_changed", new.name, f"{new.name}: {before} -> {after}", before, after)


def _ports(side: str, old: Binding, new: Binding) -> Iterator[Change]:
    before = [port for port in getattr(old, f"{side}s") if _is_declared(port, old)]
    after = [port for port in getattr(new, f"{side}s") if _is_declared(port, new)]
    for index, (port, other) in enumerate(zip(before, after, strict=False)):
        what = side if index == 0 and max(len(before), len(after)) == 1 else f"{side} '{other.name}'"
        if port.name != other.name and old.kind == new.kind == "plumb":
            text = f"{side} '{port.name}' of {new.name} is now called '{other.name}'"
            yield Change(f"{side}_renamed", new.name, text, port.name, other.name)
        wider, narrower = is_subtype(port.type, other.type), is_subtype(other.type, port.type)
        if wider and narrower:
            continue
        word = "widened" if wider else "narrowed" if narrower else "changed"
        shown = _shown(port.type, new), _shown(other.type, new)
        if shown[0] == shown[1]:  # a name that means something else now
            shown = _shown(_expanded(port.type), new), _shown(_expanded(other.type), new)
        text = f"{word} {what} of {new.name}: {shown[0]} -> {shown[1]}"
        yield Change(f"{side}_{word}", new.name, text, *shown)
    for port in after[len(before) :]:
        text = f"{new.name} has a new {side} '{port.name}' : {_shown(port.type, new)}"
        yield Change(f"{side}_added", new.name, text)
    for port in before[len(after) :]:
        yield Change(f"{side}_removed", new.name, f"{new.name} has lost its {side} '{port.name}'")


def _expanded(type_: Type) -> Type:
    """Replace every name by what it means."""
    match resolve(type_):
        case Record(fields):
            return Record(tuple(msgspec.structs.replace(field, type=_expanded(field.type)) for field in fields))
        case ListOf(item):
            return ListOf(_expanded(item))
        case Product(items):
            return Product(tuple(map(_expanded, items)))
        case Sum(variants):
            return Sum(tuple(map(_expanded, variants)))
        case other:
            assert not isinstance(other, Alias)
            return other


def _computed(binding: Binding) -> str:
    """Return what a named morphism does."""
    argument = show_expr(binding.expr) if binding.expr is not None else binding.index
    fields = "".join(f".{field}" for field in binding.select)
    return f"{binding.kind}({argument}){fields}" if argument is not None else ""


def _configuration(old: Binding, new: Binding, renamed: Mapping[str, str]) -> Iterator[Change]:
    for key in dict.fromkeys((*old.config, *new.config)):
        before, after = old.config.get(key), new.config.get(key)
        if key in _LISTS:
            yield from _items(_LISTS[key], before or (), after or (), new.name, renamed)
            continue
        if isinstance(before, str) and key == "process":
            before = renamed.get(before, before)
        if before == after and (key in old.config) == (key in new.config):
            continue
        shown = _clipped(_value(before), _value(after))
        if key not in old.config:
            text = f"{new.name}: {key} is now {shown[1]}, was not set"
        elif key not in new.config:
            text = f"{new.name}: {key} is not set any more, was {shown[0]}"
        else:
            text = f"{new.name}: {key} {shown[0]} -> {shown[1]}"
        yield Change("configuration_changed", new.name, text, _value(before), _value(after))


def _items(
    what: str, old: Iterable[Any], new: Iterable[Any], name: str, renamed: Mapping[str, str]
) -> Iterator[Change]:
    before = {_item_name(item, renamed): item for item in old}
    after = {_item_name(item, {}): item for item in new}
    for item in after:
        if item not in before:
            yield Change(f"{what}_gained", name, f"{name} gained the {what} {item}")
        elif isinstance(after[item], dict) and after[item] != before[item]:
            shown = _clipped(_value(before[item]), _value(after[item]))
            text = f"{name}: {what} {item} {shown[0]} -> {shown[1]}"
            yield Change(f"{what}_changed", name, text, _value(before[item]), _value(after[item]))
    for item in before:
        if item not in after:
            yield Change(f"{what}_lost", name, f"{name} lost the {what} {item}")


def _item_name(item: Any, renamed: Mapping[str, str]) -> str:
    return str(item["name"]) if isinstance(item, dict) else renamed.get(str(item), str(item))


def _value(value: Any) -> str:
    return encode_json(value).decode()


def _clipped(old: str, new: str) -> tuple[str, str]:
    """Cut two texts to a length that is read, from shortly before where they begin to differ."""
    same = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    start = same - TEXT_MAX // 3 if max(len(old), len(new)) > TEXT_MAX and same > TEXT_MAX // 2 else 0

    def cut(text: str) -> str:
        shown = text[start : start + TEXT_MAX]
        return ("…" if start else "") + shown + ("…" if start + TEXT_MAX < len(text) else "")

    return cut(old), cut(new)
