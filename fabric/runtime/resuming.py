"""How a boundary goes on where a kept run was left. JSON lines: which lines of the input are known already, and what of
the output its reader has not got. A service: what came of messages that had a key."""

from __future__ import annotations

__all__ = ["serve_again", "take_up"]

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from fabric.runtime.emission import due_of, reading, sink_of
from fabric.runtime.gateway import LineGateway
from fabric.runtime.keyed import Keyed
from fabric.runtime.recorder import Lost, Resumed
from fabric.runtime.service import Service
from fabric.session.events import Note
from fabric.session.history import LINE_KEYS, Emitted, Entered, bytes_of

if TYPE_CHECKING:
    from fabric.runtime.keeping import Kept


async def take_up(
    kept: Kept,
    resumed: Resumed,
    gateway: LineGateway,
    noted: Callable[[Note], None],
    stdin_fd: int,
    stdout_fd: int,
) -> Lost | None:
    """Bring a boundary to where the session is; return why the session cannot go on.

    What is to be written first is written down before: from then on whoever else runs this session has lost it.
    """
    outputs, recorder = resumed.relived.outputs, resumed.recorder
    sink = sink_of(stdout_fd)
    with reading(stdout_fd) as has:
        due = due_of(kept.emitted, sink, lambda index: gateway.line_of(outputs[index]), len(outputs), has)
    recorder.emitted(due.place)
    lost = await recorder.finish()
    if lost is not None:
        return lost
    size_bytes = sink.size_bytes

    def wrote(count: int, written_bytes: int) -> None:
        nonlocal size_bytes
        size_bytes += written_bytes if sink.file else 0
        recorder.emitted(Emitted(count, size_bytes, sink.file))

    known = [] if os.isatty(stdin_fd) else kept.known(resumed.relived.inputs_refused)
    gateway.resume(known, kept.last_ticket, wrote, due.first, noted)
    rest = gateway.line_of(outputs[due.first])[due.written_bytes :] if due.written_bytes else b""
    gateway.catch_up(rest, outputs[due.first + (due.written_bytes > 0) :])
    _tell(kept, resumed, noted, written=due.first)
    letters = resumed.relived.letters
    if letters:  # no file has them: they are told again, for whoever was killed may not have come to it
        workers = ", ".join(dict.fromkeys(letter.worker for letter in letters))
        noted(Note("error", "dead_letters.earlier", {"letters": len(letters), "workers": workers}))
    return None


def serve_again(kept: Kept, resumed: Resumed, service: Service, noted: Callable[[Note], None]) -> None:
    """Bring a service to where its session is. What came out before is nobody's, unless its message had a key."""
    keyed = Keyed()
    for entry in kept.history:
        if isinstance(entry, Entered) and entry.key and not entry.key.startswith(LINE_KEYS):
            keyed.add(entry.key, entry.ticket, entry.port, bytes_of(entry.payload, entry.garbled))
    outputs = resumed.relived.outputs
    keyed.delivered(outputs)
    keyed.settled(sorted(resumed.relived.settled))
    restored = service.resume(kept.last_ticket, keyed, resumed.relived.letters)
    _tell(kept, resumed, noted)
    if restored:
        noted(Note("warning", "dead_letters.restored", {"letters": restored}))


def _tell(kept: Kept, resumed: Resumed, noted: Callable[[Note], None], **more: int) -> None:
    """Say what the session goes on with, and what it goes on without."""
    relived = resumed.relived
    if relived.entries:
        fields = {"session": kept.id, "entries": relived.entries, "outputs": len(relived.outputs), **more}
        noted(Note("info", "session.resumed", fields))
    if relived.skipped:
        first = relived.skipped[0]
        fields = {"entries": len(relived.skipped), "first": first.number, "reason": first.why}
        noted(Note("warning", "history.skipped", fields))
