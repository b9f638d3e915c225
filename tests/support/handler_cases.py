"""Cases of handlers: scripts of what is done with a session, and what has to come of it.

Lines of an ``NN_name.txt``, beside the handler ``NN_name.py``:

    # ...                 comment
    start {opts}          new session; opts: agent, metadata, id, memory (namespaces). The same id again: back to it
    push {spec}           body from json | text | hex | fill [s, n] | random [seed, n]; type, name, meta, schema,
                          encoding (gzip | zstd: as it is stored), key
    run {opts}            until quiet; opts: once, timeout, retries, lenient, control
    ran {fields}          of the last run: invocations, exit, committed, status, due_in, stderr, reason (substrings)
    tick n                the clock moves n seconds
    wake                  a client wakes the session
    fork                  a client forks the session at its end; the child becomes current
    children n            how many there are;  child i / parent: move
    log ... end           the session's own entries: event | name or - | content type or - | body | meta {subset}
                          "?" for a name or a type: any
                          body: json J, text "s", hex H, sha256 H, size N, any;  "skip N" passes over N of them

``$TMP`` is a directory of the case's own. A comment ``# only command`` or ``# only rpc`` is for cases of one mode.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import trio
import zstandard

from fabric.handlers.running import Options, Ran, run
from fabric.store.bucket import Bucket
from fabric.store.log import Log
from fabric.store.record import Entry

EPOCH = 1_800_000_000
"""When a case begins, in seconds since 1970."""

Mode = Literal["command", "rpc"]


class Expected(NamedTuple):
    """One line of a log. What is ``None`` does not matter."""

    event: str
    name: str | None = None
    content_type: str | None = None
    body: tuple[str, Any] | None = None
    metadata: Mapping[str, Any] | None = None


class Step(NamedTuple):
    line: int
    verb: str
    value: Any = None


class Case(NamedTuple):
    name: str
    handler: Path
    steps: Sequence[Step]
    modes: frozenset[str]


def collect(folder: Path) -> list[Case]:
    """Return the cases of a folder."""
    return [parse(file) for file in sorted(folder.glob("[0-9][0-9]_*.txt"))]


def parse(file: Path) -> Case:
    """Return a case; an error of its text is a ``ValueError`` with its line."""
    steps: list[Step] = []
    modes = frozenset({"command", "rpc"})
    lines = enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
    for number, text in lines:
        line = text.strip()
        if line.startswith("# only "):
            modes = frozenset({line.removeprefix("# only ").split()[0]})
        if not line or line.startswith("#"):
            continue
        verb, _, rest = line.partition(" ")
        try:
            if verb == "log":
                steps.append(Step(number, verb, _parse_log(lines)))
            elif verb in ("start", "push", "run", "ran"):
                steps.append(Step(number, verb, json.loads(rest) if rest.strip() else {}))
            elif verb == "tick":
                steps.append(Step(number, verb, Decimal(rest)))
            elif verb in ("children", "child"):
                steps.append(Step(number, verb, int(rest)))
            elif verb in ("fork", "parent", "wake") and not rest.strip():
                steps.append(Step(number, verb))
            else:
                raise ValueError(f"no such step: {line!r}")
        except (ValueError, ArithmeticError) as error:
            raise ValueError(f"{file}, line {number}: {error}") from None
    return Case(file.stem, file.with_suffix(".py"), steps, modes)


def _parse_log(lines: Any) -> list[Expected | int]:
    """Return what is expected; a number: so many entries are passed over."""
    expected: list[Expected | int] = []
    for _, text in lines:
        line = text.strip()
        if line == "end":
            return expected
        if not line or line.startswith("#"):
            continue
        if line.startswith("skip "):
            expected.append(int(line.removeprefix("skip ")))
            continue
        fields = [field.strip() for field in line.split("|", 3)]
        body, metadata = _parse_body(fields[3]) if len(fields) > 3 else (None, None)
        named = [{"-": "", "?": None}.get(field, field) for field in fields[1:3]]
        expected.append(Expected(fields[0], *named, *[None] * (2 - len(named)), body, metadata))
    raise ValueError("a log without an end")


def _parse_body(text: str) -> tuple[tuple[str, Any] | None, Any]:
    """Return what is said of a body, and of the metadata behind it."""
    kind, _, rest = text.partition(" ")
    rest = rest.lstrip()
    value: Any = None
    if kind in ("json", "text"):
        value, end = json.JSONDecoder().raw_decode(rest)
        rest = rest[end:]
    elif kind in ("hex", "sha256", "size"):
        value, _, rest = rest.partition("|")
        value, rest = value.strip(), f"|{rest}"
    elif kind == "meta":
        kind, rest = "any", f"| {text}"
    elif kind not in ("any", "-", ""):
        raise ValueError(f"no such body: {text!r}")
    rest = rest.strip().removeprefix("|").strip()
    if rest and not rest.startswith("meta"):
        raise ValueError(f"no such field: {rest!r}")
    return (kind, value), json.loads(rest.removeprefix("meta")) if rest else None


# --- playing them -------------------------------------------------------------------------------------------------


def play(case: Case, bucket: Callable[..., Bucket], options: Options, folder: Path) -> None:
    """Play a case; what is not as it should be is an ``AssertionError`` that names the line.

    Args:
        bucket: makes an empty one, with this clock.
        options: how handlers are run; each ``run`` says the rest.
        folder: the case's own.
    """
    player = _Player(case, bucket, options, folder)
    for step in case.steps:
        try:
            player.play(step)
        except AssertionError as error:
            raise AssertionError(f"{case.name}.txt, line {step.line}: {error}") from None


class _Player:
    def __init__(self, case: Case, bucket: Callable[..., Bucket], options: Options, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self._ticked = Decimal(0)
        self._bucket = bucket(now=self._now)
        self._log: Log | None = None
        self._ran: Ran | None = None
        self._said = ""

    def _now(self) -> float:
        return float(EPOCH + self._ticked)

    @property
    def _current(self) -> Log:
        assert self._log is not None, "there is no session yet"
        return self._log

    def play(self, step: Step) -> None:
        """Do a step."""
        value = step.value
        if isinstance(value, dict):
            value = json.loads(json.dumps(value).replace("$TMP", str(self._folder)))
        getattr(self, f"do_{step.verb}")(*([] if value is None else [value]))

    def do_start(self, opts: dict[str, Any]) -> None:
        memory = opts.pop("memory", ())
        metadata, agent, session = opts.pop("metadata", {}), opts.pop("agent", ""), opts.pop("id", "")
        assert not opts, f"start: unknown {opts}"
        self._log = self._bucket.start(session=session, agent=agent, metadata=metadata)
        for namespace in memory:
            self._log.share(namespace.rstrip("/"))

    def do_push(self, spec: dict[str, Any]) -> None:
        body, content_type = _body(spec)
        encoding = spec.pop("encoding", "")
        if encoding == "gzip":
            body = gzip.compress(body)
        elif encoding == "zstd":
            body = zstandard.ZstdCompressor().compress(body)
        key = spec.pop("key", "")
        entry = self._current.store_body(
            body,
            content_type=spec.pop("type", content_type),
            name=spec.pop("name", ""),
            metadata=spec.pop("meta", {}),
            schema_url=spec.pop("schema", ""),
            content_encoding=encoding,
        )
        assert not spec, f"push: unknown {spec}"
        self._current.push([entry], key=key)

    def do_run(self, opts: dict[str, Any]) -> None:
        options = msgspec.structs.replace(
            self._options,
            once=opts.pop("once", False),
            timeout_s=opts.pop("timeout", self._options.timeout_s),
            retries=opts.pop("retries", 0),
            lenient=opts.pop("lenient", False),
            control_records=opts.pop("control", "json"),
            allow=("https", "http", f"file:{self._folder}"),
        )
        assert not opts, f"run: unknown {opts}"
        log = self._current
        said: list[str] = []

        async def once() -> Ran:
            return await run(log, options, now=self._now, stderr=lambda _: None, tell=said.append)

        self._ran = trio.run(once)
        self._said = "\n".join([self._ran.stderr, *said])

    def do_ran(self, fields: dict[str, Any]) -> None:
        assert self._ran is not None, "nothing was run yet"
        for name, value in fields.items():
            found = self._said if name == "stderr" else getattr(self._ran, name)
            if name in ("stderr", "reason"):
                same = value in found
            elif name == "due_in":
                same = found is not None and abs(found - value) < 1e-3
            elif name == "exit" and value:
                same = _same_exit(found, value, self._options.mode)
            elif name == "exit":
                same = found == 0
            else:
                same = found == value
            assert same, f"{name}: expected {value!r}, got {found!r} of {self._ran}"

    def do_tick(self, seconds: Decimal) -> None:
        self._ticked += seconds

    def do_wake(self) -> None:
        self._current.wake()

    def do_fork(self) -> None:
        self._log = self._current.fork()

    def do_children(self, count: int) -> None:
        found = self._current.children()
        assert len(found) == count, f"expected {count} children, got {found}"

    def do_child(self, number: int) -> None:
        self._log = self._bucket.open(self._current.children()[number])

    def do_parent(self) -> None:
        parent = self._current.manifest.parent
        assert parent is not None, "it has no parent"
        self._log = self._bucket.open(parent.session)

    def do_log(self, expected: Sequence[Expected | int]) -> None:
        found = [each.entry for each in self._current.entries() if not each.inherited and each.entry.event != "memory"]
        shown = "\n".join(f"  {entry}" for entry in found)
        left = iter(found)
        for one in expected:
            for _ in range(one if isinstance(one, int) else 1):
                entry = next(left, None)
                assert entry is not None, f"the log ends before {one}; it is\n{shown}"
            if isinstance(one, Expected):
                assert entry is not None
                self._compare(entry, one)
        more = list(left)
        assert not more, f"the log has more: {more}"

    def _compare(self, entry: Entry, expected: Expected) -> None:
        assert entry.event == expected.event, f"expected {expected}, got {entry}"
        assert expected.name is None or entry.name == expected.name, f"expected {expected}, got {entry}"
        if expected.content_type is not None:
            assert entry.content_type == expected.content_type, f"expected {expected}, got {entry}"
        if expected.metadata is not None:
            told = {name: entry.metadata.get(name) for name in expected.metadata}
            assert told == expected.metadata, f"expected {expected}, got {entry}"
        if expected.body is not None:
            body = self._current.decoded(entry)
            assert _is_body(body, *expected.body), f"expected {expected}, got {body[:200]!r}"


def _body(spec: dict[str, Any]) -> tuple[bytes, str]:
    """Take the body out of a spec; return it with the type that it has if nothing else is said."""
    for kind, content_type in (
        ("json", "application/json"),
        ("text", "text/plain"),
        ("hex", "application/octet-stream"),
        ("fill", "application/octet-stream"),
        ("random", "application/octet-stream"),
    ):
        if kind in spec:
            return _made(kind, spec.pop(kind)), content_type
    raise AssertionError(f"push: no body in {spec}")


def _made(kind: str, value: Any) -> bytes:
    match kind:
        case "json":
            return json.dumps(value).encode()
        case "text":
            return value.encode()
        case "hex":
            return bytes.fromhex(value)
        case "fill":
            return (value[0].encode() if isinstance(value[0], str) else bytes([value[0]])) * value[1]
    return random.Random(value[0]).randbytes(value[1])


def _is_body(body: bytes, kind: str, value: Any) -> bool:
    match kind:
        case "json":
            return bool(json.loads(body) == value)
        case "text":
            return body == value.encode()
        case "hex":
            return body == bytes.fromhex(value)
        case "sha256":
            return hashlib.sha256(body).hexdigest() == value
        case "size":
            return len(body) == int(value)
        case "-":
            return body == b""
    return True


def _same_exit(found: int | None, expected: int, mode: Mode) -> bool:
    """Whether a status is the same: a server that raises goes on, and a signal is said in two ways."""
    return bool(found) and (mode == "rpc" or found == expected or found == 128 - expected)
