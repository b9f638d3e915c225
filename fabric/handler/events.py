"""What can happen to a session, as a handler sees it."""

from __future__ import annotations

__all__ = ["Event", "ForkEvent", "PushEvent", "StartEvent", "WakeEvent", "event_of"]

from fabric.handler.objects import Object


class Event:
    """Something that happened. ``str()`` of it is its kind."""

    kind = ""

    def __str__(self) -> str:
        return self.kind

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class StartEvent(Event):
    """A root session began."""

    kind = "start"


class ForkEvent(Event):
    """A session began as the child of another one: all before this is inherited."""

    kind = "fork"


class WakeEvent(Event):
    """A session goes on after a pause or a sleep."""

    kind = "wake"


class PushEvent(Event):
    """An object was added.

    Attributes:
        object: the object.
    """

    kind = "push"
    __match_args__ = ("object",)

    def __init__(self, obj: Object) -> None:
        self.object = obj

    def __repr__(self) -> str:
        return f"PushEvent({self.object!r})"


_WITHOUT_OBJECT = {event.kind: event for event in (StartEvent, ForkEvent, WakeEvent)}


def event_of(obj: Object) -> Event | None:
    """Return the event that an entry of the log tells of; ``None`` for kinds that this version does not know."""
    kind = obj.event()
    if kind == PushEvent.kind:
        return PushEvent(obj)
    event = _WITHOUT_OBJECT.get(kind)
    return event() if event is not None else None
