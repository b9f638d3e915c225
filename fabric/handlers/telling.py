"""What a handler is told of a log, in lines."""

from __future__ import annotations

__all__ = ["ControlRecords", "input_lines"]

from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal, TypeAlias

from fabric.handlers.objects import ObjectServer
from fabric.handlers.records import Input, input_line
from fabric.store.record import Entry
from fabric.store.replay import Placed

ControlRecords: TypeAlias = Literal["json", "empty", "none"]
"""``start``, ``fork`` and ``wake``: with a small body, for those who decode all bodies as JSON; without; not at all."""

_CONTROL = frozenset({"start", "fork", "wake"})


def input_lines(
    given: Iterable[Placed], objects: ObjectServer, body: Callable[[Entry], bytes], control: ControlRecords
) -> bytes:
    """Return the lines of entries.

    Args:
        given: in order, as a handler is to see them.
        objects: where their bodies are fetched.
        body: gives one that is not in its entry, as it is stored; called in a thread, when it is fetched.
    """
    return b"".join(
        input_line(_input(each.entry, objects, body, control))
        for each in given
        if control != "none" or each.entry.event not in _CONTROL
    )


def _input(entry: Entry, objects: ObjectServer, body: Callable[[Entry], bytes], control: ControlRecords) -> Input:
    if entry.event == "memory":
        return Input(event="memory", url=objects.namespace_url(entry.name))
    if control == "empty" and entry.event in _CONTROL:
        return Input(event=entry.event)
    inline = entry.inline
    return Input(
        event=entry.event,
        url=objects.offer(entry.sha256, partial(body, entry) if inline is None else inline),
        size=entry.size,
        content_type=entry.content_type,
        content_encoding=entry.content_encoding,
        schema_url=entry.schema_url,
        name=entry.name,
        metadata=entry.metadata,
    )
