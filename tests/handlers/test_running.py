"""Runs of handlers on a log, with real processes; the bucket is in memory."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trio
from handler_scripts import python, serving

from fabric.errors import ConfigError, StoreFailed
from fabric.handlers.running import Options, Ran, run
from fabric.store.bucket import Bucket
from fabric.store.log import Log
from fabric.store.memory import MemoryStore
from fabric.store.record import PAUSE_TYPE, Entry, entry_of
from fabric.testing.stores import FaultyStore, StoreOperation

pytestmark = pytest.mark.processes

LINES = "import sys, json, base64\nlines = [json.loads(line) for line in sys.stdin]\n"
"""What a handler without an SDK begins with."""

WRITE = """
def write(body, **fields):
    print(json.dumps({"data": base64.b64encode(body.encode()).decode(), **fields}))
def pause(**fields):
    write("", **{"content-type": "application/vnd.pugmark.pause+text"}, **fields)
"""


def script(text: str) -> list[str]:
    return python(f"{LINES}{WRITE}{text}")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bucket(clock: Clock) -> Bucket:
    return Bucket(MemoryStore(), now=clock, tell=lambda _: None)


@pytest.fixture
def log(bucket: Bucket) -> Log:
    return bucket.start(session="s", metadata={"k": "v"}, agent="a")


async def quietly(
    log: Log, command: Sequence[str], now: Callable[[], float], said: list[str] | None = None, **options: Any
) -> Ran:
    tell = (lambda _: None) if said is None else said.append
    return await run(log, Options(command=command, **options), now=now, stderr=lambda _: None, tell=tell)


def text(body: str, **fields: str) -> Entry:
    return entry_of("push", body.encode(), content_type="text/plain", **fields)


def own(log: Log) -> list[tuple[str, str]]:
    return [(each.entry.event, log.body(each.entry).decode()) for each in log.entries()]


async def test_a_push_that_slips_in_is_seen_next(log: Log, bucket: Bucket, clock: Clock):
    """A pause that did not see it is void; the decision that was made stays."""
    log.push([text("first")])
    pushed = trio.Event()

    def show(data: bytes) -> None:
        if not pushed.is_set():
            bucket.open("s").push([text("second")])
            pushed.set()

    # It says more than a pipe holds, so it goes on when some of that was taken.
    command = script(
        "seen = sum(line['event'] == 'push' for line in lines)\n"
        "sys.stderr.write('.' * 300_000); sys.stderr.flush()\n"
        "write(f'seen {seen}'); pause()"
    )
    ran = await run(log, Options(command=command), now=clock, stderr=show, tell=lambda _: None)
    assert (ran.invocations, ran.committed, ran.status) == (2, 4, "paused")
    assert own(log) == [
        ("start", '{"event":"start"}'),
        ("push", "first"),
        ("push", "second"),
        ("push", "seen 1"),
        ("pause", ""),
        ("push", "seen 3"),
        ("pause", ""),
    ]


async def test_whoever_decides_second_starts_over(log: Log, bucket: Bucket, clock: Clock):
    """The other one's decision is in the log by then; what was decided here is void, and told."""
    log.push([text("go")])
    raced = False
    said: list[str] = []

    def show(data: bytes) -> None:
        nonlocal raced
        if not raced:
            raced = True
            other = bucket.open("s")
            other.decide(len(other.read()), [text("the other was first")])

    command = script("sys.stderr.write('.' * 300_000); sys.stderr.flush(); write(f'from {len(lines)}'); pause()")
    ran = await run(log, Options(command=command), now=clock, stderr=show, tell=said.append)
    assert (ran.invocations, ran.committed, ran.exit) == (2, 2, 0)
    assert [body for _, body in own(log)][2:] == ["the other was first", "from 3", ""]
    assert any("somebody else has decided" in line for line in said)


async def test_an_attempt_that_fails_leaves_an_error_and_nothing_else(log: Log, clock: Clock):
    """With its status and what it said."""
    log.push([text("go")])
    said: list[str] = []
    ran = await quietly(log, script("write('lost'); sys.stderr.write('why'); sys.exit(3)"), clock, said)
    assert (ran.status, ran.exit, ran.reason, ran.stderr, ran.committed) == (
        "failed",
        3,
        "it ended with status 3",
        "why",
        0,
    )
    assert said == ["the handler failed: it ended with status 3"]
    assert len(log.read()) == 1
    (attempt,) = log.attempts(1)
    assert (attempt.base, attempt.at, attempt.status, attempt.reason, attempt.stderr) == (
        1, 1000.0, "exit 3", "it ended with status 3", "why",
    )  # fmt: skip


async def test_retries_wait_for_their_time(log: Log, clock: Clock, tmp_path: Path):
    """The clock is moved when somebody waits; the third attempt is good."""
    log.push([text("go")])
    counter = tmp_path / "counter"
    told: list[float] = []

    def tell(line: str) -> None:
        told.append(clock.now)
        clock.now += 1000

    command = script(
        f"with open({str(counter)!r}, 'a+') as f: f.write('.'); f.seek(0); n = len(f.read())\n"
        "sys.exit(1) if n < 3 else pause()"
    )
    ran = await run(log, Options(command=command, retries=2), now=clock, stderr=lambda _: None, tell=tell)
    assert (ran.invocations, ran.status, ran.reason) == (3, "paused", "")
    assert told == [1000.0, 2000.0]
    ran = await quietly(log, command, clock)
    assert ran.invocations == 0


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        ("print('noise')", "'noise'"),
        ('sys.stdout.write(\'{"data":""}\')', "torn"),
        (
            "write('', **{'content-type': 'application/vnd.pugmark.pause+text', 'metadata': {'duration': 'nans'}})",
            "'nans'",
        ),
        ("print(json.dumps({'uri': 'http://127.0.0.1:1/x'}))", "scheme 'http' is not allowed"),
    ],
)
async def test_output_that_cannot_be_meant_is_a_failure(log: Log, clock: Clock, write: str, reason: str):
    """Whatever else was written with it; the status of the process says otherwise."""
    ran = await quietly(log, script(f"write('lost')\n{write}"), clock)
    assert (ran.exit, ran.status, ran.committed) == (0, "failed", 0)
    assert reason in ran.reason
    assert log.read() == []
    assert log.attempts(0)[0].status == "output"


@pytest.mark.parametrize(
    "uri", ["http://[::1", "http://h:x/", "file:///\0", "no uri", "//", "http://\u00e9\ud7ff:1/", ""]
)
async def test_what_is_no_uri_is_a_failure(log: Log, clock: Clock, uri: str):
    """Of the handler, not of ours."""
    record = json.dumps({"uri": uri})
    ran = await quietly(log, script(f"print({record!r})"), clock, allow=("http", "file:/srv"))
    assert (ran.exit, ran.status, ran.committed) == (0, "failed", 0)


async def test_noise_may_pass(log: Log, clock: Clock):
    """It is told, and nothing of what counts is lost."""
    said: list[str] = []
    ran = await quietly(log, script("print('noise'); write('kept'); pause()"), clock, said, lenient=True)
    assert (ran.status, ran.committed, said) == ("paused", 2, ["noise"])


async def test_whoever_watches_is_woken_by_a_push_and_by_time(log: Log, bucket: Bucket, clock: Clock):
    """Until it is cancelled. Pushes and the clock are moved by what the handler says, not by time."""
    log.push([text("one")])
    seen: list[str] = []

    def show(data: bytes) -> None:
        for line in data.decode().split():
            seen.append(line)
            if line == "push1":
                clock.now += 1  # its sleep begins now
                nursery.start_soon(late)
            elif line == "wake1":
                bucket.open("s").push([text("two")])
            elif line == "push2":
                nursery.cancel_scope.cancel()

    async def late() -> None:
        while bucket.open("s").readiness(clock.now).__class__.__name__ != "Sleeping":
            await trio.lowlevel.checkpoint()
        clock.now += 60

    command = script(
        "last = lines[-1]['event']; n = sum(line['event'] == 'push' for line in lines)\n"
        "sys.stderr.write(f'{last}{n} '); sys.stderr.flush()\n"
        "pause(metadata={'duration': '60.00s'})"
    )
    async with trio.open_nursery() as nursery:
        await run(log, Options(command=command, watch=True), now=clock, stderr=show, tell=lambda _: None)
    assert seen == ["push1", "wake1", "push2"]


async def test_whoever_watches_sends_what_a_bucket_did_not_take_at_first(clock: Clock):
    """Without another decision: it waits for a push that nobody makes."""
    failures = iter(["fail"] * 3)

    def faults(at: StoreOperation) -> Any:
        return next(failures, None) if at.method == "create" and at.key.startswith("sessions/t/log/") else None

    inner = MemoryStore()
    bucket = Bucket(FaultyStore(inner, faults), now=clock, tell=lambda _: None)
    bucket.start(session="t")
    log = bucket.start(session="s")
    async with trio.open_nursery() as nursery:
        options = Options(command=script("write('hello', session='t'); pause()"), watch=True)
        nursery.start_soon(partial(run, log, options, now=clock, tell=lambda _: None))
        while not inner.list("sessions/t/log/"):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert [len(bucket.open(session).read()) for session in ("s", "t")] == [1, 1]


async def test_what_a_handler_keeps_in_files_is_fetched_if_it_may_be(log: Log, clock: Clock, tmp_path: Path):
    """By a link, too, if it does not lead out."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a b").write_bytes(b"x" * 100_000)
    (tmp_path / "out").write_bytes(b"secret")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "out")
    allow = (f"file:{tmp_path}/in",)
    good, bad = (json.dumps({"uri": f"file://{tmp_path}/in/{name}", "name": "n"}) for name in ("a%20b", "link"))
    ran = await quietly(log, script(f"print({good!r}); pause()"), clock, allow=allow)
    assert (ran.status, ran.reason) == ("paused", "")
    entry = log.entries()[1].entry
    assert (entry.name, entry.size, log.body(entry)) == ("n", 100_000, b"x" * 100_000)
    log.wake()
    ran = await quietly(log, script(f"print({bad!r}); pause()"), clock, allow=allow)
    assert "not in an allowed directory" in ran.reason


class Redirects(BaseHTTPRequestHandler):
    """A site with ways out of it."""

    def do_GET(self) -> None:
        leads = {"/to-x": "/x", "/to-file": "file:///etc/passwd", "/loop": "/loop"}.get(self.path)
        self.send_response(302 if leads else 200 if self.path == "/x" else 404)
        if leads:
            self.send_header("Location", leads)
        self.send_header("Content-Type", "text/x-it")
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"there")

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Redirects) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["/x", "/to-x"])
async def test_what_is_fetched_by_http_is_kept_as_it_comes(log: Log, clock: Clock, site: str, path: str):
    """With the type and the encoding that its server says; it is not unpacked."""
    record = json.dumps({"uri": f"{site}{path}"})
    assert (await quietly(log, script(f"print({record!r}); pause()"), clock, allow=("http",))).reason == ""
    entry = log.entries()[1].entry
    assert (entry.content_type, entry.content_encoding, log.body(entry)) == ("text/x-it", "gzip", b"there")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/to-file", "scheme 'file' is not allowed"),
        ("/loop", "redirects more than 5 times"),
        ("/missing", "status 404"),
    ],
)
async def test_what_is_fetched_by_http_stays_where_it_is_allowed(
    log: Log, clock: Clock, site: str, path: str, reason: str
):
    """Redirects included."""
    record = json.dumps({"uri": f"{site}{path}"})
    ran = await quietly(log, script(f"print({record!r}); pause()"), clock, allow=("http", "file:/nowhere"))
    assert reason in ran.reason
    assert log.read() == []


async def test_a_secret_in_an_address_is_not_told(log: Log, clock: Clock, site: str):
    """The reason is kept in the bucket, and shown."""
    address = site.replace("http://", "http://user:hunter2@")
    record = json.dumps({"uri": f"{address}/missing?signature=hunter2"})
    ran = await quietly(log, script(f"print({record!r}); pause()"), clock, allow=("http",))
    assert f"cannot fetch {site}/missing?...: it answered with status 404" in ran.reason
    assert "hunter2" not in repr(log.attempts(0))


async def test_bodies_are_fetched_from_the_run(log: Log, clock: Clock):
    """Also large ones, which the log keeps elsewhere; nothing is unpacked on the way."""
    big = bytes(range(256)) * 1000
    log.push([log.store_body(big, name="big"), entry_of("push", b"\x1f\x8b", content_encoding="gzip")])
    command = script(
        "import urllib.request\n"
        "bodies = [urllib.request.urlopen(line['url']).read() for line in lines]\n"
        "write(json.dumps([bodies[1] == bytes(range(256)) * 1000, bodies[2].hex(), lines[2]['content-encoding']]))\n"
        "pause()"
    )
    assert (await quietly(log, command, clock)).status == "paused"
    assert json.loads(log.body(log.entries()[3].entry)) == [True, "1f8b", "gzip"]


async def test_a_handler_that_serves_decides_the_same(log: Log, clock: Clock):
    """In RPC mode, over two decisions of one process."""
    act = (
        "import json, base64\n"
        "def act(server, body):\n"
        "    n = len(body.splitlines())\n"
        "    pause = {'data': '', 'content-type': 'application/vnd.pugmark.pause+text'}\n"
        "    said = {'data': base64.b64encode(f'{n} {os.getpid()}'.encode()).decode()} if n < 2 else pause\n"
        "    server.say(200, json.dumps(said).encode() + b'\\n')"
    )
    ran = await quietly(log, serving(act), clock, mode="rpc")
    assert (ran.invocations, ran.committed, ran.status, ran.exit) == (2, 2, "paused", 0)
    assert log.entries()[1].entry.inline is not None


async def test_a_bucket_that_fails_ends_the_run(clock: Clock):
    """With its own error, not with a group of them; nothing of the handler is left."""

    class Broken(MemoryStore):
        def create(self, key: str, body: bytes) -> bool:
            if "/log/" in key:
                raise StoreFailed("disk full")
            return super().create(key, body)

    log = Bucket(Broken(), now=clock).start(session="s")
    with pytest.raises(StoreFailed, match="disk full"):
        await quietly(log, script("pause()"), clock)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"command": []}, "no handler"),
        ({"timeout_s": 0.0}, "expected more than 0"),
        ({"allow": ("ftp",)}, "expected https, http, or file:"),
        ({"allow": ("file:relative",)}, "expected https, http, or file:"),
        ({"command": ["a\0b"]}, "a NUL in it"),
    ],
)
async def test_options_that_cannot_be_meant_are_refused(log: Log, clock: Clock, options: dict[str, Any], why: str):
    """Before anything is started."""
    given = {"command": script(""), **options}
    with pytest.raises(ConfigError, match=why):
        await run(log, Options(**given), now=clock)


async def test_a_failure_is_over_when_another_one_has_decided(log: Log, bucket: Bucket, clock: Clock):
    """This run has nothing left to do, and the session is as it is."""

    def decide(line: str) -> None:
        other = bucket.open("s")
        if not other.read():
            other.decide(0, [])

    command = script("sys.exit(3)")
    ran = await run(log, Options(command=command, retries=1), now=clock, stderr=lambda _: None, tell=decide)
    assert (ran.invocations, ran.exit, ran.status, ran.reason) == (1, 3, "idle", "")


@pytest.mark.parametrize("mode", ["command", "rpc"])
async def test_an_agent_that_no_variable_can_hold_is_refused(bucket: Bucket, clock: Clock, mode: Any):
    """A NUL would end it."""
    log = bucket.start(session="nul", agent="x\0y")
    with pytest.raises(ConfigError, match=r"'x\\x00y'.*a NUL in it"):
        await quietly(log, script("pause()"), clock, mode=mode)


async def test_a_variable_that_cannot_be_told_is_a_failure(log: Log, clock: Clock):
    """As a command that cannot be started is."""
    ran = await quietly(log, script("pause()"), clock, environment={"X": "a\0b"})
    assert (ran.exit, ran.status) == (127, "failed")
    assert "cannot be told: embedded null byte" in ran.reason


async def test_the_run_of_a_program_has_no_handler(bucket: Bucket, clock: Clock):
    """It is told how it goes on."""
    with pytest.raises(ConfigError, match="fabric run --session p"):
        await quietly(bucket.start(session="p", program="digest"), script(""), clock)


def test_the_pause_type_is_that_of_the_scripts_here():
    """They spell it out, for they import nothing."""
    assert PAUSE_TYPE in WRITE
