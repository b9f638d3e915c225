"""Scripts under one SDK or another: two versions of the public one, from PyPI, and ours."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from peers import python_peer

OURS = "fabric.handler"
PUBLIC = ("0.1.0", "0.16.7")
SDKS = (*PUBLIC, OURS)

HANG_S = 60


def sdk_environment(sdk: str) -> dict[str, str]:
    """Return the environment in which ``import pugmark`` finds that version; for ours, nothing of it."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    if sdk == OURS:
        return inherited
    folder = python_peer(f"pugmark=={sdk}").parent
    packages = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    return {**inherited, "PYTHONPATH": str(packages)}


def spoken(script: str, sdk: str) -> str:
    """Return a script as it is written with that SDK."""
    if sdk != OURS:
        return script
    ours = script.replace("import pugmark\n", "import fabric.handler as pugmark\n")
    return ours.replace("from pugmark", "from fabric.handler")


@dataclass(frozen=True)
class Ran:
    """How a process ended."""

    exit: int
    stdout: bytes
    stderr: str = field(compare=False)

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.splitlines()]


def run_script(sdk: str, script: str, log: bytes = b"", *, argument: str = "", **environment: str) -> Ran:
    """Run a script with a log on stdin."""
    done = subprocess.run(
        [sys.executable, "-c", spoken(script, sdk), argument],
        input=log,
        capture_output=True,
        env={**sdk_environment(sdk), **environment},
        timeout=HANG_S,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr.decode())


@dataclass
class Bodies:
    """A server of bodies on loopback. Its paths are those that were put, and what was asked for is kept."""

    url: str
    bodies: dict[str, bytes]
    asked: list[str]

    def put(self, path: str, body: bytes) -> str:
        self.bodies[path] = body
        return self.url + path

    def log(self, *entries: Mapping[str, Any]) -> bytes:
        """Return a log as stdin tells it. ``body`` of an entry is put, as it is; all else is told."""
        lines = []
        for number, entry in enumerate(entries):
            told = dict(entry)
            if "body" in told:
                body = told.pop("body")
                told["url"] = self.put(f"/o/{len(self.bodies)}-{number}", body)
                told["size"] = len(body)
            lines.append(json.dumps(told) + "\n")
        return "".join(lines).encode()


@contextmanager
def open_bodies() -> Iterator[Bodies]:
    """Serve bodies until the block ends."""
    bodies: dict[str, bytes] = {}
    asked: list[str] = []

    class Answering(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = bodies.get(self.path)
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield Bodies(f"http://127.0.0.1:{server.server_address[1]}", bodies, asked)
        finally:
            server.shutdown()
            thread.join()


CALLER = """
import base64, io, itertools, json, sys
import pugmark

def arguments(told):
    return {key: bytes.fromhex(value["hex"]) if isinstance(value, dict) and "hex" in value else value
            for key, value in told.items()}

def shown(obj):
    return None if obj is None else [
        obj.name(), obj.event(), obj.content_type(), obj.schema_url(), obj.metadata(), obj.body().hex(), obj.fork(),
        str(obj)]

def read(session, n): return [shown(obj) for obj in itertools.islice(session.read(), n)]
def events(session, n): return [
    [str(event), shown(event.object) if isinstance(event, pugmark.PushEvent) else None]
    for event in itertools.islice(session.events(), n)]
def state(session):
    state = session.state()
    return [len(state), bool(state), [shown(obj) for obj in state]]
def named(session, name):
    state = session.state()
    return [name in state, shown(state[name]) if name in state else None, state.get_memory_url(name)]
def load(session, name): return shown(session.load(name))
def load_text(session, name): return session.load_text(name)
def load_json(session, name): return session.load_json(name)
def load_bytes(session, name): return (session.load_bytes(name) or b"").hex()
def write(session, **told): return session.write(**arguments(told))
def write_text(session, **told): return session.write_text(**arguments(told))
def write_json(session, **told): return session.write_json(**told)
def write_bytes(session, **told): return session.write_bytes(**arguments(told))
def write_remote(session, **told): return session.write_remote(**told)
def store(session, **told): return session.store(pugmark.LocalObject(pugmark.Output(**arguments(told))))
def pause(session, reason): return session.pause(reason)
def sleep(session, seconds, reason): return session.sleep(seconds, reason)
def edit(session, name, hex, fields):
    with session.open(name, **fields) as file:
        file.seek(0, 2)
        file.write(bytes.fromhex(hex))

out = sys.stdout
for line in sys.stdin:
    log, calls = json.loads(line)
    stream = io.StringIO()
    session = pugmark.Session(io.StringIO(log), stream)
    answers = []
    for name, told in calls:
        try:
            answer = globals()[name](session, **told)
        except Exception as error:
            answer = {"raised": type(error).__name__}
        answers.append(answer)
    out.write(json.dumps([answers, stream.getvalue()]) + "\\n")
    out.flush()
"""


@dataclass
class Caller:
    """A process that makes calls of an SDK as it is told."""

    process: subprocess.Popen[str]

    def call(self, log: str, calls: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[list[Any], str]:
        """Return the answer of each call on a new session, and what the session wrote."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([log, calls]) + "\n")
        self.process.stdin.flush()
        answers, written = json.loads(self.process.stdout.readline())
        return answers, written


@contextmanager
def open_caller(sdk: str) -> Iterator[Caller]:
    """Start such a process."""
    process = subprocess.Popen(
        [sys.executable, "-c", spoken(CALLER, sdk)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=sdk_environment(sdk),
        text=True,
    )
    with process:
        yield Caller(process)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(HANG_S)
