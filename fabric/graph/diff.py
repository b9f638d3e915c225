"""What is different between two programs, in words.

Formatting, comments, the order of declarations, names of types and channels make no difference. A process is the same
if its name is, or if it was renamed for certain: only one that is gone and one that is new are alike in everything,
wiring included.
"""

from __future__ import annotations

__all__ = ["Change", "compare"]

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import msgspec

from fabric.graph.captions import show_expr
from fabric.graph.passes import flatten
from fabric.graph.routes import Inside, Labels, Route, look_inside
from fabric.lang.typed import BOUNDARY, Binding, Module, Port
from fabric.lang.types import is_subtype
from fabric.wire.payload import Alias, ListOf, Product, Record, Sum, Type, encode_json, resolve, show

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


def compare(old: Module, new: Module) -> tuple[Change, ...]:
    """Return the differences; none if the programs mean the same."""
    renamed = _renamed(old, new)
    return (
        *_modules(old, new),
        *_processes(old, new, renamed),
        *_each(old, new, renamed),
        *_wirings(old, new, renamed),
        *_loops(old, new, renamed),
        *_protocols(old, new),
    )


# --- which is which -----------------------------------------------------------------------------------------------


def _renamed(old: Module, new: Module) -> dict[str, str]:
    """Return old and new name of those that were certainly renamed."""
    gone = [binding for name, binding in old.bindings.items() if name not in new.bindings]
    fresh = [binding for name, binding in new.bindings.items() if name not in old.bindings]
    found: dict[str, str] = {}
    for binding in gone:
        alike = [other for other in fresh if _is_alike(binding, other)]
        if len(alike) != 1 or sum(_is_alike(other, alike[0]) for other in gone) != 1:
            continue
        trial = {binding.name: alike[0].name}
        if _routes_of(old, new, binding.name, trial) == _routes_of(new, new, alike[0].name, {}):
            found |= trial
    return found


def _is_alike(one: Binding, other: Binding) -> bool:
    """Whether two have the same kind, ports and configuration."""
    return one.kind == other.kind and not any(_changes_of(one, other, {}))


def _routes_of(module: Module, new: Module, name: str, renamed: Mapping[str, str]) -> Counter[tuple[str, Route]]:
    """Return the routes to, from and inside of a process in all bodies, by the names of the new program."""
    called = renamed.get(name, name)
    found: Counter[tuple[str, Route]] = Counter()
    for binding in module.bindings.values():
        if binding.body is None:
            continue
        where = renamed.get(binding.name, binding.name)
        for route, count in look_inside(binding.body, _labels(module, new, binding, renamed)).routes.items():
            ends = (route.source.partition("@")[0], route.target.partition("@")[0])
            if where == called or called in ends:
                found[where, route] += count
    return found


def _labels(module: Module, new: Module, around: Binding, renamed: Mapping[str, str]) -> Labels:
    """Return what things in a body are called in the new program: ports of bodies go by their positions."""
    ports: dict[tuple[str, str], str] = {}
    plain: set[tuple[str, str]] = set()
    for name, binding in module.bindings.items():
        called = new.bindings.get(renamed.get(name, name))
        for side in ("inputs", "outputs"):
            own: tuple[Port, ...] = getattr(binding, side)
            theirs: tuple[Port, ...] = getattr(called, side) if called is not None else own
            if binding.kind != "plumb" or (called is not None and called.kind != "plumb"):
                theirs = own
            for index, port in enumerate(own):
                shown = theirs[index].name if index < len(theirs) else port.name
                ports[name, port.name] = shown
                if binding is around:
                    ports[BOUNDARY, port.name] = shown
                if shown in ("input", "output") or len(own) == 1:
                    plain.add((name, shown))
    return Labels(renamed, ports, frozenset(plain))


# --- modules and processes ----------------------------------------------------------------------------------------


def _modules(old: Module, new: Module) -> Iterator[Change]:
    before, after = _namespaces(old), _namespaces(new)
    for space in sorted(after - before):
        yield Change("module_used", space, f"now uses the module {space}")
    for space in sorted(before - after):
        yield Change("module_unused", space, f"no longer uses the module {space}")


def _namespaces(module: Module) -> set[str]:
    return {name.rpartition(".")[0] for name in module.bindings if "." in name}


def _processes(old: Module, new: Module, renamed: Mapping[str, str]) -> Iterator[Change]:
    before, after = _namespaces(old), _namespaces(new)
    for name, called in renamed.items():
        yield Change("process_renamed", called, f"{name} is now called {called}", name, called)
    for name, binding in old.bindings.items():
        if name not in new.bindings and name not in renamed and not _is_of(name, before - after):
            yield Change("process_removed", name, f"removed {_described(binding)}")
    for name, binding in new.bindings.items():
        if name not in old.bindings and name not in renamed.values() and not _is_of(name, after - before):
            yield Change("process_added", name, f"added {_described(binding)}")
    main = renamed.get(old.main, old.main)
    if main != new.main:
        yield Change("main", new.main, f"{new.main} runs, instead of {main}", main, new.main)


def _is_of(name: str, spaces: set[str]) -> bool:
    return name.rpartition(".")[0] in spaces


def _described(binding: Binding) -> str:
    kind = "process" if binding.kind == "plumb" else binding.kind
    return f"{kind} {binding.name} : {_signature(binding.inputs, binding)} -> {_signature(binding.outputs, binding)}"


def _signature(ports: tuple[Port, ...], binding: Binding) -> str:
    bang = "" if binding.kind == "tool" else "!"
    shown = [f"{bang}{_bracketed(port.type)}" for port in ports if _is_declared(port, binding)]
    return shown[0] if len(shown) == 1 else f"({', '.join(shown)})" if shown else f"{bang}unit"


def _is_declared(port: Port, binding: Binding) -> bool:
    return not binding.declared or port.name in binding.declared


def _bracketed(type_: Type) -> str:
    return f"({show(type_)})" if isinstance(type_, Sum) else show(type_)


# --- one process --------------------------------------------------------------------------------------------------


def _each(old: Module, new: Module, renamed: Mapping[str, str]) -> Iterator[Change]:
    for name, binding in old.bindings.items():
        other = new.bindings.get(renamed.get(name, name))
        if other is not None:
            yield from _changes_of(binding, other, renamed)


def _changes_of(old: Binding, new: Binding, renamed: Mapping[str, str]) -> Iterator[Change]:
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
    bang = "" if new.kind == "tool" else "!"
    for index, (port, other) in enumerate(zip(before, after, strict=False)):
        what = side if index == 0 and max(len(before), len(after)) == 1 else f"{side} '{other.name}'"
        if port.name != other.name and old.kind == new.kind == "plumb":
            text = f"{side} '{port.name}' of {new.name} is now called '{other.name}'"
            yield Change(f"{side}_renamed", new.name, text, port.name, other.name)
        wider, narrower = is_subtype(port.type, other.type), is_subtype(other.type, port.type)
        if wider and narrower:
            continue
        word = "widened" if wider else "narrowed" if narrower else "changed"
        shown = f"{bang}{_bracketed(port.type)}", f"{bang}{_bracketed(other.type)}"
        if shown[0] == shown[1]:  # a name that means something else now
            shown = f"{bang}{_bracketed(_expanded(port.type))}", f"{bang}{_bracketed(_expanded(other.type))}"
        text = f"{word} {what} of {new.name}: {shown[0]} -> {shown[1]}"
        yield Change(f"{side}_{word}", new.name, text, *shown)
    for port in after[len(before) :]:
        text = f"{new.name} has a new {side} '{port.name}' : {bang}{_bracketed(port.type)}"
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


# --- wiring -------------------------------------------------------------------------------------------------------


def _wirings(old: Module, new: Module, renamed: Mapping[str, str]) -> Iterator[Change]:
    for name, binding in old.bindings.items():
        other = new.bindings.get(renamed.get(name, name))
        if other is None or binding.body is None or other.body is None:
            continue
        before = look_inside(binding.body, _labels(old, new, binding, renamed))
        after = look_inside(other.body, _labels(new, new, other, {}))
        yield from _wiring(other.name, before, after, where="" if other.name == new.main else f"in {other.name}: ")


def _wiring(name: str, old: Inside, new: Inside, where: str) -> Iterator[Change]:
    told = False
    for process in sorted(old.processes.keys() & new.processes.keys()):
        before, after = old.processes[process], new.processes[process]
        if before != after:
            told = True
            yield Change("number_changed", name, f"{where}{after} of {process}, were {before}", str(before), str(after))
    gone, fresh = old.routes - new.routes, new.routes - old.routes
    for route in sorted(fresh):
        told = True
        others = [other for other in gone if (other.source, other.target) == (route.source, route.target)]
        if len(others) == 1 and others[0].via != route.via:
            del gone[others[0]]
            shown = _via(others[0]), _via(route)
            text = f"{where}{route.source} feeds {route.target} {shown[1]}, before {shown[0]}"
            yield Change("channel_changed", name, text, *shown)
            continue
        again = ", once more" if route in old.routes else ""
        text = f"{where}{route.source} now feeds {route.target}{_through(route)}{again}"
        yield Change("channel_added", name, text)
    for route in sorted(gone):
        told = True
        rest = " as often" if route in new.routes else ""
        text = f"{where}{route.source} no longer feeds {route.target}{_through(route)}{rest}"
        yield Change("channel_removed", name, text)
    if not told and old.shape != new.shape:
        yield Change("wiring_changed", name, f"in {name}: messages are joined otherwise")


def _through(route: Route) -> str:
    return f" {_via(route)}" if route.via else ""


def _via(route: Route) -> str:
    return f"through {' ; '.join(route.via)}" if route.via else "directly"


# --- loops --------------------------------------------------------------------------------------------------------


def _loops(old: Module, new: Module, renamed: Mapping[str, str]) -> Iterator[Change]:
    before, after = _feeds(old, renamed), _feeds(new, {})
    for word, kind, here, there in (
        ("new loop", "loop_added", after, before),
        ("loop removed", "loop_removed", before, after),
    ):
        for loop in _cycles_not_in(here, there):
            yield Change(kind, loop[0], f"{word}: {' -> '.join(loop)}")


def _feeds(module: Module, renamed: Mapping[str, str]) -> dict[str, list[str]]:
    """Return which named processes of the whole program feed which, morphisms in chains passed over."""
    graph = flatten(module)
    names = {
        node.id: ".".join(renamed.get(part, part) for part in re.sub(r"@\d+(\.\d+)?", "", node.id).split("."))
        for node in graph.nodes.values()
        if node.binding is not None
    }
    following: dict[str, list[str]] = defaultdict(list)
    for channel in graph.channels:
        following[channel.source.node].append(channel.target.node)
    feeds: dict[str, list[str]] = {name: [] for name in names.values()}
    for node, name in names.items():
        seen: set[str] = set()
        todo = list(following[node])
        while todo:
            target = todo.pop()
            if target in names:
                feeds[name].append(names[target])
            elif target not in seen:
                seen.add(target)
                todo += following[target]
    return {name: sorted(set(targets)) for name, targets in feeds.items()}


def _cycles_not_in(feeds: Mapping[str, list[str]], others: Mapping[str, list[str]]) -> list[tuple[str, ...]]:
    """Return for each connection that the others lack the shortest loop through it, each loop once.

    A loop begins, and ends, with the process that the program mentions first.
    """
    order = {name: number for number, name in enumerate(feeds)}
    found: dict[frozenset[tuple[str, str]], tuple[str, ...]] = {}
    for source, targets in feeds.items():
        for target in targets:
            if target in others.get(source, ()):
                continue
            back = _shortest(feeds, target, source)
            if back is not None:
                first = back.index(min(back, key=order.__getitem__))
                loop = (*back[first:], *back[: first + 1])
                found.setdefault(frozenset(pairwise(loop)), loop)
    return list(found.values())


def _shortest(feeds: Mapping[str, list[str]], start: str, end: str) -> tuple[str, ...] | None:
    """Return the names on the shortest way between two; source: Moore 1959, breadth first."""
    paths: dict[str, tuple[str, ...]] = {start: (start,)}
    todo = [start]
    for name in todo:
        if name == end:
            return paths[name]
        for following in feeds[name]:
            if following not in paths:
                paths[following] = (*paths[name], following)
                todo.append(following)
    return None


# --- protocols ----------------------------------------------------------------------------------------------------


def _protocols(old: Module, new: Module) -> Iterator[Change]:
    for name in dict.fromkeys((*old.protocols, *new.protocols)):
        if name not in old.protocols:
            yield Change("protocol_added", name, f"added the protocol {name}")
        elif name not in new.protocols:
            yield Change("protocol_removed", name, f"removed the protocol {name}")
        elif old.protocols[name] != new.protocols[name]:
            yield Change("protocol_changed", name, f"the protocol {name} has other steps")
