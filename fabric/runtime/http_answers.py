"""What a session gives to those who ask over HTTP, and does for them, by way of its service if it has one."""

from __future__ import annotations

__all__ = ["Served", "Watched"]

from collections.abc import Callable
from typing import Any

import msgspec
import trio

from fabric.graph.render import render
from fabric.plan.plan import Plan
from fabric.runtime.coordinator import Coordinator
from fabric.runtime.dead_letters import DeadLetters, Letter
from fabric.runtime.http_server import Answer, error
from fabric.runtime.processes import is_alive, memory_bytes
from fabric.runtime.readiness import Missing
from fabric.runtime.service import Service
from fabric.runtime.service_protocol import Request, WorkerStatus
from fabric.runtime.services import Record, WorkerRecord
from fabric.runtime.watch import Watch

DONE_S = 30.0
"""That a change is waited for. What takes longer is accepted, and goes on."""

LETTERS_BYTES_MAX = 8 * 1024 * 1024
"""Of one answer with dead letters."""

_STATUS_OF = {"unknown_name": 404, "unknown_approval": 404, "bad_request": 400}
"""Of answers that say that something is not done; any other is a conflict with how things stand."""


class Served(msgspec.Struct, frozen=True):
    """A service, as far as its site needs it.

    Attributes:
        service: does what is asked for.
        letters: on disk.
        record: what is written down of it, now.
    """

    service: Service
    letters: DeadLetters
    record: Callable[[], Record]


class Watched:
    """One session.

    Args:
        plan: what runs.
        watch: its metrics, and whether it is ready.
        coordinator: runs it.
        served: its service; a session between a program's stdin and stdout has none.
    """

    def __init__(self, plan: Plan, watch: Watch, coordinator: Coordinator, served: Served | None = None) -> None:
        self._plan = plan
        self._watch = watch
        self._coordinator = coordinator
        self._served = served

    @property
    def serves(self) -> bool:
        """Whether there is more than metrics and readiness."""
        return self._served is not None

    def page(self, accept: str) -> tuple[str, bytes]:
        """Return the page of metrics, and its media type."""
        return self._watch.page.write(accept)

    def missing(self) -> tuple[Missing, ...]:
        """Return what is lacking for being ready."""
        return self._watch.missing()

    # --- of a service ---

    @property
    def _service(self) -> Served:
        assert self._served is not None
        return self._served

    async def show(self, what: str) -> dict[str, Any]:
        """Return ``status``, ``graph``, ``workers``, ``channels`` or ``approvals``."""
        if what == "graph":
            return {"v": 1, **msgspec.json.decode(render(self._plan.graph, "json"))}
        if what == "channels":
            return {"v": 1, "channels": self._watch.channels()}
        inquiry = await self._service.service.ask(
            self._coordinator, Request(1, do="approvals" if what == "approvals" else "status")
        )
        (answer,) = inquiry.answers
        if what == "approvals":
            return {"v": 1, "approvals": answer.approvals}
        status = answer.status
        assert status is not msgspec.UNSET
        if what == "status":
            record = self._service.record()
            return {"v": 1, "project": record.project, "spec": record.spec, **msgspec.structs.asdict(status)}
        known = {worker.name: worker for worker in self._service.record().workers}
        return {"v": 1, "workers": [_worker(worker, known.get(worker.name)) for worker in status.workers]}

    async def letters(self, after: int, count_max: int) -> dict[str, Any]:
        """Return dead letters, those with higher numbers than one; ``more`` says whether there are others behind."""

        def read() -> dict[str, Any]:
            found: list[Letter] = []
            size_bytes = 0
            with self._service.letters.open() as letters:
                heads = [head for head in letters.heads.values() if head.id > after]
                for head in heads[:count_max]:
                    size_bytes += head.size_bytes
                    if found and size_bytes > LETTERS_BYTES_MAX:
                        break
                    found.append(letters.read(head))
            return {"v": 1, "dead_letters": found, "more": len(found) < len(heads)}

        return await trio.to_thread.run_sync(read, abandon_on_cancel=True)

    async def letter(self, number: int) -> Letter | None:
        """Return one dead letter, if there is one. Raises ConfigError: it cannot be read."""

        def read() -> Letter | None:
            with self._service.letters.open() as letters:
                head = letters.heads.get(number)
                return None if head is None else letters.read(head)

        return await trio.to_thread.run_sync(read, abandon_on_cancel=True)

    async def drop(self, number: int) -> bool:
        """Drop one for good; return whether there was one. Raises OSError."""
        letters = self._service.letters
        return bool(await trio.to_thread.run_sync(letters.drop, lambda head: head.id == number, abandon_on_cancel=True))

    async def do(self, request: Request) -> Answer:
        """Have the service do something, and tell what came of it, if that does not take too long.

        A message needs room. For how long it waits for that is bounded, too, and until then nothing was asked for.
        """
        ordered = False
        with trio.move_on_after(DONE_S):
            if request.do == "retry":
                await self._coordinator.wait_for_room()
            ordered = True  # what follows asks before it waits for anything
            inquiry = await self._service.service.ask(self._coordinator, request)
            wrong = next((answer for answer in inquiry.answers if answer.error), None)
            if wrong is not None and not any(answer.settled for answer in inquiry.answers):
                return error(_STATUS_OF.get(wrong.code, 409), wrong.code, wrong.error)
            said: dict[str, Any] = {"v": 1, "accepted": True}
            for answer in inquiry.answers:
                said |= msgspec.to_builtins(answer)
            said |= {"outputs": inquiry.outputs} if request.do == "retry" else {}
            del said["id"]
            return Answer(200, msgspec.json.encode(said) + b"\n")
        if not ordered:
            text = f"there was no room for a message within {DONE_S:g} s; nothing was done, try again later"
            return error(503, "no_room", text)
        return Answer(202, b'{"v":1,"accepted":true}\n')


def _worker(worker: WorkerStatus, known: WorkerRecord | None) -> dict[str, Any]:
    fields = msgspec.structs.asdict(worker)
    if known is None:
        return fields
    process = known.process if known.process is not None and is_alive(known.process) else None
    return {
        **fields,
        "kind": known.kind,
        "what": known.what,
        "pid": None if process is None else process.pid,
        "restarts": known.restarts,
        "exit_status": known.exit_status,
        "memory_bytes": None if process is None else memory_bytes(process),
    }
