"""Requests of http steps, to a real server."""

import gzip
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from web_server import Said, WebServer, web_server

from fabric.pipelines.errors import StepExecutionError
from fabric.pipelines.expressions.expression import bind
from fabric.pipelines.runner import PipelineRunner
from fabric.pipelines.runs.http import HttpPerformer, pause_after
from fabric.pipelines.spec import HttpStep, Mark
from fabric.pipelines.work import Done, HttpWork

STEP = HttpStep(name="h", mark=Mark("f"), request=bind({}), backoff_s=0.0)


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


@pytest.fixture
async def web() -> AsyncIterator[HttpPerformer]:
    web = HttpPerformer()
    yield web
    await web.aclose()


async def ask(web: HttpPerformer, request: dict[str, Any], **step: Any) -> Done:
    return await web.perform(HttpWork(msgspec.structs.replace(STEP, **step), request))


async def failure(web: HttpPerformer, request: dict[str, Any], **step: Any) -> str:
    done = await ask(web, request, **step)
    assert type(done.error) is StepExecutionError
    assert isinstance(done.error, RuntimeError)
    assert done.value is None
    return str(done.error)


async def test_json_is_the_default(server: WebServer, web: HttpPerformer) -> None:
    """Headers, parameters and the query of the address arrive; what is None does not."""
    server.script.append(Said(body=b'{"ok": [1]}'))
    request = {
        "url": f"{server.url}/a?x=1",
        "headers": {"X-One": 1, "X-Not": None},
        "params": {"q": "a b", "many": [1, "z"], "no": None, "yes": True},
    }
    assert (await ask(web, request)).value == {"ok": [1]}
    (asked,) = server.asked
    assert asked.method == "GET"
    assert asked.path == "/a?x=1&q=a+b&many=1&many=z&yes=true" or asked.path == "/a?q=a+b&many=1&many=z&yes=true"
    assert asked.headers["X-One"] == "1"
    assert "X-Not" not in asked.headers
    assert asked.body == b""


async def test_the_query_of_the_address_stays_without_parameters(server: WebServer, web: HttpPerformer) -> None:
    """An empty map of parameters takes nothing away."""
    server.script.append(Said(body=b"1"))
    await ask(web, {"url": f"{server.url}/a?x=1", "params": {}})
    assert server.asked[0].path == "/a?x=1"


async def test_a_body_is_json(server: WebServer, web: HttpPerformer) -> None:
    """With its type, unless a header says another one."""
    server.script.append(Said(201, b"{}"))
    await ask(web, {"url": server.url, "body": {"a": ["é", 3, None]}}, method="POST")
    await ask(web, {"url": server.url, "body": 0, "headers": {"Content-Type": "text/x"}}, method="put")
    assert [asked.method for asked in server.asked] == ["POST", "PUT"]
    assert json.loads(server.asked[0].body) == {"a": ["é", 3, None]}
    assert [asked.headers["content-type"] for asked in server.asked[:1]] == ["application/json"]
    assert (server.asked[1].body, server.asked[1].headers["Content-Type"]) == (b"0", "text/x")


async def test_a_body_that_is_no_json_is_not_sent(server: WebServer, web: HttpPerformer) -> None:
    """The error names the step and the key."""
    assert "http step 'h': its 'body' cannot be sent" in await failure(web, {"url": server.url, "body": object()})
    assert server.asked == []


async def test_formats(server: WebServer, web: HttpPerformer) -> None:
    """raw is text, full has all, and text where there is no JSON; json has to be JSON."""
    server.script.append(Said(body="h\xe9".encode("latin-1"), headers={"content-type": "text/plain; charset=latin-1"}))
    assert (await ask(web, {"url": server.url}, response_format="raw")).value == "hé"
    full = (await ask(web, {"url": server.url}, response_format="full")).value
    assert (full["status"], full["body"], full["headers"]["content-length"]) == (200, "hé", "2")
    assert "the answer is not JSON" in await failure(web, {"url": server.url})
    assert len(server.asked) == 3  # what is no JSON is not asked for again
    server.script[:] = [Said(body=b'{"a":1}')]
    assert (await ask(web, {"url": server.url}, response_format="full")).value["body"] == {"a": 1}


async def test_5xx_is_tried_again_and_4xx_is_not(server: WebServer, web: HttpPerformer) -> None:
    """As often as the step says."""
    server.script += [Said(503, b"x"), Said(500, b"x"), Said(200, b"7")]
    assert (await ask(web, {"url": server.url}, retries=2)).value == 7
    server.script[:] = [Said(502, b"gone")]
    assert "status 502, expected 200 to 299" in await failure(web, {"url": server.url}, retries=1)
    assert len(server.asked) == 5
    server.script[:] = [Said(429, b"gone")]
    assert "status 429" in await failure(web, {"url": server.url}, retries=2)
    assert len(server.asked) == 6


def test_pauses_double() -> None:
    """0.5 s, 1 s, 2 s, ... but never longer than a minute."""
    step = msgspec.structs.replace(STEP, backoff_s=0.5)
    assert [pause_after(step, tried) for tried in (0, 1, 2, 3, 4, 5, 6, 7, 8, 10_000)] == [
        *(0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0)
    ]


async def test_expected_status_replaces_2xx(server: WebServer, web: HttpPerformer) -> None:
    """Also one that would be tried again; and 200 is no longer one if it is not in the list."""
    server.script += [Said(503, b'"busy"'), Said(200, b"{}")]
    assert (await ask(web, {"url": server.url}, expected_status=(409, 503))).value == "busy"
    assert "status 200, expected 409 or 503" in await failure(web, {"url": server.url}, expected_status=(409, 503))


async def test_redirects_are_said_and_not_followed(server: WebServer, web: HttpPerformer) -> None:
    """Where one leads is in the message, without its secrets."""
    server.script.append(Said(302, headers={"location": "https://u:pw@x.test/a?token=abc&b=1"}))
    text = await failure(web, {"url": server.url})
    assert "this one leads to https://[REDACTED]@x.test/a?token=[REDACTED]&b=1" in text


async def test_secrets_are_not_shown(server: WebServer, web: HttpPerformer) -> None:
    """Of headers, of parameters, of the address, and where the server repeats them."""
    server.script.append(Said(404, b"no hunter2-a for hunter2-b or hunter2-c, hunter2-d" + b"!" * 600))
    request = {
        "url": f"{server.url}/x?api_key=hunter2-c&q=1",
        "headers": {"X-API-Key": "hunter2-a", "Authorization": "Bearer hunter2-b", "Accept": "text/x"},
        "params": {"access_token": "hunter2-d", "page": 2, "api_key": "hunter2-c"},
    }
    text = await failure(web, request)
    assert "hunter2" not in text
    for shown in ("http step 'h' failed", "status 404", "method=GET", f"{server.url}/x", "'Accept': 'text/x'", "q=1"):
        assert shown in text
    assert text.count("!") < 500


async def test_network_failures_are_tried_again(web: HttpPerformer) -> None:
    """Nobody listens, then somebody does."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    seen = 0

    async def serve(stream: trio.SocketStream) -> None:
        nonlocal seen
        seen += 1
        async with stream:
            await stream.receive_some()
            if seen == 3:
                await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n5")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        done = await ask(web, {"url": f"http://127.0.0.1:{port}"}, retries=2)
        nursery.cancel_scope.cancel()
    assert (done.value, seen) == (5, 3)
    for listener in listeners:
        await listener.aclose()
    text = await failure(web, {"url": f"http://127.0.0.1:{port}"}, retries=1)
    assert "http step 'h' failed: ConnectError" in text


async def test_a_server_that_drips_is_too_slow(web: HttpPerformer) -> None:
    """The time is that of the whole request, not of each byte of it."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
            with pytest.raises(trio.BrokenResourceError):  # noqa: PT012 - until the other side has gone
                while True:
                    await stream.send_all(b"x")
                    await trio.sleep(0.01)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        text = await failure(web, {"url": f"http://127.0.0.1:{port}"}, retries=0, timeout_s=0.1)
        nursery.cancel_scope.cancel()
    assert "took longer than 0.1 s" in text


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"url": None}, "its 'url' is None, and should be an address"),
        ({"url": "ftp://x.test/"}, "its request cannot be sent"),
        ({"url": "no address"}, "its request cannot be sent"),
        ({"headers": {"X": "a\r\nY: b"}}, "its request cannot be sent"),
        ({"headers": {"é": "b"}}, "its request cannot be sent"),
        ({"method": "G E T"}, "its request cannot be sent"),
        ({"url": "http://127.0.0.1:99999999/"}, "its request cannot be sent"),
        ({"headers": ["a"]}, "its 'headers' are of type list, and should be a map"),
    ],
)
async def test_what_cannot_be_sent_is_said_and_not_tried_again(
    server: WebServer, web: HttpPerformer, request_: dict[str, Any], words: str
) -> None:
    """It would not go better the next time."""
    assert words in await failure(web, {"url": server.url, **request_}, retries=50, backoff_s=1_000.0)
    assert server.asked == []


async def test_answers_are_bounded(server: WebServer) -> None:
    """Packed ones by what they are when they are unpacked."""
    web = HttpPerformer(bytes_max=1_000)
    packed = gzip.compress(b"1" * 1_001)
    server.script += [Said(body=b"1" * 1_000), Said(body=packed, headers={"content-encoding": "gzip"})]
    assert (await ask(web, {"url": server.url}, response_format="raw")).value == "1" * 1_000
    for _ in range(2):
        assert "the answer has more than 1000 bytes" in await failure(web, {"url": server.url})
    await web.aclose()


def test_a_value_is_one_segment_of_the_address(tmp_path: Path, server: WebServer) -> None:
    """Whatever is in it; one that would climb is the failure of the step, and nothing is asked."""
    server.script.append(Said(body=b"1"))
    step = f'{{name: h, type: http, url: "{server.url}/works/{{{{ ctx.id }}}}?q={{{{ ctx.q }}}}", retries: 0}}'
    (tmp_path / "p.yaml").write_text(f"steps: [{step}]")
    runner = PipelineRunner(tmp_path / "p.yaml")
    assert runner.run({"id": "10.1/x?y#z", "q": "a&b=1"}).steps["h"].value == 1
    error = runner.run({"id": "..", "q": 1}).failure_state.exception
    assert type(error) is StepExecutionError
    assert "http step 'h': '..' does not fit into the path of 'url'" in str(error)
    assert [asked.path for asked in server.asked] == ["/works/10.1%2Fx%3Fy%23z?q=a%26b%3D1"]
