"""One MCP server: a task that owns its session, opens it again when it has ended, and does calls in it.

The session is entered and left in one task, as its cancel scopes want it; calls reach that task over a channel, and run
beside each other inside of the session. No call is made twice: one that was under way when the server ended may have
had its effect.
"""

from __future__ import annotations

__all__ = ["TOOLS_MAX", "Server"]

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias, cast

import anyio
import httpx2
import msgspec
import trio
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp_types import Implementation, RequestParamsMeta

from fabric import __version__
from fabric.errors import FabricError
from fabric.launch.guarding import Guard
from fabric.tool_host.content import ToolFailed, content_of
from fabric.tool_host.program import Program
from fabric.tool_host.protocol import Call, Done, Failed, FromHost, NotOpened, Open, Opened, ToolListing, Wrote
from fabric.wire.payload import encode_json

TOOLS_MAX = 1_000
"""Tools of one server, on all pages of its list together. A model cannot choose among so many."""

WAITING_MAX = 4_096
"""Calls and cancellations that may wait while a server is being opened."""

IDEMPOTENCY_KEY = "fabric/idempotency-key"
"""In the ``_meta`` of a call: the same when it is made once more, because nobody knows whether it was done."""

CONNECT_S = 10.0
"""How long it may take to reach a server that is somewhere else. For its answers there is the limit of the call."""

Say: TypeAlias = Callable[[FromHost], Awaitable[None]]

_WRONG = (
    MCPError,
    FabricError,
    OSError,
    RuntimeError,
    ValueError,  # pydantic's errors are such
    httpx2.HTTPError,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
)
"""What the library raises when a server is gone, or does not speak as it should."""


class Server:
    """One server. Used while :meth:`run` runs.

    Args:
        how: which, with what environment, and how long it may take to open.
        guard: ends its process if ours dies.
        say: takes what the coordinator is to hear.
    """

    def __init__(self, how: Open, guard: Guard, say: Say) -> None:
        self._plan = how.server
        self._how = how
        self._guard = guard
        self._say = say
        self._to_do, self._calls = trio.open_memory_channel[Call](WAITING_MAX)
        self._scopes: dict[int, trio.CancelScope] = {}
        self._under_way: set[int] = set()
        self._listed = False
        self._suspect = False
        self._said = ""

    async def call(self, call: Call) -> None:
        """Have a call done."""
        self._scopes[call.call] = trio.CancelScope()
        try:
            self._to_do.send_nowait(call)
        except trio.WouldBlock:
            await self._over(Failed(call.call, f"{self._name}: too many calls wait for it"))

    def cancel(self, number: int) -> None:
        """Nobody waits for a call any more."""
        if number in self._scopes:
            self._scopes.pop(number).cancel()

    async def _over(self, answer: Done | Failed) -> None:
        """Answer a call, unless nobody waits for it."""
        if answer.call in self._scopes:
            await self._say(answer)
            self._scopes.pop(answer.call, None)

    @property
    def _name(self) -> str:
        return f"MCP server '{self._plan.name}'"

    async def run(self) -> None:
        """Open it and do calls; whenever its session has ended, open it again for the next call. Until cancelled."""
        left = await self._serve(None)
        while True:
            left = await self._serve(left or await self._calls.receive())

    async def _serve(self, first: Call | None) -> Call | None:
        """Open a session, and do calls as long as it lasts. Return a call that needs another session."""
        wrong: list[str] = []
        left: Call | None = None
        opened = False
        with trio.CancelScope(deadline=trio.current_time() + self._how.ready_timeout_s) as opening:
            try:
                async with self._connected() as (client, ended):
                    tools = await _tools(client)
                    opened, opening.deadline = True, float("inf")
                    if not self._listed:
                        self._listed = True
                        await self._say(Opened(self._plan.key, tools))
                    left = await self._do(client, first, ended)
            except* _WRONG as errors:
                wrong += dict.fromkeys(map(_words, _leaves(errors)))
        if opening.cancelled_caught:
            wrong = [f"it did not answer within {self._how.ready_timeout_s:g} s"]
        why = "; ".join(wrong) + self._said
        if opened:
            for number in tuple(self._under_way):  # what the end of the session has cut short
                await self._over(
                    Failed(number, f"{self._name} ended during the call, which may have had its effect{why}")
                )
            self._under_way.clear()
            return left
        error = f"{self._name} ({self._where}) could not be opened: {why}"
        if first is not None:
            await self._over(Failed(first.call, error))
        elif not self._listed:
            await self._say(NotOpened(self._plan.key, error))
        return None

    @property
    def _where(self) -> str:
        return self._plan.url or " ".join(self._plan.command)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[Client, trio.Event]]:
        """Give a client of the server, and what tells that the session has ended."""
        ended, info = trio.Event(), Implementation(name="fabric", version=__version__)
        self._said = ""
        if self._plan.url:
            timeout = httpx2.Timeout(None, connect=CONNECT_S)
            async with httpx2.AsyncClient(timeout=timeout, trust_env=False) as http:
                transport = streamable_http_client(self._plan.url, http_client=http)
                async with Client(transport, client_info=info, cache=None) as client:
                    yield client, ended
            return
        program = Program(self._plan, self._how.environment, self._guard, self._wrote)
        try:
            async with Client(program.open(), client_info=info, cache=None) as client:
                yield client, program.ended
        finally:
            last = "".join(f"\n  | {line}" for line in program.last_lines)
            self._said = f"; it {program.obituary}" * bool(program.obituary) + last

    async def _wrote(self, line: str) -> None:
        await self._say(Wrote(self._plan.key, line))

    async def _do(self, client: Client, first: Call | None, ended: trio.Event) -> Call | None:
        """Do calls until the session ends, or may have ended and another call comes: return that one."""
        self._suspect = False
        left: Call | None = None
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                await ended.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            call = first or await self._calls.receive()
            while not self._suspect or self._under_way:
                if call.call in self._scopes:
                    self._under_way.add(call.call)
                    nursery.start_soon(self._call, client, call)
                call = await self._calls.receive()
            left = call
            nursery.cancel_scope.cancel()
        return left

    async def _call(self, client: Client, call: Call) -> None:
        scope, answer = self._scopes[call.call], None
        with scope:
            answer = await self._answer(client, call)
        if answer is not None:
            await self._over(answer)
        self._under_way.discard(call.call)

    async def _answer(self, client: Client, call: Call) -> Done | Failed:
        arguments = msgspec.json.decode(call.arguments)
        if not isinstance(arguments, dict):
            return Failed(call.call, f"arguments: expected an object, got {bytes(call.arguments)[:40].decode()}")
        try:
            # The first as SEP-414 has it: unprefixed, so that any server's tracing finds it.
            said = {"traceparent": call.traceparent, IDEMPOTENCY_KEY: call.key}
            meta = {name: text for name, text in said.items() if text}
            result = await client.call_tool(call.tool, arguments, meta=cast("RequestParamsMeta", meta) or None)
            return Done(call.call, msgspec.Raw(content_of(result)))
        except ToolFailed as error:
            return Failed(call.call, str(error))
        except _WRONG as error:
            # Whether a session over HTTP is still there only the next request tells; a new one is cheap.
            self._suspect |= bool(self._plan.url)
            return Failed(call.call, f"{self._name}: {_words(error)}")


async def _tools(client: Client) -> list[ToolListing]:
    """Return the tools of a server, on all pages of its list.

    Raises:
        ToolFailed: there are too many, or one has a name that nobody can be shown who is to approve its calls.
    """
    found: dict[str, ToolListing] = {}
    cursor: str | None = None
    pages: set[str | None] = set()
    while cursor not in pages:
        pages.add(cursor)
        page = await client.list_tools(cursor=cursor)
        for tool in page.tools:
            if not tool.name.isprintable():
                raise ToolFailed(f"it has a tool with the name {tool.name!r}, which cannot be shown as it is")
            schema = msgspec.Raw(encode_json(tool.input_schema))
            hints = tool.annotations
            repeatable = hints is not None and bool(hints.read_only_hint or hints.idempotent_hint)
            found[tool.name] = ToolListing(tool.name, tool.description or tool.title or "", schema, repeatable)
        if len(found) > TOOLS_MAX or len(pages) > TOOLS_MAX:
            raise ToolFailed(f"it has more than {TOOLS_MAX} tools")
        cursor = page.next_cursor
        if cursor is None:
            break
    return list(found.values())


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
