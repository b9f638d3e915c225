"""A session by the names of its objects."""

from __future__ import annotations

__all__ = ["State"]

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import TypeVar, overload

from fabric.handler.bodies import quoted
from fabric.handler.objects import Object

_OtherT = TypeVar("_OtherT")


class State:
    """The newest object of each name, as a mapping; and all objects in order, as an iterable.

    It is a mapping in all but one way: ``iter`` gives the objects, as handlers expect who go through all of them; the
    names are ``keys()``. So ``dict(state)``, ``**state``, ``get`` and ``match`` work as with any other mapping. ``len``
    counts names: a state of unnamed objects alone is false.
    """

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __init__(self) -> None:
        self._named: dict[str, Object] = {}
        self._all: list[Object] = []
        self._memory: dict[str, str] = {}

    def __getitem__(self, name: str) -> Object:
        return self._named[name]

    def __setitem__(self, name: str, obj: Object) -> None:
        self._named[name] = obj
        self._all.append(obj)

    def __contains__(self, name: object) -> bool:
        return name in self._named

    def __iter__(self) -> Iterator[Object]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._named)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, State):
            return (self._named, self._all, self._memory) == (other._named, other._all, other._memory)
        return self._named == dict(other) if isinstance(other, Mapping) else NotImplemented

    def __repr__(self) -> str:
        return f"State({list(self._named)!r}, {len(self._all)} objects)"

    @overload
    def get(self, name: str) -> Object | None: ...
    @overload
    def get(self, name: str, default: _OtherT) -> Object | _OtherT: ...
    def get(self, name: str, default: object = None) -> object:
        """Return the newest object of a name."""
        return self._named.get(name, default)

    def keys(self) -> KeysView[str]:
        """Return the names."""
        return self._named.keys()

    def values(self) -> ValuesView[Object]:
        """Return the newest object of each name."""
        return self._named.values()

    def items(self) -> ItemsView[str, Object]:
        """Return the names with their newest objects."""
        return self._named.items()

    def append(self, value: Object) -> None:
        """Add an object, under its name if it has one."""
        if value.name():
            self._named[value.name()] = value
        self._all.append(value)

    def add_memory_namespace(self, namespace: str, url: str) -> None:
        """Say where the objects are whose names begin with ``namespace``; both end with ``/``."""
        self._memory[namespace] = url

    def get_memory_url(self, name: str) -> str | None:
        """Return where the object of a name is, if a namespace holds it: that of the longest prefix."""
        if "/" not in name:
            return None
        fitting = [namespace for namespace in self._memory if name.startswith(namespace)]
        if not fitting:
            return None
        namespace = max(fitting, key=len)
        return self._memory[namespace] + quoted(name[len(namespace) :])


Mapping.register(State)
