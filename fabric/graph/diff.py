"""What is different between two programs, in words.

Formatting, comments, the order of declarations, names of types and channels make no difference. A process is the same
if its name is, or if it was renamed for certain: only one that is gone and one that is new are alike in everything,
wiring included.
"""

from __future__ import annotations

__all__ = ["Change", "compare"]

import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping
from itertools import pairwise

from fabric.graph.analysis import strongly_connected
from fabric.graph.diff_process import Change, changes_of, describe
from fabric.graph.passes import flatten
from fabric.graph.routes import Inside, Labels, Route, look_inside
from fabric.lang.typed import Binding, Module

RENAMES_MAX = 10_000
"""So many pairs of a process that is gone and a new one are looked at; of more nobody would say "renamed"."""


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
    if len(gone) * len(fresh) > RENAMES_MAX:
        return found
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
    return one.kind == other.kind and not any(changes_of(one, other, {}))


def _routes_of(module: Module, new: Module, name: str, renamed: Mapping[str, str]) -> Counter[tuple[str, Route]]:
    """Return the routes to, from and inside of a process in all bodies, by the names of the new program."""
    called = renamed.get(name, name)
    labels = _labels(module, new, renamed)
    found: Counter[tuple[str, Route]] = Counter()
    for binding in module.bindings.values():
        if binding.body is None:
            continue
        where = renamed.get(binding.name, binding.name)
        for route, count in look_inside(binding.body, binding.name, labels).routes.items():
            ends = (route.source.partition("@")[0], route.target.partition("@")[0])
            if where == called or called in ends:
                found[where, route] += count
    return found


def _labels(module: Module, new: Module, renamed: Mapping[str, str]) -> Labels:
    """Return what things are called in the new program: ports of bodies go by their positions."""
    ports: dict[tuple[str, str], str] = {}
    plain: set[tuple[str, str]] = set()
    for name, binding in module.bindings.items():
        called = new.bindings.get(renamed.get(name, name), binding)
        for own, theirs in ((binding.inputs, called.inputs), (binding.outputs, called.outputs)):
            same = theirs if binding.kind == called.kind == "plumb" else own
            for index, port in enumerate(own):
                shown = same[index].name if index < len(same) else port.name
                ports[name, port.name] = shown
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
            yield Change("process_removed", name, f"removed {describe(binding)}")
    for name, binding in new.bindings.items():
        if name not in old.bindings and name not in renamed.values() and not _is_of(name, after - before):
            yield Change("process_added", name, f"added {describe(binding)}")
    main = renamed.get(old.main, old.main)
    if main != new.main:
        yield Change("main", new.main, f"{new.main} runs, instead of {main}", main, new.main)


def _is_of(name: str, spaces: set[str]) -> bool:
    return name.rpartition(".")[0] in spaces


def _each(old: Module, new: Module, renamed: Mapping[str, str]) -> Iterator[Change]:
    for name, binding in old.bindings.items():
        other = new.bindings.get(renamed.get(name, name))
        if other is not None:
            yield from changes_of(binding, other, renamed)


# --- wiring -------------------------------------------------------------------------------------------------------


def _wirings(old: Module, new: Module, renamed: Mapping[str, str]) -> Iterator[Change]:
    labels = _labels(old, new, renamed), _labels(new, new, {})
    for name, binding in old.bindings.items():
        other = new.bindings.get(renamed.get(name, name))
        if other is None or binding.body is None or other.body is None:
            continue
        before = look_inside(binding.body, name, labels[0])
        after = look_inside(other.body, other.name, labels[1])
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
    loop_of = {name: number for number, part in enumerate(strongly_connected(feeds, feeds)) for name in part}
    found: dict[frozenset[tuple[str, str]], tuple[str, ...]] = {}
    for source, targets in feeds.items():
        for target in targets:
            if loop_of[source] == loop_of[target] and target not in others.get(source, ()):
                back = _shortest(feeds, target, source)
                first = back.index(min(back, key=order.__getitem__))
                loop = (*back[first:], *back[: first + 1])
                found.setdefault(frozenset(pairwise(loop)), loop)
    return list(found.values())


def _shortest(feeds: Mapping[str, list[str]], start: str, end: str) -> tuple[str, ...]:
    """Return the names on the shortest way between two of one loop; source: Moore 1959, breadth first."""
    came_from: dict[str, str] = {}
    todo = deque([start])
    while end not in came_from and end != start:
        name = todo.popleft()
        for following in feeds[name]:
            if following != start and following not in came_from:
                came_from[following] = name
                todo.append(following)
    path = [end]
    while path[-1] != start:
        path.append(came_from[path[-1]])
    return tuple(path[::-1])


# --- protocols ----------------------------------------------------------------------------------------------------


def _protocols(old: Module, new: Module) -> Iterator[Change]:
    for name in dict.fromkeys((*old.protocols, *new.protocols)):
        if name not in old.protocols:
            yield Change("protocol_added", name, f"added the protocol {name}")
        elif name not in new.protocols:
            yield Change("protocol_removed", name, f"removed the protocol {name}")
        elif old.protocols[name] != new.protocols[name]:
            yield Change("protocol_changed", name, f"the protocol {name} has other steps")
