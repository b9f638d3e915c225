"""Where ours differs from the public SDK, each with its reason to."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from io import StringIO
from typing import Any

import pytest
import zstandard
from sdks import OURS, PUBLIC, Bodies, run_script

import fabric
import fabric.handler as pugmark
from fabric.handler.state import State

LOG = "".join(
    json.dumps(entry) + "\n"
    for entry in ({"event": "start"}, {"event": "push", "name": "a"}, {"event": "push"}, {"event": "push", "name": "a"})
)


def session(log: str = LOG, **options: Any) -> tuple[pugmark.Session, StringIO]:
    """Return a session and what it writes."""
    written = StringIO()
    return pugmark.Session(StringIO(log), written, **options), written


def records(written: StringIO) -> list[dict[str, Any]]:
    """Return what was written."""
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_log_can_be_read_again() -> None:
    """Each call of read and of events begins at the beginning, wherever another one is; the stream is read once."""
    one, _ = session()
    first = one.read()
    assert next(first).event() == "start"
    assert len(list(one.read())) == 4
    assert len(list(first)) == 3
    assert [str(event) for event in one.events()] == ["start", "push", "push", "push"]
    one.write("mine", name="b")
    assert len(list(one.read())) == 4
    assert len(list(one.state())) == 5


def test_log_is_read_as_far_as_somebody_goes() -> None:
    """An entry is taken from the stream when it is asked for: what comes later may come later."""
    stream = StringIO(LOG)
    reading = pugmark.Session(stream, StringIO()).read()
    next(reading)
    assert stream.read().count("\n") == 3


@pytest.mark.parametrize("call", ["write", "write_text", "write_json", "write_bytes"])
def test_session_of_a_write(call: str) -> None:
    """An object can go to another session; like all that was written, it is in the state of this decision."""
    one, written = session()
    getattr(one, call)(b"x" if call == "write_bytes" else "x", name="n", session="other/1")
    assert records(written)[0]["session"] == "other/1"
    assert list(records(written)[0])[-1] == "session"
    assert one.load_bytes("n") == b"x" or one.load_json("n") == "x"


def test_session_of_an_object() -> None:
    """An object's own session is written, and a call's goes before it."""
    one, written = session()
    made = pugmark.LocalObject(pugmark.Output(data=b"x", name="n", fork=True, session="its own"))
    one.store(made)
    one.write(made, session="other")
    assert [record["session"] for record in records(written)] == ["its own", "other"]
    assert [record["fork"] for record in records(written)] == [True, True]


def test_state_is_a_mapping() -> None:
    """All of a mapping but its iteration, which gives the objects in order, as handlers expect."""
    one, _ = session()
    state = one.state()
    assert isinstance(state, Mapping)
    assert (len(state), len(list(state))) == (1, 4)
    newest = state["a"]
    assert (state.get("a"), state.get("b"), state.get("b", 1)) == (newest, None, 1)
    assert (list(state.keys()), list(state.values()), list(state.items())) == (["a"], [newest], [("a", newest)])
    assert dict(state) == {**state} == {"a": newest} == state
    assert state != {}
    assert state != State()
    match state:
        case {"a": found}:
            assert found is newest
        case _:
            pytest.fail("it does not match as a mapping")
    with pytest.raises(KeyError):
        state["b"]
    with pytest.raises(TypeError):
        hash(state)


def test_state_takes_objects_by_name() -> None:
    """As it could before: by name, or by the name that they have."""
    state = State()
    one = pugmark.LocalObject(pugmark.Output(name="x"))
    state["y"] = one
    state.append(one)
    assert (list(state.keys()), list(state)) == (["y", "x"], [one, one])


def test_json_string_is_quoted() -> None:
    """What is said to be JSON is JSON."""
    one, written = session()
    one.write_json('say "hi"', name="s")
    assert one.load_json("s") == 'say "hi"'
    assert records(written)[0]["data"] == "InNheSBcImhpXCIi"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, {"a": float("-inf")}]])
def test_numbers_that_json_does_not_know(value: object) -> None:
    """They are refused, and nothing is written; so they are in metadata, and as times to sleep."""
    one, written = session()
    with pytest.raises(ValueError, match="JSON compliant"):
        one.write(value)
    with pytest.raises(ValueError, match="JSON compliant"):
        one.write("x", metadata={"n": value})  # type: ignore[dict-item]
    assert written.getvalue() == ""


@pytest.mark.parametrize("seconds", [float("nan"), float("inf")])
def test_times_that_never_come(seconds: float) -> None:
    """A sleep is of finite length."""
    one, written = session()
    with pytest.raises(ValueError, match="cannot sleep for"):
        one.sleep(seconds)
    assert written.getvalue() == ""


def test_record_is_written_whole_or_not_at_all() -> None:
    """Metadata that cannot be told leave no torn line behind."""
    one, written = session()
    with pytest.raises(TypeError):
        one.write("x", metadata={"n": object()})  # type: ignore[dict-item]
    one.write("y")
    assert len(records(written)) == 1


def test_snapshot_and_version() -> None:
    """The snapshot has a function of its own, and the version is ours."""
    assert pugmark.snapshot() is None
    assert session(snapshot=7)[0].snapshot() == 7
    assert pugmark.__version__ == fabric.__version__


def test_invocation_id() -> None:
    """What is equal for every attempt at a decision is told by the environment, or by who asks."""
    script = "import pugmark\npugmark.write(pugmark.invocation_id())"
    assert run_script(OURS, script, FABRIC_INVOCATION_ID="s:3").records[0]["data"] == "czoz"
    assert pugmark.invocation_id() is None
    assert session(invocation_id="s:4")[0].invocation_id() == "s:4"


def test_server_that_hangs() -> None:
    """A body whose server says nothing is an error after its time."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        one, _ = session(json.dumps({"event": "push", "url": url}), body_timeout_s=0.05)
        with pytest.raises(OSError, match="timed out"):
            next(one.read()).body()


def test_names_in_memory_are_quoted(bodies: Bodies) -> None:
    """Any name can be asked for."""
    bodies.put("/m/notes/a%20b%3F%23%25/%C3%BC", b"found")
    one, _ = session(json.dumps({"event": "memory", "url": f"{bodies.url}/m/notes/"}))
    assert one.load_text("notes/a b?#%/\u00fc") == "found"


def test_memory_without_a_slash_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """It is no namespace and no entry; who looks at stderr learns why."""
    one, _ = session(json.dumps({"event": "memory", "url": "http://127.0.0.1/notes"}))
    assert list(one.read()) == []
    assert "has to be an URL that ends with '/'" in capsys.readouterr().err


def test_torn_zstd() -> None:
    """Half of a frame is an error, and not an empty body."""
    torn = zstandard.compress(b"x" * 1000)[:-3]
    one, _ = session()
    with pytest.raises(zstandard.ZstdError, match="ends in the middle of a frame"):
        one.write(torn, content_encoding="zstd")


def test_zstd_without_its_size(bodies: Bodies) -> None:
    """A frame need not say how large it is, whichever way its object goes."""
    packer = zstandard.ZstdCompressor().compressobj()
    raw = packer.compress(b"streamed") + packer.flush()
    one, written = session()
    one.write(raw, content_encoding="zstd")
    assert records(written)[0]["data"] == "c3RyZWFtZWQ="


def test_repr_fetches_nothing(bodies: Bodies) -> None:
    """A debugger may show an object."""
    url = bodies.put("/o", b"x")
    one, _ = session(json.dumps({"event": "push", "url": url, "name": "n"}))
    assert repr(next(one.read())) == "RemoteObject(event='push', name='n', content_type='')"
    assert next(repr(event) for event in one.events()).startswith("PushEvent(RemoteObject(")
    assert bodies.asked == []


def test_line_that_is_no_object_is_shown() -> None:
    """The error has the line."""
    one, _ = session('[1, "x"]')
    with pytest.raises(RuntimeError, match=r'not a JSON object: got \[1, "x"\]'):
        list(one.read())


PRINTS = """
import builtins
usual = builtins.print
import pugmark
imported = builtins.print is usual
pugmark.Session()
made = builtins.print is usual
{use}
print("noise")
pugmark.write([imported, made, builtins.print is usual])
"""


@pytest.mark.processes
@pytest.mark.parametrize(
    "use", ["list(pugmark.read())", "pugmark.pause()", "pugmark.load('x')", "list(pugmark.events())"]
)
def test_print_is_changed_by_the_first_use(use: str) -> None:
    """An import changes nothing for who uses a library; a handler's print goes to stderr."""
    ran = run_script(OURS, PRINTS.format(use=use))
    assert (ran.records[-1]["data"], ran.stderr) == ("W3RydWUsIHRydWUsIGZhbHNlXQ==", "noise\n")


@pytest.mark.processes
@pytest.mark.parametrize(
    "told",
    [
        {"FABRIC_INVOCATION_ID": "s:1"},
        {"FABRIC_RPC_URL": "fd://3"},
        {"PUGMARK_SESSION_ID": "s"},
        {"PUGMARK_RPC_URL": "fd://3"},
    ],
)
def test_print_is_changed_at_once_in_a_handlers_process(told: dict[str, str]) -> None:
    """What a runtime has started may print before it reads, whichever runtime it is."""
    ran = run_script(OURS, "import pugmark\nprint('early')\npugmark.write('x')", **told)
    assert (len(ran.records), ran.stderr) == (1, "early\n")


@pytest.mark.processes
def test_nothing_of_the_fabric_is_loaded() -> None:
    """A handler starts anew for each decision: what it does not need is not loaded."""
    script = "import sys, fabric.handler; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {name for name in loaded if name.startswith("fabric.") and not name.startswith("fabric.handler")} == set()
    heavy = {
        "urllib.request",
        "http.client",
        "gzip",
        "zstandard",
        "tempfile",
        "socket",
        "opentelemetry",
        "trio",
        "msgspec",
    }
    assert loaded & heavy == set()


@pytest.mark.processes
@pytest.mark.parametrize("sdk", PUBLIC)
def test_what_the_fixes_mend(sdk: str, bodies: Bodies) -> None:
    """The public SDK does otherwise, so that each fix is one."""
    script = """
import pugmark
list(pugmark.read())
print_before = sum(1 for _ in pugmark.read())
pugmark.write_json("text")
pugmark.write(float("nan"))
pugmark.write(pugmark.LocalObject(pugmark.Output(session="other")))
pugmark.write([print_before, hasattr(pugmark.state(), "get"), hasattr(pugmark, "snapshot"), pugmark.__version__])
"""
    written = [record["data"] for record in run_script(sdk, script, LOG.encode()).records]
    assert written == ["dGV4dA==", "TmFO", "", "WzAsIGZhbHNlLCBmYWxzZSwgIjAuMS4wIl0="]
