"""One attempt over HTTP, against a real server that plays bytes."""

import gc
import gzip
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from llm_bytes import (
    HANG,
    RESET,
    Answer,
    answer,
    anthropic_text,
    head,
    json_answer,
    openai_text,
    playing,
    stream,
)
from llm_recordings import ANTHROPIC, OPENAI, completion, message, text
from llm_requests import DIALECTS, asked, assembled

from fabric.errors import ConfigError
from fabric.wire.payload import STRING
from fabric.wire.spec import WorkerSpec
from plumb_agent.messages import Reply, Request
from plumb_agent.providers import ProviderFailed
from plumb_agent.providers.dialect import Timeouts
from plumb_agent.providers.hosted import AGENT_HEADER, HostedProvider, is_local, open_hosted

KEY = 'sk-test-Zx9+/="0123456789abcdef'
HEX = "".join(f"%{byte:02x}" for byte in KEY.encode())
STREAMS = {"anthropic": ANTHROPIC, "openai": OPENAI}
VARIABLES = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}
SHORT = Timeouts(connect_s=5.0, idle_s=0.4, total_s=5.0)
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}

both = pytest.mark.parametrize("name", ["anthropic", "openai"])


@asynccontextmanager
async def opened(name: str, url: str, timeouts: Timeouts = Timeouts()) -> AsyncIterator[HostedProvider]:  # noqa: B008
    spec = WorkerSpec("bot", "agent", STRING, STRING, {"provider": name, "model": "m", "endpoint": url})
    provider = open_hosted(name, spec, {VARIABLES[name]: KEY}, timeouts)  # type: ignore[arg-type]
    try:
        yield provider
    finally:
        await provider.aclose()


async def ask(name: str, url: str, timeouts: Timeouts = Timeouts(), **fields) -> Reply:  # noqa: B008
    async with opened(name, url, timeouts) as provider:
        return await provider.complete(asked(**fields))


async def insist(provider: HostedProvider, request: Request) -> Reply:
    """Ask as often as that may help."""
    while True:
        try:
            return await provider.complete(request)
        except ProviderFailed as failure:
            if not failure.transient:
                raise


async def failure_of(name: str, *answers: Answer, timeouts: Timeouts = SHORT, **fields) -> ProviderFailed:
    with playing(*answers) as server, pytest.raises(ProviderFailed) as caught:
        await ask(name, server.url, timeouts, **fields)
    return caught.value


# --- Good answers -------------------------------------------------------------------------------------------------


@both
async def test_a_stream_is_asked_for_and_read(name):
    """At the path of the API, with the headers that it wants."""
    data = STREAMS[name]["plain"]
    with playing(stream(data[:40], data[40:])) as server:
        assert await ask(name, server.url) == assembled(name, data)
    (request,) = server.requests
    assert request.json["stream"] is True
    assert request.headers["content-type"] == "application/json"
    if name == "anthropic":
        assert (request.target, request.headers["x-api-key"]) == ("/v1/messages", KEY)
        assert request.headers["anthropic-version"] == "2023-06-01"
        assert "authorization" not in request.headers
    else:
        assert (request.target, request.headers["authorization"]) == ("/v1/chat/completions", f"Bearer {KEY}")


WHOLE = {
    "anthropic": {
        "type": "message",
        "model": "x",
        "content": [{"type": "text", "text": "1"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 1},
    },
    "openai": {
        "model": "x",
        "choices": [{"index": 0, "message": {"content": "1"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    },
}


@both
async def test_an_answer_in_one_piece_is_read_too(name):
    """Some servers do not stream, whatever they are asked."""
    with playing(json_answer(200, WHOLE[name])) as server:
        reply = await ask(name, server.url)
    assert (reply.blocks[0].text, reply.usage.prompt_tokens) == ("1", 3)


@both
async def test_attempts_share_a_connection(name):
    """A server is met once, as long as it keeps the connection."""
    with playing(stream(STREAMS[name]["plain"])) as server:
        async with opened(name, server.url) as provider:
            for _ in range(3):
                await provider.complete(asked())
    assert (len(server.requests), server.connections) == (3, 1)


@both
async def test_a_stream_that_stays_open_behind_its_end_is_not_waited_for(name):
    """The reply is there; the connection is given up."""
    with playing(stream(STREAMS[name]["plain"], HANG)) as server:
        async with opened(name, server.url) as provider:
            assert await provider.complete(asked()) == assembled(name, STREAMS[name]["plain"])
            assert await provider.complete(asked()) == assembled(name, STREAMS[name]["plain"])
    assert server.connections == 2


@both
async def test_a_stream_that_breaks_behind_its_end_is_whole(name):
    """What was to come is not needed."""
    with playing(stream(STREAMS[name]["plain"], RESET)) as server:
        assert await ask(name, server.url) == assembled(name, STREAMS[name]["plain"])


@both
async def test_nothing_is_connected_before_the_first_attempt(name):
    """A process may still be forked."""
    with playing(stream(b"")) as server:
        async with opened(name, server.url):
            pass
    assert server.connections == 0


# --- What a server refuses ----------------------------------------------------------------------------------------


REFUSED = {
    "anthropic": {"type": "error", "error": {"type": "invalid_request_error", "message": "output_config: no"}},
    "openai": {"error": {"message": "Unknown parameter: 'response_format'", "param": "response_format"}},
}
PARAMETER = {"anthropic": "output_config", "openai": "response_format"}


@both
@pytest.mark.parametrize("status", [400, 422])
async def test_a_parameter_that_is_refused_is_left_out_from_then_on(name, status):
    """The failure may pass: the next attempt is made without it, and so are all others."""
    with playing(json_answer(status, REFUSED[name]), stream(STREAMS[name]["plain"])) as server:
        async with opened(name, server.url) as provider:
            await insist(provider, asked(output_schema=SCHEMA))
            await provider.complete(asked(output_schema=SCHEMA))
    assert [PARAMETER[name] in request.json for request in server.requests] == [True, False, False]


@both
async def test_a_server_that_refuses_whatever_it_is_asked_is_not_asked_for_ever(name):
    """Once without each parameter that it names."""
    words = "response_format output_config stream_options max_tokens max_completion_tokens"
    with playing(json_answer(400, {"error": {"message": words}})) as server:
        async with opened(name, server.url) as provider:
            with pytest.raises(ProviderFailed):
                await insist(provider, asked(output_schema=SCHEMA))
    assert len(server.requests) == {"anthropic": 2, "openai": 4}[name]


async def test_the_limit_of_tokens_gets_its_other_name():
    """A server that knows the newer one only says so."""
    words = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
    with playing(json_answer(400, {"error": {"message": words}}), stream(OPENAI["plain"])) as server:
        async with opened("openai", server.url) as provider:
            await insist(provider, asked())
    first, second = (request.json for request in server.requests)
    assert ("max_tokens" in first, "max_tokens" in second) == (True, False)
    assert second["max_completion_tokens"] == 8192


@both
async def test_a_refusal_has_the_provider_s_words(name):
    """And is for good."""
    refused = await failure_of(name, json_answer(404, {"error": {"message": "no model m"}}))
    assert (refused.code, refused.transient, refused.usage) == ("provider_refused_request", False, None)
    assert str(refused) == f"{name} answered 404: no model m"


@both
async def test_the_words_of_a_refusal_have_a_bound(name):
    """However long the server talks, and however much it sends."""
    body = [b"x" * 65_536] * 4
    long = await failure_of(name, (head(400, {"content-type": "text/plain"}), *body, HANG), timeouts=Timeouts())
    assert len(str(long)) == 600


@both
async def test_what_is_compressed_is_not_read(name):
    """Nobody asked for it. The status of a refusal counts all the same."""
    packed = {"content-encoding": "gzip"}
    refused = await failure_of(name, answer(400, "application/json", gzip.compress(b'{"error": "x"}'), packed))
    assert str(refused) == f"{name} answered 400: no reason was given"
    broken = await failure_of(name, answer(200, "application/json", gzip.compress(b"{}"), packed))
    assert (broken.code, broken.transient) == ("stream_malformed", True)
    assert "compressed, gzip" in str(broken)


@both
async def test_a_server_that_is_busy_says_until_when(name):
    """As seconds, as milliseconds, or as a date."""
    for headers, seconds in (({"retry-after": "3"}, 3.0), ({"retry-after-ms": "1500"}, 1.5), ({}, None)):
        busy = await failure_of(name, json_answer(529, {"error": {"message": "Overloaded"}}, headers))
        assert (busy.code, busy.transient, busy.retry_after_s) == ("provider_unavailable", True, seconds)
    dated = await failure_of(name, json_answer(503, {}, {"retry-after": "Fri, 01 Jan 2100 00:00:00 GMT"}))
    assert dated.retry_after_s is not None
    assert dated.retry_after_s > 1e9


@both
async def test_a_key_does_not_travel(name):
    """A redirection is refused, not followed."""
    with playing(stream(STREAMS[name]["plain"])) as other:
        where = {"location": other.url}
        refused = await failure_of(name, json_answer(307, {}, where))
    assert (refused.code, refused.transient) == ("provider_refused_request", False)
    assert other.requests == []


# --- What breaks --------------------------------------------------------------------------------------------------


@both
async def test_a_cut_stream_is_no_reply(name):
    """In the middle of an event, or between two."""
    data = STREAMS[name]["plain"]
    for end in (len(data) // 2, data.index(b"\n\n") + 2):
        cut = await failure_of(name, stream(data[:end], RESET))
        assert (cut.code, cut.transient, cut.usage) == ("stream_cut", True, "all")
        assert "cut off before its end" in str(cut)


@both
async def test_an_empty_stream_is_no_reply(name):
    """It says that there was nothing."""
    empty = await failure_of(name, stream())
    assert (empty.code, empty.transient, empty.usage) == ("stream_empty", True, None)


@both
async def test_a_body_that_is_cut_is_no_reply(name):
    """Of an answer in one piece."""
    whole = b'{"type": "message", "content": ['
    cut = await failure_of(
        name, (head(200, {"content-type": "application/json", "content-length": "90"}), whole, RESET)
    )
    assert cut.code == "stream_cut"


@both
@pytest.mark.parametrize("data", [b"data: {oops\n\n", b"data: [1]\n\n"])
async def test_events_that_cannot_be_read_are_no_reply(name, data):
    """The text shows what came."""
    broken = await failure_of(name, stream(data, HANG))
    assert (broken.code, broken.transient) == ("stream_malformed", True)
    assert data[6:-2].decode() in str(broken)


@both
async def test_a_server_that_ends_the_connection_is_not_available(name):
    """Or that does not speak HTTP."""
    for played in ((RESET,), (b"SSH-2.0-OpenSSH\r\n\r\n", RESET)):
        gone = await failure_of(name, played)
        assert (gone.code, gone.transient, gone.usage) == ("provider_unavailable", True, None)


@both
async def test_a_server_that_is_not_there_is_not_available(name):
    """The port is closed."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(ProviderFailed, match=f"{name} cannot be reached: ") as caught:
            await ask(name, url)
    assert (caught.value.code, caught.value.transient) == ("provider_unavailable", True)


@both
async def test_a_host_that_cannot_be_one_fails_for_good(name):
    """No name has two dots in a row."""
    with pytest.raises(ProviderFailed, match="names a host that cannot be one") as caught:
        await ask(name, "http://a..b/")
    assert caught.value.transient is False


@both
async def test_a_server_that_says_nothing_is_given_up(name):
    """Before its answer, or in the middle of it; what it cost then nobody knows."""
    data = STREAMS[name]["plain"]
    for played in ((HANG,), stream(data[:60], HANG)):
        slow = await failure_of(name, played)
        assert (slow.code, slow.transient, slow.usage) == ("provider_timeout", True, "all")


@both
async def test_a_server_that_never_ends_is_given_up(name):
    """Its pings do not help it for ever."""
    pings = (0.02, b"5\r\n: x\n\n\r\n") * 200
    played = (head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"}), *pings, HANG)
    slow = await failure_of(name, played, timeouts=Timeouts(connect_s=5.0, idle_s=5.0, total_s=0.3))
    assert (slow.code, slow.transient, slow.usage) == ("provider_timeout", True, "all")
    assert str(slow) == f"{name} did not finish its answer in 0.3 s"


@both
async def test_pings_keep_an_answer_alive(name):
    """Each of them is a sign of life."""
    data = STREAMS[name]["plain"]
    first = data.index(b"\n\n") + 2
    slow = [piece for _ in range(6) for piece in (0.1, b": ping\n\n")]
    with playing(stream(data[:first], *slow, data[first:])) as server:
        assert await ask(name, server.url, SHORT) == assembled(name, data)


async def test_a_connection_that_does_not_come_about_is_given_up():
    """Nobody accepts it: the queue of the server is full."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        with pytest.raises(ProviderFailed) as caught:
            await ask("openai", f"http://127.0.0.1:{address[1]}", Timeouts(connect_s=0.2, idle_s=5.0, total_s=5.0))
        for one in waiting:
            one.close()
    assert (caught.value.code, caught.value.transient, caught.value.usage) == ("provider_timeout", True, None)
    assert str(caught.value) == "no connection to openai in time"


async def test_a_server_that_does_not_speak_tls_is_not_available():
    """Nor one whose certificate nobody signed. The failure says why."""

    async def answer_in_clear(client: trio.SocketStream) -> None:
        await client.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, answer_in_clear, [listener])
        with pytest.raises(ProviderFailed, match=r"openai cannot be reached: .*wrong version number") as caught:
            await ask("openai", f"https://127.0.0.1:{listener.socket.getsockname()[1]}", SHORT)
        nursery.cancel_scope.cancel()
    assert (caught.value.code, caught.value.transient) == ("provider_unavailable", True)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HTTPS_PROXY", "socks5://me:hunter2@127.0.0.1:9"),
        ("HTTPS_PROXY", "ftp://me:hunter2@127.0.0.1:9"),
        ("SSL_CERT_FILE", "/no/such/file"),
    ],
)
async def test_what_the_environment_says_has_to_be_usable(variable, value, monkeypatch):
    """A proxy of another kind, or a file that is not there: the failure says so, without a password."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv(variable, value)
    with pytest.raises(ProviderFailed, match="proxies or of certificates cannot be used") as caught:
        await ask("openai", "https://127.0.0.1:9")
    assert (caught.value.code, caught.value.transient) == ("provider_unavailable", False)
    assert "hunter2" not in str(caught.value)


async def test_a_call_can_be_cancelled_anywhere():
    """And the next one is answered."""
    data = OPENAI["plain"]
    with playing(stream(data[:60], HANG), stream(data)) as server:
        async with opened("openai", server.url) as provider:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(provider.complete, asked())
                await trio.to_thread.run_sync(server.asked.wait)
                nursery.cancel_scope.cancel()
            assert await provider.complete(asked()) == assembled("openai", data)


# --- Keys ---------------------------------------------------------------------------------------------------------


def echoes() -> list[Answer]:
    """Return every kind of failure, with the key in it wherever a server can put it."""
    said = f"Incorrect key {KEY} or {KEY.encode().hex('%')} or {KEY!r}"
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": said, "param": KEY}}
    return [
        json_answer(401, error),
        json_answer(429, error, {"retry-after": KEY}),
        json_answer(307, {}, {"location": f"http://h/?key={KEY}"}),
        answer(500, "text/plain", said.encode()),
        answer(400, "text/html", f"<p>{'x' * 560}{KEY}".encode()),
        answer(200, f"text/{KEY}", said.encode()),
        stream(anthropic_text([error])),
        stream(openai_text([error])),
        stream(f"event: error\ndata: {said}\n\n".encode()),
        stream(f"data: {{ {said}\n\n".encode()),
        stream(f"data: {'x' * 560}{KEY}\n\n".encode()),
        stream(f"data: {KEY}".encode(), RESET),
        (f"HTTP/1.1 {KEY}\r\n\r\n".encode(), RESET),
        (head(200, {"content-type": "text/event-stream", "content-encoding": "gzip"}), KEY.encode(), RESET),
        (RESET,),
        (HANG,),
    ]


@both
@pytest.mark.parametrize("number", range(len(echoes())))
async def test_no_failure_has_the_key_in_it(name, number, caplog, capfd):
    """Not its text, not what it came from, not a log line, not what is written."""
    gc.collect()
    caplog.set_level(logging.DEBUG)
    failure = await failure_of(name, echoes()[number])
    chain: list[BaseException] = [failure]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    written = capfd.readouterr()
    texts = [*(f"{error} {error!r} {vars(error)}" for error in chain), caplog.text, written.out, written.err]
    for shown in (KEY, KEY[:20], KEY[-12:], HEX):
        assert [text for text in texts if shown in text] == []


async def test_no_reply_has_the_key_in_it():
    """A server that sends it back does not get it into an output."""
    with playing(stream(anthropic_text(message(text("You are ", KEY[:9], KEY[9:], "!"))))) as server:
        assert (await ask("anthropic", server.url)).blocks[0].text == "You are [key]!"
    with playing(stream(openai_text(completion({"content": KEY})))) as server:
        assert (await ask("openai", server.url)).blocks[0].text == "[key]"


@both
def test_a_provider_does_not_show_its_key(name):
    """Not even when it is printed."""
    provider = HostedProvider(DIALECTS[name], "http://h", KEY)
    assert KEY not in f"{provider!r} {provider}"


# --- Configuration ------------------------------------------------------------------------------------------------


@both
def test_a_key_is_needed(name):
    """At the start, not at the first message."""
    spec = WorkerSpec("bot", "agent", STRING, STRING, {"provider": name, "model": "m"})
    with pytest.raises(ConfigError, match=f"set {VARIABLES[name]}, or {VARIABLES[name]}_FILE"):
        open_hosted(name, spec, {})


@pytest.mark.parametrize("endpoint", ["ftp://h", 3, "http://me:pw@h"])
def test_an_endpoint_is_checked_at_the_start(endpoint):
    """It is the configuration that is wrong."""
    spec = WorkerSpec("bot", "agent", STRING, STRING, {"provider": "openai", "model": "m", "endpoint": endpoint})
    with pytest.raises(ConfigError, match="'endpoint'"):
        open_hosted("openai", spec, {"OPENAI_API_KEY": KEY})


@both
async def test_a_server_of_this_machine_is_told_which_agent_asks(name: str):
    """One that is scripted answers each agent in its own way."""
    with playing(stream(STREAMS[name]["plain"])) as server:
        await ask(name, server.url)
    assert server.requests[0].headers[AGENT_HEADER] == "bot"


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://localhost:8000/v1/messages", True),
        ("http://127.0.0.2/v1", True),
        ("http://[::1]:80/v1", True),
        ("https://api.anthropic.com/v1/messages", False),
        ("https://127.0.0.1.example.com/v1", False),
        ("http://10.0.0.1/v1", False),
    ],
)
def test_no_other_server_is(url: str, local: bool):
    """The names in a program are nobody else's business."""
    assert is_local(url) is local
