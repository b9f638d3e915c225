"""What a durable handler is written with.

A handler is a program that is started once for every event of a session: it reads the session's log, decides one step
and appends it. Whatever it has to remember is in the log.

    import fabric.handler as pugmark

    log = list(pugmark.read())
    match log[-1].decode_json() if log else None:
        case {"kind": "input", "text": text}:
            pugmark.write({"kind": "echo", "text": text.upper()})
        case _:
            pugmark.pause("nothing to echo")

The names, the shapes of the calls and the bytes on stdout are those of the ``pugmark`` SDK, so that handlers written
with it run with this one. ``fabric/PYTHON.md`` lists where this one differs.

The functions here use the session of this process, over stdin and stdout; :class:`Session` takes any streams.
``fabric.handler.http`` serves decisions over HTTP, ``fabric.handler.protoipc`` writes and reads messages of Protocol
Buffers. Nothing of fabric but this package is imported: a handler has to start fast.
"""

from __future__ import annotations

__all__ = [
    "Event",
    "ForkEvent",
    "Input",
    "LocalObject",
    "Object",
    "Output",
    "PushEvent",
    "Reader",
    "RemoteObject",
    "Session",
    "StartEvent",
    "State",
    "WakeEvent",
    "Writer",
    "__version__",
    "agent",
    "default_session",
    "events",
    "invocation_id",
    "load",
    "load_bytes",
    "load_json",
    "load_text",
    "metadata",
    "open",
    "pause",
    "print",
    "read",
    "session_id",
    "sleep",
    "snapshot",
    "state",
    "stdin",
    "stdout",
    "store",
    "traced_execution",
    "write",
    "write_bytes",
    "write_json",
    "write_remote",
    "write_text",
]

from fabric import __version__
from fabric.handler.events import Event, ForkEvent, PushEvent, StartEvent, WakeEvent
from fabric.handler.objects import Input, LocalObject, Object, Output, RemoteObject
from fabric.handler.process import (
    agent,
    default_session,
    events,
    invocation_id,
    load,
    load_bytes,
    load_json,
    load_text,
    metadata,
    open,  # noqa: A004 - the name that handlers call
    pause,
    print,  # noqa: A004 - the name that handlers call
    read,
    session_id,
    sleep,
    snapshot,
    state,
    stdin,
    stdout,
    store,
    traced_execution,
    write,
    write_bytes,
    write_json,
    write_remote,
    write_text,
)
from fabric.handler.session import Session
from fabric.handler.state import State
from fabric.handler.wire import Reader, Writer
