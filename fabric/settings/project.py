"""A project's settings: ``fabric.toml``, or ``[tool.fabric]`` in ``pyproject.toml``; below them the user's own.

What a flag or an environment variable says wins over them, and they win over the defaults. The user's file,
``~/.config/fabric/config.toml``, has the same keys, but for those that only a project can mean.

``[prices."MODEL"]`` is what a model costs, in dollars for a million tokens. It wins over the table of ``genai-prices``,
and is needed for a model that the table does not have:

    [prices."my-model"]
    input = 1.0
    output = 5.0
    cache_read = 0.1        # left out: as input
    cache_write = 1.25      # left out: as input
"""

from __future__ import annotations

__all__ = [
    "PortRange",
    "ProjectHost",
    "ProjectLimits",
    "ProjectPrice",
    "ProjectSettings",
    "ProjectWorker",
    "Resources",
    "Runner",
    "locate_keys",
    "project_file",
    "read_settings",
    "user_file",
]

import difflib
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, get_args

import msgspec
from msgspec import Meta

from fabric.errors import ConfigError
from fabric.settings.values import (
    AMOUNT_MAX,
    Address,
    Bytes,
    Dollars,
    Duration,
    Engine,
    Image,
    Patience,
    Ports,
    Price,
    VariableName,
    absolute_url,
    read_value,
)

Launch: TypeAlias = Literal["zygote", "spawn"]
Policy: TypeAlias = Literal["block", "dead_letter"]
OnCrash: TypeAlias = Literal["fail", "forget"]
Runner: TypeAlias = Literal["process", "container", "external"]
"""Who starts a worker: we as a process, we as a container, or somebody else."""


class PortRange(msgspec.Struct, frozen=True):
    """TCP ports of a host, both ends included."""

    first: int
    last: int


class Resources(msgspec.Struct, frozen=True):
    """What a container may use. ``None``: as much as there is.

    Attributes:
        memory_bytes: more ends it.
        cpus: of the host's, such as 1.5.
        pids: processes and threads.
    """

    memory_bytes: int | None = None
    cpus: float | None = None
    pids: int | None = None


class ProjectHost(msgspec.Struct, frozen=True):
    """A host that workers, or the coordinator, are placed on.

    Attributes:
        place: file and line.
        address: by which the other hosts reach it.
        bind: what is bound there; ``None``: the address, if it is a number, else every interface.
        ports: that may be used there; ``None``: the usual ones.
        engine: its Docker Engine, ``unix://PATH`` or ``tcp://HOST:PORT``; ``None``: this host's, where
            ``DOCKER_HOST`` says.
    """

    place: str
    address: str
    bind: str | None = None
    ports: PortRange | None = None
    engine: str | None = None


class ProjectWorker(msgspec.Struct, frozen=True):
    """What a project says of one worker. ``None`` is what it does not say.

    Attributes:
        place: file and line, for a name that the program does not have.
        retries: how often a message that killed the worker is given to it once more.
        idle_timeout_s: silence with a message unanswered after which it is killed and started again.
        on_crash: of one whose memory cannot be rebuilt: the session fails, or it starts without its memory.
        host: where it runs, one of the hosts; ``None``: with the coordinator.
        runner: who starts it.
        image: of its container.
        replicas: how many of it share its input.
        limits: of its container.
        env: names of variables that it gets beyond those that its binding names.
    """

    place: str
    retries: int | None = None
    idle_timeout_s: float | None = None
    on_crash: OnCrash | None = None
    host: str | None = None
    runner: Runner | None = None
    image: str | None = None
    replicas: int | None = None
    limits: Resources = Resources()
    env: tuple[str, ...] = ()


class ProjectLimits(msgspec.Struct, frozen=True):
    """What a project lets a session use. ``None`` is what it does not say; see ``fabric.session.budget.Limits``."""

    usd: float | None = None
    tokens: int | None = None
    calls: int | None = None
    wall_s: float | None = None


class ProjectPrice(msgspec.Struct, frozen=True):
    """What a project says that a model costs: dollars for a million tokens.

    Attributes:
        place: file and line.
        cache_read, cache_write: of tokens of the prompt that are read from a cache or written to it; ``None``: as the
            others.
    """

    place: str
    input: float
    output: float
    cache_read: float | None = None
    cache_write: float | None = None


class ProjectSettings(msgspec.Struct, frozen=True):
    """What a project says. ``None`` is what it does not say.

    Attributes:
        spec: its program.
        launch: how Python workers are started: forked from a preloaded process (``zygote``, the default), or one by one
            (``spawn``).
        provider, model: for agents that do not say theirs.
        ready_timeout_s: until every worker has to be ready.
        grace_s: of silence, before a worker that should end is ended.
        restarts_max: how often a worker may be started again in a minute.
        redeliveries_max: how many processes a message may kill before it is a dead letter.
        stall_s: of silence, before a worker that has a message is shown as stalled.
        queue: messages that may wait for one worker.
        policy: what becomes of a message for a full queue.
        approval_timeout_s: that a call of a tool with effects waits until somebody approves it.
        tool_timeout_s: that a call may take.
        host: the one of ``hosts`` that the coordinator runs on; ``None``: the first.
        runner, image: of workers that do not say theirs.
        http: where the service can be watched, ``ADDRESS:PORT``; ``off``: nowhere.
        workers: what differs, by name.
        hosts: by name, in the order of the file.
        limits: what a session may use.
        prices: of models, by name.
        store: the URL of the bucket that sessions are kept in.
    """

    spec: Path | None = None
    launch: Launch | None = None
    provider: str | None = None
    model: str | None = None
    ready_timeout_s: float | None = None
    grace_s: float | None = None
    restarts_max: int | None = None
    redeliveries_max: int | None = None
    stall_s: float | None = None
    queue: int | None = None
    policy: Policy | None = None
    approval_timeout_s: float | None = None
    tool_timeout_s: float | None = None
    host: str | None = None
    runner: Runner | None = None
    image: str | None = None
    http: str | None = None
    workers: dict[str, ProjectWorker] = {}
    hosts: dict[str, ProjectHost] = {}
    limits: ProjectLimits = ProjectLimits()
    prices: dict[str, ProjectPrice] = {}
    store: str | None = None

    def choose_model(self, provider: str | None, model: str | None) -> tuple[str | None, str | None]:
        """Return provider and model of agents that do not say theirs.

        Args:
            provider, model: what a flag or a variable says, which wins. The project's model belongs to its provider, if
                it names one: it is not combined with another.
        """
        if provider and self.provider not in (None, provider):
            return provider, model
        return provider or self.provider, model or self.model

    def check_workers(self, names: Collection[str]) -> None:
        """Check that the program has the workers of which something is said. A replica may be spoken of as NAME#1.

        Args:
            names: of all that it has.

        Raises:
            ConfigError: it has no such worker.
        """
        for name, said in self.workers.items():
            if name not in names and not self._is_replica(name, names):
                near = difflib.get_close_matches(name, names, 1)
                known = f"the workers are: {', '.join(names)}" if names else "it has none"
                hint = f"did you mean {near[0]!r}?" if near else known
                raise ConfigError(f"{said.place}: the program has no worker {name!r}; {hint}")

    def _is_replica(self, name: str, names: Collection[str]) -> bool:
        node, _, number = name.rpartition("#")
        said = self.workers.get(node)
        count = 1 if said is None else said.replicas or 1
        return node in names and number.isdecimal() and 1 <= int(number) <= count and count > 1


class _Limits(msgspec.Struct):
    usd: Dollars | None = None
    tokens: Annotated[int, Meta(ge=1, le=AMOUNT_MAX)] | None = None
    calls: Annotated[int, Meta(ge=1, le=AMOUNT_MAX)] | None = None
    wall: Patience | None = None


class _ModelPrice(msgspec.Struct):
    input: Price
    output: Price
    cache_read: Price | None = None
    cache_write: Price | None = None


class _Defaults(msgspec.Struct):
    provider: Annotated[str, Meta(min_length=1)] | None = None
    model: Annotated[str, Meta(min_length=1)] | None = None


class _Run(msgspec.Struct):
    launch: Launch | None = None
    ready_timeout: Patience | None = None
    grace: Duration | None = None
    restarts: Annotated[int, Meta(ge=0)] | None = None
    redeliveries: Annotated[int, Meta(ge=1)] | None = None
    stall: Patience | None = None
    approval_timeout: Patience | None = None
    tool_timeout: Patience | None = None
    host: Annotated[str, Meta(min_length=1)] | None = None
    runner: Runner | Literal["docker"] | None = None
    image: Image | None = None
    http: Annotated[str, Meta(min_length=1)] | None = None


class _Edges(msgspec.Struct):
    queue: Annotated[int, Meta(ge=1)] | None = None
    policy: Policy | None = None


class _Store(msgspec.Struct):
    url: Annotated[str, Meta(min_length=1)] | None = None


REPLICAS_MAX = 64


class _ContainerLimits(msgspec.Struct):
    memory: Bytes | None = None
    cpus: Annotated[float, Meta(gt=0)] | None = None
    pids: Annotated[int, Meta(ge=1)] | None = None


class _Worker(msgspec.Struct):
    retries: Annotated[int, Meta(ge=0)] | None = None
    idle_timeout: Patience | None = None
    on_crash: OnCrash | None = None
    host: Annotated[str, Meta(min_length=1)] | None = None
    runner: Runner | Literal["docker"] | None = None
    image: Image | None = None
    replicas: Annotated[int, Meta(ge=1, le=REPLICAS_MAX)] | None = None
    limits: _ContainerLimits = msgspec.field(default_factory=_ContainerLimits)
    env: tuple[VariableName, ...] = ()


class _Host(msgspec.Struct):
    address: Address
    bind: Address | None = None
    ports: Ports | None = None
    engine: Engine | None = None


class _Keys(msgspec.Struct):
    """The keys, as written. Each of ``workers`` and ``prices`` is looked at by itself: a complaint can name it then."""

    spec: Annotated[str, Meta(min_length=1)] | None = None
    launch: Launch | None = None
    defaults: _Defaults = msgspec.field(default_factory=_Defaults)
    limits: _Limits = msgspec.field(default_factory=_Limits)
    run: _Run = msgspec.field(default_factory=_Run)
    edges: _Edges = msgspec.field(default_factory=_Edges)
    store: _Store = msgspec.field(default_factory=_Store)
    workers: dict[str, Any] = {}
    hosts: dict[str, Any] = {}
    prices: dict[str, Any] = {}


_TABLES: dict[str, type[msgspec.Struct]] = {
    "": _Keys,
    "defaults": _Defaults,
    "limits": _Limits,
    "run": _Run,
    "edges": _Edges,
    "store": _Store,
}
_NAMED: dict[str, type[msgspec.Struct]] = {"workers": _Worker, "hosts": _Host, "prices": _ModelPrice}
"""Tables of tables, whose names are the project's."""
_CHOICES = {
    "launch": get_args(Launch),
    "policy": get_args(Policy),
    "on_crash": get_args(OnCrash),
    "runner": get_args(Runner),
}


_Struct = TypeVar("_Struct", bound=msgspec.Struct)


def read_settings(here: Path, user: Path | None = None) -> ProjectSettings:
    """Return the settings of the project that a directory belongs to: of the nearest file in it or above it.

    In one directory ``fabric.toml`` wins over ``pyproject.toml``.

    Args:
        here: the directory.
        user: the user's own file, see :func:`user_file`; it says what the project's does not.

    Raises:
        ConfigError: a file cannot be read, or says what cannot be meant.
    """
    path = project_file(here)
    file = _open(path) if path is not None else None
    said = file.settings() if file is not None else ProjectSettings()
    of_user = _open(user) if user is not None else None
    return said if of_user is None else _lay_over(said, of_user.settings_of_user())


def project_file(here: Path) -> Path | None:
    """Return the file that has the settings of a directory: the nearest that speaks of us, whatever it says."""
    for directory in (here, *here.parents):
        if (directory / "fabric.toml").exists():
            return directory / "fabric.toml"
        if _speaks_of_us(directory / "pyproject.toml"):
            return directory / "pyproject.toml"
    return None


def _speaks_of_us(path: Path) -> bool:
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # other tools complain of it
        return False
    tool = said.get("tool")
    return "fabric" in tool if isinstance(tool, dict) else tool is not None


def user_file(environment: Mapping[str, str]) -> Path | None:
    """Return where the user's own settings are looked for."""
    folder = environment.get("XDG_CONFIG_HOME") or (f"{home}/.config" if (home := environment.get("HOME")) else "")
    return Path(folder) / "fabric" / "config.toml" if folder.startswith("/") else None


def _lay_over(said: ProjectSettings, below: ProjectSettings) -> ProjectSettings:
    """Return what a project says, and the user where it says nothing."""
    provider, model = below.choose_model(said.provider, said.model)
    fields = _said(said) | {"prices": below.prices | said.prices, "provider": provider, "model": model}
    limits = msgspec.structs.replace(below.limits, **_said(said.limits))
    return msgspec.structs.replace(below, **fields | {"limits": limits})


def _said(struct: msgspec.Struct) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(struct).items() if value is not None}


def locate_keys(path: Path) -> dict[str, str]:
    """Return the keys that a file of settings has, dotted, each with file and line.

    Raises:
        ConfigError: it cannot be read.
    """
    file = _open(path)
    return {} if file is None else dict(file.places())


def _open(path: Path) -> _File | None:
    """Return a file; ``None`` if there is none.

    Raises:
        ConfigError: it cannot be read, or is no TOML, or our part of it is no table.
    """
    try:
        text = path.read_text(encoding="utf-8")
        said: Any = tomllib.loads(text)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # ValueError: it is no UTF-8, or no TOML
        raise ConfigError(_complaint(path, error)) from None
    prefix = ""
    if path.name == "pyproject.toml":
        prefix = "tool.fabric."
        for key in ("tool", "tool.fabric"):
            said = said[key.removeprefix("tool.")]
            if not isinstance(said, dict):
                raise ConfigError(f"{_place(path, text, key)}: {key}: expected object, got {type(said).__name__}")
    return _File(path, text, prefix, said)


class _File:
    """One file: its text, what our table in it says, and ``prefix``, where that stands."""

    def __init__(self, path: Path, text: str, prefix: str, said: dict[str, Any]) -> None:
        self._path = path
        self._text = text
        self._prefix = prefix
        self._said = said

    def places(self) -> Iterator[tuple[str, str]]:
        """Yield each key, dotted, and where it stands."""
        for key in _dotted(self._said):
            yield key, self._place(key)

    def settings_of_user(self) -> ProjectSettings:
        """Return what a file says that is no project's. Raises ConfigError."""
        for key in ("spec", "workers", "hosts"):
            if key in self._said:
                raise ConfigError(f"{self._place(key)}: {key}: it is a project's, and belongs into its fabric.toml")
        return self.settings()

    def settings(self) -> ProjectSettings:
        """Return what our table says. Raises ConfigError."""
        for key, message in _unknown(self._said):
            raise ConfigError(f"{self._place(key)}: {message}")
        file = self._convert(self._said, _Keys)
        if file.launch is not None and file.run.launch is not None:
            raise ConfigError(f"{self._place('run.launch')}: launch is given twice, here and at the top")
        return ProjectSettings(
            spec=self._path.parent / file.spec if file.spec is not None else None,
            launch=file.launch or file.run.launch,
            provider=file.defaults.provider,
            model=file.defaults.model,
            ready_timeout_s=_plain(file.run.ready_timeout),
            grace_s=_plain(file.run.grace),
            restarts_max=file.run.restarts,
            redeliveries_max=file.run.redeliveries,
            stall_s=_plain(file.run.stall),
            queue=file.edges.queue,
            policy=file.edges.policy,
            approval_timeout_s=_plain(file.run.approval_timeout),
            tool_timeout_s=_plain(file.run.tool_timeout),
            host=file.run.host,
            runner=_runner(file.run.runner),
            image=_text(file.run.image),
            http=file.run.http,
            workers={name: self._worker(name, worker) for name, worker in file.workers.items()},
            hosts={name: self._host(name, host) for name, host in file.hosts.items()},
            limits=ProjectLimits(
                _plain(file.limits.usd), file.limits.tokens, file.limits.calls, _plain(file.limits.wall)
            ),
            prices={model: self._price(model, price) for model, price in file.prices.items()},
            store=None if file.store.url is None else absolute_url(file.store.url, self._path.parent.absolute()),
        )

    def _worker(self, name: str, said: Any) -> ProjectWorker:
        table = f"workers.{name}"
        worker = self._convert(said, _Worker, f"{table}.")
        limits = worker.limits
        memory_bytes = None if limits.memory is None else int(limits.memory)
        return ProjectWorker(
            self._place(table),
            worker.retries,
            _plain(worker.idle_timeout),
            worker.on_crash,
            worker.host,
            _runner(worker.runner),
            _text(worker.image),
            worker.replicas,
            Resources(memory_bytes, limits.cpus, limits.pids),
            tuple(map(str, worker.env)),
        )

    def _host(self, name: str, said: Any) -> ProjectHost:
        table = f"hosts.{name}"
        host = self._convert(said, _Host, f"{table}.")
        ports = None if host.ports is None else PortRange(*map(int, host.ports.split("-")))
        return ProjectHost(self._place(table), str(host.address), _text(host.bind), ports, _text(host.engine))

    def _price(self, model: str, said: Any) -> ProjectPrice:
        table = f"prices.{model}"
        price = self._convert(said, _ModelPrice, f"{table}.")
        return ProjectPrice(self._place(table), price.input, price.output, price.cache_read, price.cache_write)

    def _convert(self, said: Any, struct: type[_Struct], table: str = "") -> _Struct:
        """Return the keys of a table, whose name ends with a dot if it has one. Raises ConfigError."""
        try:
            return msgspec.convert(said, struct, dec_hook=read_value)
        except msgspec.ValidationError as error:
            message, _, where = str(error).partition(" - at `$")
            key = (table + where.strip("`.")).rstrip(".")
            if message.startswith("Invalid enum value"):
                choices = " or ".join(f'"{choice}"' for choice in _CHOICES[key.rpartition(".")[2]])
                message = f"expected {choices}, got{message.removeprefix('Invalid enum value')}"
            message = message.replace("Expected", "expected").replace(" | null", "").replace("`", "")
            raise ConfigError(f"{self._place(key)}: {self._prefix}{key}: {message}") from None

    def _place(self, key: str) -> str:
        return _place(self._path, self._text, self._prefix + key)


def _runner(said: Runner | Literal["docker"] | None) -> Runner | None:
    """Return who starts a worker. "docker" is said by people who mean a container."""
    return "container" if said == "docker" else said


def _text(said: str | None) -> str | None:
    """Return a text of a kind of ours as any other."""
    return None if said is None else str(said)


def _plain(said: float | None) -> float | None:
    """Return a number of a kind of ours as any other."""
    return None if said is None else float(said)


def _complaint(path: Path, error: OSError | ValueError) -> str:
    match error:
        case OSError():
            return f"cannot read {path}: {error.strerror}"
        case UnicodeDecodeError():
            return f"cannot read {path}: it is not UTF-8 text (byte {error.start})"
    return f"{path}: {error}"


def _dotted(said: dict[str, Any], table: str = "") -> Iterator[str]:
    for key, value in said.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{table}{key}.")
        else:
            yield f"{table}{key}"


def _unknown(said: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each key that is none of ours, dotted, and what is to be said of it."""
    tables = [(table, said if table == "" else said.get(table), struct) for table, struct in _TABLES.items()]
    for table, struct in _NAMED.items():
        named = said.get(table)
        if isinstance(named, dict):
            tables += [(f"{table}.{name}", keys, struct) for name, keys in named.items()]
    for table, keys, struct in tables:
        known = struct.__struct_fields__
        for key, value in keys.items() if isinstance(keys, dict) else ():
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"expected {', '.join(known)}"
                kind, _, name = table.partition(".")
                if struct is _Worker and isinstance(value, dict):
                    hint = f'the name of a worker inside of another process wants quotes: [workers."{name}.{key}"]'
                elif struct is _ModelPrice and isinstance(value, dict):
                    hint = f'the name of a model with a dot wants quotes: [{kind}."{name}.{key}"]'
                yield f"{table}.{key}".removeprefix("."), f"unknown key {key!r}; {hint}"


def _place(path: Path, text: str, key: str) -> str:
    """Say where a key is: file and line; the file alone if it is not written plainly.

    The reader of TOML does not tell, so the lines are looked through for the table and then for the key. A table that
    has no line of its own is where its first key is.
    """
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line)
        if header:
            table = re.sub(r"\s*\.\s*", ".", re.sub(r"[\"']", "", header[1]))
            if table == key:
                return f"{path}:{number}"
            continue
        named = re.match(r"\s*([\w.\-\"']+)\s*=", line)
        whole = ".".join(filter(None, [table, named[1].strip("\"'")])) if named else ""
        if whole == key or whole.startswith(f"{key}."):
            return f"{path}:{number}"
    return str(path)
