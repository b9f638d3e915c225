"""RPC mode, with real processes."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from handler_scripts import call, python, serving

from fabric.handlers.invocation import Ended
from fabric.handlers.rpc import serve_rpc

pytestmark = pytest.mark.processes

LONG_S = 60.0


async def asked(command: Sequence[str], *given: bytes, timeout_s: float = LONG_S, trace: str = "00-1") -> list[Ended]:
    """Invoke a handler once for each input."""
    environment = {"TRACEPARENT": trace, "PUGMARK_SESSION_ID": "of somebody else"}
    async with serve_rpc(command, environment, timeout_s, None, lambda _: None) as handler:
        return [await handler.invoke(call(one, {"k": "✓"})) for one in given]


async def test_one_process_answers_one_request_after_the_other():
    """With its input as it is, and its output when it is whole."""
    act = "n = 0\ndef act(server, body):\n    global n; n += 1; server.say(200, body.upper() + str(n).encode())"
    ended = await asked(serving(act), b"a\n", b"b\n")
    assert [one.output for one in ended] == [b"A\n1", b"B\n2"]
    assert {one.exit for one in ended} == {0}


async def test_who_asks_is_said_by_the_request():
    """Not by the environment: the process serves whoever comes."""
    act = (
        "import json\ndef act(server, body): server.say(200, json.dumps([server.path, dict(server.headers),"
        " sorted(n for n in os.environ if n.startswith(('PUGMARK', 'FABRIC')))]).encode())"
    )
    (ended,) = await asked(serving(act), b"")
    path, headers, environment = json.loads(ended.output)
    assert path == "/?agent=a1&session=s1&snapshot=3"
    assert headers["X-Pugmark-Session-Metadata"] == '{"k": "\\u2713"}'
    assert headers["X-Fabric-Invocation-Id"] == "s1:3"
    assert headers["traceparent"] == "00-1"
    assert headers["Content-Length"] == "0"
    assert environment == ["FABRIC_RPC_URL", "PUGMARK_RPC_URL"]


@pytest.mark.parametrize("trace", ["00-1\n", "", " ", "\u00fc", "a\r\nX-Other: 1", "\x01"])
async def test_a_trace_that_no_header_can_hold_is_none(trace: str):
    """It is a variable that somebody else has set; the handler is asked without it."""
    act = "def act(server, body): server.say(200, '|'.join(server.headers).lower().encode())"
    (ended,) = await asked(serving(act), b"", trace=trace)
    assert (ended.exit, ended.reason) == (0, "")
    assert not {b"traceparent", b"x-other"} & set(ended.output.split(b"|"))


async def test_an_error_loses_all_output():
    """What it said before it answered is told."""
    act = "def act(server, body): sys.stderr.write('why'); sys.stderr.flush(); server.say(500, b'lost')"
    assert await asked(serving(act), b"") == [Ended(exit=1, reason="it answered with status 500: lost", stderr="why")]


async def test_whoever_dies_is_started_anew():
    """Its status is told; the next request has a new process."""
    act = "def act(server, body): os._exit(17) if body == b'die' else server.say(200, body)"
    ended = await asked(serving(act), b"a", b"die", b"b")
    assert [(one.exit, one.output) for one in ended] == [(0, b"a"), (17, b""), (0, b"b")]
    assert ended[1].reason == "it ended with status 17"


@pytest.mark.parametrize(
    ("act", "why"),
    [
        ("def act(server, body): server.connection.close()", "the connection broke"),
        (
            "def act(server, body): server.wfile.write(b'HTTP/1.0 200 OK\\r\\nContent-Length: 9\\r\\n\\r\\nhalf')",
            "broke",
        ),
        ("def act(server, body): server.wfile.write(b'nonsense\\r\\n\\r\\n')", "broke"),
        ("def act(server, body): sys.exit(0)", "broke|ended before"),
    ],
)
async def test_an_answer_that_breaks_off_is_none(act: str, why: str):
    """Half of it would be half a decision."""
    good = "\nwhole = act\ndef act(server, body): whole(server, body) if body == b'break' else server.say(200, body)"
    ended = await asked(serving(act + good), b"break", b"b")
    assert ended[0].exit != 0
    assert ended[0].output == b""
    assert (ended[1].exit, ended[1].output) == (0, b"b")


async def test_whoever_hangs_is_ended_and_started_anew():
    """A busy handler would answer the next request with the last one's answer."""
    act = "import time\ndef act(server, body): time.sleep(3600) if body == b'hang' else server.say(200, body)"
    ended = await asked(serving(act), b"hang", b"b", timeout_s=2.0)
    assert ended[0] == Ended(exit=124, reason="it did not answer within 2 s")
    assert ended[1].output == b"b"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (python("import time; time.sleep(3600)"), "it does not serve: no answer to GET / within 1 s"),
        (python("raise SystemExit(3)"), "it ended with status 3"),
        (python(""), "it ended before it answered"),
        (["/no/such/thing"], "cannot start '/no/such/thing': No such file or directory"),
        (serving("", health=404), "it does not serve: GET / gave status 404, expected 200"),
    ],
)
async def test_a_handler_that_never_serves_fails(command: Sequence[str], reason: str):
    """In time, and with what to look for."""
    (ended,) = await asked(command, b"", timeout_s=1.0)
    assert ended.exit == 127
    assert ended.reason.startswith(reason)


async def test_what_it_prints_is_shown_with_what_it_says():
    """Its stdout means nothing in this mode."""
    act = "def act(server, body): print('printed', flush=True); server.say(200)"
    (ended,) = await asked(serving(act), b"")
    assert (ended.output, ended.stderr) == (b"", "printed\n")


@pytest.mark.parametrize("then", ["os.kill(os.getpid(), 9)", "server.connection.close()"])
async def test_an_answer_that_does_not_say_how_long_it_is_counts_for_nothing(then: str):
    """Its end is that of the connection, and so is the end of half of it."""
    act = (
        "def act(server, body):\n"
        "    if body != b'whole': server.wfile.write(b'HTTP/1.0 200 OK\\r\\n\\r\\n{\"data\":\"\"}\\n'); " + then + "\n"
        "    else: server.say(200, body)"
    )
    ended = await asked(serving(act), b"torn", b"whole")
    assert ended[0].output == b""
    assert ended[0].exit != 0
    assert ended[0].reason == "it was ended by signal 9" or "has no Content-Length" in ended[0].reason
    assert (ended[1].exit, ended[1].output) == (0, b"whole")


async def test_an_answer_in_chunks_says_where_it_ends():
    """Its last chunk is empty; without that it is torn."""
    act = (
        "def act(server, body): server.wfile.write(b'HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n'"
        " b'3\\r\\nabc\\r\\n' + body); server.close_connection = True"
    )
    whole, torn = await asked(serving(act), b"0\r\n\r\n", b"")
    assert (whole.exit, whole.output) == (0, b"abc")
    assert (torn.exit, torn.output) == (1, b"")
