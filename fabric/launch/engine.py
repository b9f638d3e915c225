"""The API of a Docker Engine, as far as containers of workers need it: HTTP on a unix socket, or over TCP.

What the calls take and give are those parts of the API's objects that we use, by the API's names in our spelling. A
call can be cancelled, and leaves no connection behind that somebody else could get.
"""

from __future__ import annotations

__all__ = ["Container", "Engine", "Found", "HostConfig", "Image", "Mount", "State", "open_engine"]

import errno
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import httpx2
import msgspec
import trio

from fabric.errors import EngineFailed
from fabric.launch.engine_address import engine_address
from fabric.launch.log_stream import LogStream

API = "1.41"
"""That of Docker 20.10, which Podman 4 has, too. A later engine that has left it behind is spoken to in its oldest."""

CONNECT_S = 5.0
ANSWER_S = 60.0
"""How long an engine may take for what it does at once: to make a container on a slow disk takes seconds."""

T = TypeVar("T")


# --- What goes in ---------------------------------------------------------------------------------------------------


class Mount(msgspec.Struct, frozen=True, rename="pascal", omit_defaults=True):
    """A place in a container that is not its image's. A volume without a source is its own, and goes with it."""

    type: Literal["bind", "volume"]
    target: str
    source: str = ""
    read_only: bool = False


class LogConfig(msgspec.Struct, frozen=True, rename="pascal"):
    """How the engine keeps what a container writes."""

    type: str
    config: dict[str, str]


class RestartPolicy(msgspec.Struct, frozen=True, rename="pascal"):
    """Whether the engine starts one again that has ended. It would be another process, and nobody would know of it."""

    name: str = "no"


class HostConfig(msgspec.Struct, frozen=True, rename="pascal"):
    """What a container may, and what it may use. ``None``, 0: no limit."""

    network_mode: str
    memory: int = 0
    memory_swap: int = 0
    nano_cpus: int = 0
    pids_limit: int | None = None
    init: bool = True
    readonly_rootfs: bool = True
    cap_drop: tuple[str, ...] = ("ALL",)
    security_opt: tuple[str, ...] = ("no-new-privileges",)
    restart_policy: RestartPolicy = RestartPolicy()
    tmpfs: dict[str, str] = {}
    mounts: tuple[Mount, ...] = ()
    log_config: LogConfig = LogConfig("json-file", {"max-size": "16m", "max-file": "2"})


class Container(msgspec.Struct, frozen=True, rename="pascal"):
    """A container that is to be made. The entry point of its image is left aside."""

    image: str
    cmd: tuple[str, ...]
    user: str
    env: tuple[str, ...]
    labels: dict[str, str]
    host_config: HostConfig
    working_dir: str = "/"
    entrypoint: tuple[str, ...] = ()


# --- What comes back ------------------------------------------------------------------------------------------------


class State(msgspec.Struct, frozen=True, rename="pascal"):
    """How a container is.

    Attributes:
        running: whether it does.
        exit_code: of its first process, if that has ended; 128 and the number of the signal that ended it.
        oom_killed: whether its limit of memory was what ended it.
        error: why it could not be started.
    """

    running: bool
    exit_code: int = 0
    oom_killed: bool = msgspec.field(default=False, name="OOMKilled")
    error: str = ""


class Found(msgspec.Struct, frozen=True, rename="pascal"):
    """A container that was found by its labels; ``state`` is ``running``, ``exited``, ``created`` and the like."""

    id: str
    names: tuple[str, ...]
    labels: dict[str, str]
    state: str

    @property
    def name(self) -> str:
        """Its name, or what stands for it."""
        return self.names[0].removeprefix("/") if self.names else self.id[:12]


class Image(msgspec.Struct, frozen=True, rename="pascal"):
    """An image that the engine has; ``size`` in bytes."""

    id: str
    size: int = 0


class _Version(msgspec.Struct, frozen=True, rename="pascal"):
    api_version: str
    min_api_version: str = msgspec.field(default=API, name="MinAPIVersion")


class _Created(msgspec.Struct, frozen=True, rename="pascal"):
    id: str


class _Told(msgspec.Struct, frozen=True):
    """A line of what a build says."""

    stream: str = ""
    error: str = ""


class _Inspected(msgspec.Struct, frozen=True, rename="pascal"):
    id: str
    state: State


class Engine:
    """One engine. Made by :func:`open_engine`. Every call raises EngineFailed.

    Attributes:
        where: its address.
        api: the version that is spoken.
    """

    def __init__(self, client: httpx2.AsyncClient, where: str) -> None:
        self._client = client
        self._prefix = ""
        self.where = where
        self.api = ""

    @property
    def local(self) -> bool:
        """Whether it has our files: we reach it by a socket of this host."""
        return self.where.startswith("unix://")

    async def greet(self) -> None:
        """Look whether it is there, and agree on a version."""
        version = await self._get("/version", _Version)
        if _numbers(version.api_version) < _numbers(API):
            raise EngineFailed(
                f"the Docker Engine at {self.where} speaks API {version.api_version}; expected {API} or later, as of"
                " Docker 20.10"
            )
        self.api = max(API, version.min_api_version, key=_numbers)
        self._prefix = f"/v{self.api}"

    async def image(self, name: str) -> Image:
        """Return an image; ``status`` 404: it is not there."""
        return await self._get(f"/images/{quote(name, safe='/:@')}/json", Image)

    async def create(self, name: str, container: Container) -> str:
        """Make a container; return its id. ``status`` 409: one has its name."""
        body = msgspec.json.encode(container)
        answer = await self._ask("POST", "/containers/create", body, query={"name": name}, again=False)
        return self._read(answer, _Created).id

    async def put_files(self, container: str, folder: str, archive: bytes) -> None:
        """Unpack a tar in a folder of a container that may not run yet."""
        await self._ask("PUT", f"/containers/{container}/archive", archive, query={"path": folder})

    async def start(self, container: str) -> None:
        """Start a container; one that runs: nothing."""
        await self._ask("POST", f"/containers/{container}/start")

    async def inspect(self, container: str) -> State:
        """Return how a container is; ``status`` 404: it is gone."""
        return (await self._get(f"/containers/{container}/json", _Inspected)).state

    async def wait(self, container: str) -> None:
        """Return when it does not run any more, however long that takes."""
        await self._ask("POST", f"/containers/{container}/wait", answer_s=None)

    async def kill(self, container: str, signal: str) -> None:
        """Send a signal to its first process; ``status`` 404, 409: it is gone."""
        await self._ask("POST", f"/containers/{container}/kill", query={"signal": signal})

    async def remove(self, container: str) -> None:
        """Remove it and its volumes, and end it if it runs. One that is gone, or going: nothing."""
        try:
            await self._ask("DELETE", f"/containers/{container}", query={"force": "1", "v": "1"})
        except EngineFailed as error:
            if error.status not in (404, 409):
                raise

    async def find(self, labels: Mapping[str, str]) -> list[Found]:
        """Return the containers that have these labels, running or not."""
        filters = json.dumps({"label": [f"{name}={value}" for name, value in labels.items()]})
        answer = await self._ask("GET", "/containers/json", query={"all": "1", "filters": filters})
        return self._read(answer, list[Found])

    async def follow_logs(self, container: str, take: Callable[[str], Awaitable[None]], *, tail: str = "all") -> None:
        """Hand over the lines that a container writes, on stdout or stderr, until it ends.

        Args:
            container: which.
            take: called with each; while it waits nothing more is read.
            tail: how many of those that it has written already.
        """
        unended = await self._logs(container, take, follow="1", tail=tail)
        # A line that was not ended is lost now and then to who follows (seen with Docker 20.10): it is asked for again.
        for line in unended or await self._logs(container, _ignore, follow="0", tail="2"):
            await take(line)

    async def _logs(self, container: str, take: Callable[[str], Awaitable[None]], **how: str) -> list[str]:
        """Hand over the lines; return those that were not ended."""
        query = {"stdout": "1", "stderr": "1", **how}
        request = self._client.build_request(
            "GET", f"{self._prefix}/containers/{container}/logs", params=query, timeout=_patience(None)
        )
        lines = LogStream()

        async def take_lines(data: bytes) -> None:
            for line in lines.feed(data):
                await take(line)

        await self._stream(request, take_lines)
        return lines.end()

    async def build(
        self, context: bytes, tag: str, target: str, arguments: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        """Build an image.

        Args:
            context: a tar with a Dockerfile.
            tag: its name.
            target: of the Dockerfile's stages.
            arguments: of the Dockerfile.
            say: takes what the engine says meanwhile, line by line.
        """
        query = {"t": tag, "target": target, "rm": "1", "forcerm": "1", "buildargs": json.dumps(arguments)}
        headers = {"content-type": "application/x-tar"}
        url = f"{self._prefix}/build"
        request = self._client.build_request(
            "POST", url, params=query, content=context, headers=headers, timeout=_patience(None)
        )
        said = bytearray()
        failures: list[str] = []

        async def take(data: bytes) -> None:
            *lines, rest = (said + data).split(b"\n")
            said[:] = rest
            for line in lines:
                told = self._read(bytes(line), _Told) if line.strip() else _Told()
                failures.extend([told.error] if told.error else [])
                for text in told.stream.splitlines():
                    if text.strip():
                        say(text)

        await self._stream(request, take)
        if failures:
            raise EngineFailed(f"the Docker Engine at {self.where} could not build {tag}: {failures[0]}")

    # --- one request ---

    async def _stream(self, request: httpx2.Request, take: Callable[[bytes], Awaitable[None]]) -> None:
        """Hand over an answer piece by piece, to its end or until ``take`` raises."""
        failure: BaseException | None = None
        try:
            response = await self._client.send(request, stream=True)
            try:
                if response.is_error:
                    raise self._refusal(response, await response.aread())
                # A generator of httpx2's that is dropped halfway is never cleaned up: who has enough has it cancelled.
                with trio.CancelScope() as rest:
                    async for data in response.aiter_raw():
                        try:
                            await take(data)
                        except (EngineFailed, trio.BrokenResourceError, trio.Cancelled) as error:
                            failure = error  # also a cancellation goes on from here: through the generator
                            rest.cancel()
            finally:
                with trio.CancelScope(shield=True):
                    await response.aclose()
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from None
        if failure is not None:
            raise failure

    async def _get(self, path: str, type_: type[T]) -> T:
        return self._read(await self._ask("GET", path), type_)

    async def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        query: Mapping[str, str] | None = None,
        answer_s: float | None = ANSWER_S,
        again: bool = True,
    ) -> bytes:
        """Ask once; twice if the connection was one that the engine had just given up, and it is safe to."""
        kind = "application/x-tar" if method == "PUT" else "application/json"
        headers = {"content-type": kind} if body is not None else {}
        send = self._client.request
        url = self._prefix + path
        try:
            try:
                timeout = _patience(answer_s)
                response = await send(method, url, params=query, content=body, headers=headers, timeout=timeout)
            except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError):
                if not again:
                    raise
                response = await send(method, url, params=query, content=body, headers=headers, timeout=timeout)
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from None
        if response.is_error:
            raise self._refusal(response, response.content)
        return response.content

    def _read(self, answer: bytes, type_: type[T]) -> T:
        try:
            return msgspec.json.decode(answer, type=type_)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise EngineFailed(f"what answers at {self.where} is no Docker Engine: {error}") from None

    def _refusal(self, response: httpx2.Response, body: bytes) -> EngineFailed:
        """Return what a status means, in the engine's words."""
        try:
            message = msgspec.json.decode(body, type=dict[str, Any])["message"]
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
            message = f"HTTP status {response.status_code}"
        return EngineFailed(f"the Docker Engine at {self.where}: {message}", response.status_code)

    def _unreachable(self, error: httpx2.HTTPError) -> EngineFailed:
        """Return why there is no answer, and what to do."""
        if isinstance(error, httpx2.TimeoutException):
            return EngineFailed(f"the Docker Engine at {self.where} does not answer in time; is its host overloaded?")
        match _errno(error):
            case errno.ENOENT | errno.ECONNREFUSED | errno.ENOTSOCK:
                text = f"there is no Docker Engine at {self.where}: start it (systemctl start docker), or say where"
                text += ' it is with DOCKER_HOST or [hosts.NAME] engine = "unix://PATH"'
            case errno.EACCES | errno.EPERM:
                path = self.where.removeprefix("unix://")
                text = (
                    f"no permission to speak to the Docker Engine at {path}: add yourself to the group that it belongs"
                )
                text += " to (usermod -aG docker USER), or use an engine of your own (rootless)"
            case _:
                text = f"the Docker Engine at {self.where} cannot be reached: {_reason(error)}"
        return EngineFailed(text)


async def _ignore(line: str) -> None:
    """Leave a line out that was handed over before."""


def _patience(answer_s: float | None) -> httpx2.Timeout:
    return httpx2.Timeout(connect=CONNECT_S, pool=CONNECT_S, write=ANSWER_S, read=answer_s)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__ or error.__context__
    return found


def _errno(error: BaseException) -> int:
    return next((cause.errno for cause in _causes(error) if isinstance(cause, OSError) and cause.errno), 0)


def _reason(error: BaseException) -> str:
    return next((str(cause) for cause in reversed(_causes(error)) if str(cause)), type(error).__name__)


@asynccontextmanager
async def open_engine(where: str, environment: Mapping[str, str]) -> AsyncIterator[Engine]:
    """Give an engine that has answered.

    Args:
        where, environment: see :func:`fabric.launch.engine_address.engine_address`.

    Raises:
        ConfigError: its address cannot be one.
        EngineFailed: it is not there, or too old.
    """
    where = engine_address(where, environment)
    scheme, _, rest = where.partition("://")
    uds, base = (rest, "http://engine") if scheme == "unix" else (None, f"http://{rest}")
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=4)  # each container is waited for on one
    transport = httpx2.AsyncHTTPTransport(uds=uds, limits=limits, trust_env=False)
    client = httpx2.AsyncClient(transport=transport, base_url=base, trust_env=False)
    try:
        engine = Engine(client, where)
        await engine.greet()
        yield engine
    finally:
        with trio.CancelScope(shield=True):
            await client.aclose()
