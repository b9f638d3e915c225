"""A handler that stays: the same answers to the same requests, and the socket that the runtime passes."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import pytest
from sdks import HANG_S, OURS, SDKS, sdk_environment, spoken

pytestmark = pytest.mark.processes

SERVED = """
import pugmark
from pugmark.http import WSGIPugmark, serve

def handler(session):
    kinds = [str(event) for event in session.events()]
    if "later" in [obj.event() for obj in session.state()]:
        session.write("lost")
        raise KeyError("later")
    session.write([kinds, session.session_id(), session.agent(), session.snapshot(), session.metadata()], name="told")
    if kinds and kinds[-1] == "push":
        session.pause("enough")

serve(WSGIPugmark(handler))
"""


@contextmanager
def serving(sdk: str, script: str = SERVED) -> Iterator[int]:
    """Run a handler on a socket that it inherits; give its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        descriptor = listening.fileno()
        process = subprocess.Popen(
            [sys.executable, "-c", spoken(script, sdk)],
            pass_fds=[descriptor],
            stderr=subprocess.DEVNULL,
            env={**sdk_environment(sdk), "PUGMARK_RPC_URL": f"fd://{descriptor}"},
        )
        port = listening.getsockname()[1]
    with process:
        try:
            yield port
        finally:
            process.kill()


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    """The port of a handler for each SDK."""
    with ExitStack() as opened:
        yield {sdk: opened.enter_context(serving(sdk)) for sdk in SDKS}


def ask(
    port: int, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, str | None, bytes]:
    """Return the status, the type and the body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HANG_S)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type"), answer.read()
    finally:
        connection.close()


LOG = b'{"event":"start"}\n\n{"event":"push","name":"a"}'
QUERY = "/?agent=A&session=s%2F1&snapshot=3"
META = "X-Pugmark-Session-Metadata"


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("GET", "/", None, {}, 200),
        ("POST", QUERY, LOG, {META: '{"k": "v"}'}, 200),
        ("POST", "/", b"", {}, 200),
        ("POST", "/?agent=&session=&snapshot=", LOG, {META: "[1]"}, 200),
        ("POST", "/?agent=a&agent=b", LOG, {META: ""}, 200),
        ("POST", QUERY, LOG, {META: "{"}, 400),
        ("POST", "/?snapshot=three", LOG, {}, 500),
        ("POST", "/", b'{"event":"start\xff"}', {}, 500),
        ("POST", "/", b"no json", {}, 500),
        ("POST", "/", b'{"event":"later"}', {}, 500),
        ("PUT", "/", b"", {}, 405),
        ("DELETE", "/", None, {}, 405),
        ("POST", "/elsewhere", LOG, {}, 404),
        ("GET", "/elsewhere", None, {}, 404),
    ],
)
def test_same_answers(
    ports: dict[str, int], method: str, path: str, body: bytes | None, headers: dict[str, str], status: int
) -> None:
    """Status, type and body are those of the public SDK; an error loses all that was written."""
    answers = [ask(port, method, path, body, headers) for port in ports.values()]
    assert answers == [answers[0]] * len(SDKS)
    assert answers[0][0] == status
    assert b"lost" not in answers[0][2]


def test_request_without_an_end(ports: dict[str, int]) -> None:
    """A log in chunks is refused at once: the server of the standard library would wait until the client closes."""
    connection = http.client.HTTPConnection("127.0.0.1", ports[OURS], timeout=HANG_S)
    connection.putrequest("POST", "/")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()  # what follows it would not read
    assert connection.getresponse().status == 411
    connection.close()


def test_invocation_id_of_a_request() -> None:
    """It comes with a header."""
    script = SERVED.replace("session.session_id()", "session.invocation_id()")
    with serving(OURS, script) as port:
        _, _, answer = ask(port, "POST", "/", LOG, {"X-Fabric-Invocation-Id": "s:3"})
    assert json.loads(answer.splitlines()[0])["data"].startswith("W1sic3RhcnQiLCAicHVzaCJdLCAiczoz")


def test_address_of_ones_own() -> None:
    """Without a socket it takes an address, and says which."""
    process = subprocess.Popen(
        [sys.executable, "-c", spoken(SERVED, OURS)],
        stderr=subprocess.PIPE,
        env={"PATH": os.environ["PATH"]},
        text=True,
    )
    with process:
        assert process.stderr is not None
        port = int(process.stderr.readline().rstrip("/\n").rpartition(":")[2])
        assert ask(port, "GET", "/")[0] == 200
        process.kill()
