"""A script with ``import fabric.handler as pugmark`` writes what it writes with the public SDK, byte by byte."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
import zstandard
from sdks import OURS, PUBLIC, Bodies, Ran, run_script

pytestmark = pytest.mark.processes

START = {"event": "start", "body": b'{"event":"start"}', "content-type": "application/json"}


def push(body: object, **told: Any) -> dict[str, Any]:
    """Return an entry with a body."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return {"event": "push", "content-type": "application/json", "body": raw, **told}


def all_run(script: str, log: bytes = b"", **environment: str) -> Ran:
    """Run a script under each SDK; return how all of them ended."""
    ours = run_script(OURS, script, log, **environment)
    for version in PUBLIC:
        assert ours == run_script(version, script, log, **environment), version
    return ours


ECHO = """
import pugmark

log = list(pugmark.read())
last = log[-1].decode_json() if log else None
match last:
    case {"kind": "input", "text": text}:
        pugmark.write({"kind": "echo", "text": text.upper()})
    case _:
        pugmark.pause("nothing to echo")
"""


def test_minimal_handler(bodies: Bodies) -> None:
    """The documented handler echoes, and pauses when it meets its own echo."""
    spoken = push({"kind": "input", "text": "h\u00e9llo \u2713"})
    ran = all_run(ECHO, bodies.log(START, spoken))
    assert [json.loads(_body(record)) for record in ran.records] == [{"kind": "echo", "text": "H\u00c9LLO \u2713"}]
    ran = all_run(ECHO, bodies.log(START, spoken, push({"kind": "echo", "text": "X"})))
    assert [record["content-type"] for record in ran.records] == ["application/vnd.pugmark.pause+text"]


def test_empty_log() -> None:
    """Without any entry it pauses, too."""
    ran = all_run(ECHO)
    assert ran.stdout == b'{"data":"bm90aGluZyB0byBlY2hv","content-type":"application/vnd.pugmark.pause+text"}\n'


WRITES = """
import pugmark

pugmark.write("hello", name="reply")
pugmark.write({"answer": 42}, name="result")
pugmark.write(b"\\x00\\x01", name="bin")
pugmark.write("# Title", name="doc", content_type="text/markdown")
pugmark.write_text("hello", name="reply")
pugmark.write_json({"answer": 42, "text": "\\u00e9"}, name="result", metadata={"k": "\\u2713"})
pugmark.write_bytes(bytearray(b"\\x00\\x01"), name="bin")
for value in (None, True, 1, 2.5, [], {}, "", b""):
    pugmark.write(value, schema_url="s")
pugmark.write_json([1, {"a": None}])
pugmark.write_json(b'{"already":"json"}')
pugmark.store(pugmark.LocalObject(pugmark.Output(data=b"x", name="task", content_type="text/plain", fork=True)))
pugmark.write_remote("s3://b/k")
pugmark.write_remote("s3://b/k", name="n", content_type="t", content_encoding="gzip", schema_url="u",
                     metadata={"a": "b"}, session="other")
import gzip, zstandard
pugmark.write(gzip.compress(b"plain"), content_encoding="gzip")
pugmark.write(zstandard.compress(b"plain"), content_encoding="zstd", name="z")
pugmark.write(b"as it is", content_encoding="br")
pugmark.stdout.write(pugmark.LocalObject(pugmark.Output(data=b"raw")))
pugmark.stdout.write_remote("file:///x", name="raw")
assert [o.decode_data() for o in pugmark.state()][-1] == b"as it is"
print(pugmark.load_text("reply"), pugmark.load_json("result"), pugmark.load_bytes("bin"), pugmark.load("nothing"))
"""


def test_writing() -> None:
    """Every way to write; types, encodings, forks, references."""
    ran = all_run(WRITES)
    assert ran.exit == 0, ran.stderr
    assert len(ran.records) == 25


READS = """
import pugmark

state = pugmark.state()
seen = [[str(o), o.name(), o.event(), o.content_type(), o.schema_url(), o.metadata(), o.fork()] for o in state]
pugmark.write({"seen": seen, "bodies": [o.body().hex() for o in state], "len": len(state)})
if "config" in state:
    pugmark.write(state["config"].decode_json(), name="config copied")
pugmark.write(pugmark.load_text("greeting"))
pugmark.write(pugmark.load_json("result"))
pugmark.write(pugmark.load_bytes("bin"))
pugmark.write([pugmark.load_text("no"), pugmark.load_json("no"), pugmark.load_bytes("no")])
"""


def test_reading(bodies: Bodies) -> None:
    """Names collapse, encodings are undone, all members and frames are read, each body is fetched once."""
    log = bodies.log(
        START,
        push({"a": 1}, name="config", metadata={"x": "y"}),
        push({"a": 2}, name="config", **{"schema-url": "u", "unknown-key": 1, "data": "aGk="}),
        push(b"h\xc3\xa9", name="greeting", **{"content-type": "text/plain"}),
        push(gzip.compress(b"[1,") + gzip.compress(b"2]"), name="result", **{"content-encoding": "gzip"}),
        push(zstandard.compress(b"\x00") + zstandard.compress(b"\x01"), name="bin", **{"content-encoding": "zstd"}),
        push(b"as it is", **{"content-encoding": "br", "metadata": None}),
        {"event": "later", "name": "unknown"},
        {"event": "push", "url": None},
        {},
    )
    ran = all_run(READS, log.replace(b"\n", b"\r\n\r\n  "))
    assert ran.exit == 0, ran.stderr
    assert all(bodies.asked.count(path) == 3 for path in bodies.asked)


EVENTS = """
import pugmark

told = []
for event in pugmark.events():
    match event:
        case pugmark.StartEvent():
            told.append(["start", str(event)])
        case pugmark.ForkEvent():
            told.append(["fork", str(event)])
        case pugmark.WakeEvent():
            told.append(["wake", str(event)])
        case pugmark.PushEvent() as e:
            told.append(["push", str(event), e.object.name()])
pugmark.write(told)
"""


def test_events(bodies: Bodies) -> None:
    """The documented match over all kinds; one that nobody knows is passed over."""
    kinds = [{"event": kind} for kind in ("fork", "wake", "later", "wake")]
    ran = all_run(EVENTS, bodies.log(START, push(1, name="a"), *kinds, push(2, name="b")))
    told = json.loads(_body(ran.records[0]))
    assert [kind for kind, *_ in told] == ["start", "push", "fork", "wake", "wake", "push"]


FOLD = """
import pugmark

state = {}
def fold(state, event):
    state.update(event)

for obj in pugmark.read():
    event = obj.decode_json()       # every entry is JSON
    fold(state, event)              # accumulate whatever the handler needs
pugmark.write(state)

for event in pugmark.events():
    match event:
        case pugmark.StartEvent():       ...    # new root session
        case pugmark.ForkEvent():        ...    # forked from a parent
        case pugmark.WakeEvent():        ...    # resumed from pause/sleep
        case pugmark.PushEvent() as e:   ...    # object was pushed; e.object is the Object

state = pugmark.state()             # dict-like; one entry per unique name
if "config" in state:
    cfg = state["config"].decode_json()
    pugmark.write(cfg)

pugmark.pause("waiting for next user message")     # suspend until next event
pugmark.sleep(60, reason="rate-limited")           # suspend for 60 seconds
"""


def test_documented_walks(bodies: Bodies) -> None:
    """The documented fold, match and look-up, one after the other."""
    ran = all_run(FOLD, bodies.log(START, push({"a": 1}, name="config"), push({"b": 2}), {**START, "event": "wake"}))
    assert ran.exit == 0, ran.stderr
    assert json.loads(_body(ran.records[0])) == {"event": "start", "a": 1, "b": 2}
    assert len(ran.records) == 4


@pytest.mark.parametrize("seconds", ["60", "1.5", "0.001", "-1", "1e20", "0", "True"])
def test_sleep(seconds: str) -> None:
    """The duration has two digits and its unit, whatever is said."""
    ran = all_run(f"import pugmark\npugmark.sleep({seconds}, reason='r')\npugmark.pause()\npugmark.write('after')")
    assert ran.records[0]["metadata"]["duration"] == f"{float(seconds == 'True' or seconds):.2f}s"


NOISE = """
import sys
import pugmark

list(pugmark.read())
print("to stderr")
print("to stdout", file=sys.stdout)
print("to stdout, too", file=None, flush=True)
sys.stdout = sys.stderr
pugmark.write("kept")
print("to stderr", file=sys.stdout)
"""


def test_prints() -> None:
    """What is printed goes to stderr unless somebody says otherwise; records go where stdout was at the import."""
    ran = all_run(NOISE)
    assert ran.stdout.startswith(b"to stdout\nto stdout, too\n{")


def test_print_before_anything_is_read() -> None:
    """In a process that the public runtime has started, and that says no more than which session it is."""
    ran = all_run("import pugmark\nprint('early')\npugmark.write('x')", PUGMARK_SESSION_ID="s")
    assert (len(ran.records), ran.stderr) == (1, "early\n")


def test_print_of_the_package() -> None:
    """It is there by name, and prints where the replaced one does."""
    script = "import sys\nimport pugmark\npugmark.print('a', 'b', sep='-')\npugmark.print('{}', file=sys.stdout)"
    ran = all_run(script)
    assert (ran.records, ran.stderr) == ([{}], "a-b\n")


BROKEN = """
import gzip, zlib, zstandard
import pugmark

packed = gzip.compress(b"x" * 1000)
damaged = packed[:10] + bytes([0xFF]) * 4 + packed[14:]
told = []
def look(give):
    try:
        give()
        told.append("nothing")
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        told.append([type(error).__module__, type(error).__name__, isinstance(error, OSError)])
for body in (b"", b"zz", b"no gzip at all", packed[:-4], packed[:12], damaged):
    look(lambda: pugmark.write(body, content_encoding="gzip"))
look(lambda: pugmark.write(b"no zstd at all", content_encoding="zstd"))
for obj in pugmark.read():
    look(obj.body)
pugmark.write(told)
"""


def test_bodies_that_are_broken(bodies: Bodies) -> None:
    """What a handler may catch is what it catches there: the errors of the libraries."""
    log = bodies.log(
        push(b"no gzip at all", **{"content-encoding": "gzip"}),
        push(gzip.compress(b"x" * 1000)[:-4], **{"content-encoding": "gzip"}),
        push(b"no zstd at all", **{"content-encoding": "zstd"}),
    )
    ran = all_run(BROKEN, log)
    kinds = [kind for _, kind, _ in (told for told in json.loads(_body(ran.records[-1])) if told != "nothing")]
    assert {"BadGzipFile", "EOFError", "error", "ZstdError"} == set(kinds)


ELSEWHERE = """
import pugmark

pugmark.write(pugmark.LocalObject(pugmark.Output(data=b"x", name="n", session="other")))
pugmark.store(pugmark.LocalObject(pugmark.Output(data=b"y", name="m", session="other", fork=True)))
state = pugmark.state()
pugmark.write([len(state), len(list(state)), "n" in state, pugmark.load_text("n"), pugmark.load_text("m")])
"""


def test_what_goes_elsewhere_is_in_the_state() -> None:
    """Like all that was written; only where it goes is ours to tell, which the public SDK forgets."""
    for sdk in (OURS, *PUBLIC):
        assert _body(run_script(sdk, ELSEWHERE).records[-1]) == b'[2, 2, true, "x", "y"]'


@pytest.mark.parametrize(
    "line", ["no json", '["not an object"]', '"text"', "3", '{"event":"push","url":"http://127.0.0.1:1/refused"}']
)
def test_what_cannot_be_read(bodies: Bodies, line: str) -> None:
    """A damaged line, or a body that is not there, ends the process with 1; what was written before it was written."""
    script = "import pugmark\nfor obj in pugmark.read():\n    pugmark.write(obj.body())"
    ran = all_run(script, bodies.log(START) + line.encode() + b"\n")
    assert (ran.exit, len(ran.records)) == (1, 1)


def test_body_that_is_missing(bodies: Bodies) -> None:
    """An answer of 404 is an error at once."""
    url = f"{bodies.url}/missing"
    ran = all_run(
        "import pugmark\nfor o in pugmark.read(): o.body()", json.dumps({"event": "push", "url": url}).encode()
    )
    assert (ran.exit, ran.stdout, bodies.asked) == (1, b"", ["/missing"] * 3)


@pytest.mark.parametrize("value", ["(1, 2)", "{1}", "object()", "{'a': object()}", r"'\ud800'"])
def test_what_cannot_be_written(value: str) -> None:
    """It raises, and a handler that goes on has written nothing of it."""
    script = f"""
import pugmark
try:
    pugmark.write({value})
except Exception as error:
    pugmark.write(type(error).__name__)
"""
    assert len(all_run(script).records) == 1


OPEN = """
import pugmark

with pugmark.open("doc", content_type="text/plain", metadata={"k": "v"}) as file:
    text = file.read()
    file.seek(0)
    file.write(text.upper() + b" and more")
with pugmark.open("doc") as file:
    file.read()
with pugmark.open("new", None, None, "schema") as file:
    assert file.read() == b""
    open(file.name, "ab").close()
    file.write(b"made")
try:
    with pugmark.open("doc") as file:
        file.write(b"lost")
        raise KeyError
except KeyError:
    pass
pugmark.write([pugmark.load_text("doc"), pugmark.load_text("new")])
"""


def test_open(bodies: Bodies) -> None:
    """An object is written when its bytes have changed and the block has not raised."""
    ran = all_run(OPEN, bodies.log(START, push(b"draft", name="doc", metadata={"not": "inherited"})))
    assert [record.get("name") for record in ran.records] == ["doc", "new", None]
    assert json.loads(_body(ran.records[-1])) == ["DRAFT and more", "made"]


MEMORY = """
import pugmark

walked = [str(o) for o in pugmark.read()]
found = pugmark.load("agents/plan")
shown = [found.name(), found.content_type(), found.metadata(), found.event(), found.decode_text()]
deep = pugmark.load_text("agents/deep/x")
pugmark.write([walked, shown, deep, pugmark.load("other/plan"), str(pugmark.load("plan"))])
with pugmark.open("agents/empty") as file:
    file.write(file.read() + b"first")
pugmark.load("agents/none").body()
"""


def test_memory(bodies: Bodies) -> None:
    """A namespace is no entry; it wins over the log; what it does not hold is an error when it is fetched."""
    for path, body in {"/m/agents/plan": b"remembered", "/m/agents/deep/x": b"deep", "/m/agents/empty": b""}.items():
        bodies.put(path, body)
    namespace = {"event": "memory", "url": f"{bodies.url}/m/agents/"}
    ran = all_run(MEMORY, bodies.log(START, namespace, push(b"logged", name="agents/plan"), push(b"", name="plan")))
    assert (ran.exit, len(ran.records)) == (1, 2)
    assert ran.records[1] == {"data": "Zmlyc3Q=", "name": "agents/empty"}


WHO = "import pugmark\npugmark.write([pugmark.session_id(), pugmark.agent(), pugmark.metadata()])"


@pytest.mark.parametrize("metadata", ['{"a": "b"}', "{", "[1]", "", "null", '"text"'])
def test_environment(metadata: str) -> None:
    """Who asks is said by the environment; metadata that are not JSON are none."""
    all_run(WHO, PUGMARK_SESSION_ID="s/1", PUGMARK_AGENT_ID="", PUGMARK_SESSION_METADATA=metadata)


def test_no_environment() -> None:
    """Outside of a runtime, nobody asks."""
    assert _body(all_run(WHO).records[0]) == b"[null, null, {}]"


def test_what_is_written_before_a_crash() -> None:
    """Each record is out when its call has returned, and the status is the script's."""
    ran = all_run("import os\nimport pugmark\npugmark.write_text('first', name='a')\nos._exit(17)")
    assert (ran.exit, len(ran.records)) == (17, 1)


SESSION = """
import io
import pugmark

out = io.StringIO()
session = pugmark.Session(io.StringIO('{"event":"push","name":"a"}'), out, "agent", "id", 7, {"k": "v"})
with session.traced_execution():
    walked = [str(o) for o in session.read()]
    session.write("x")
told = [session.agent(), session.session_id(), session.snapshot(), session.metadata(), len(session.state()), walked]
raw = [o.event() for o in pugmark.Reader(io.StringIO('{"event":"memory","url":"x/"}')).read()]
with pugmark.traced_execution():
    pugmark.write([told, out.getvalue(), raw, pugmark.default_session().session_id()])
"""


def test_sessions_of_ones_own() -> None:
    """A session takes any streams, by place."""
    assert all_run(SESSION).exit == 0


def _body(record: dict[str, Any]) -> bytes:
    import base64

    return base64.b64decode(record["data"])


NAMES = """
Session Object RemoteObject LocalObject Input Output State Reader Writer Event StartEvent ForkEvent WakeEvent PushEvent
read events state load load_text load_json load_bytes write write_text write_json write_bytes write_remote store open
pause sleep session_id agent metadata traced_execution default_session print
"""

SIGNATURES = """
import inspect, json, sys
import pugmark

def parameters(value):
    return [[p.name, str(p.kind), None if p.default is p.empty else str(p.default)]
            for p in inspect.signature(value).parameters.values()]

told = {}
for name in sys.argv[1].split():
    value = getattr(pugmark, name)
    told[name] = parameters(value)
    if inspect.isclass(value):
        members = inspect.getmembers(value, inspect.isfunction)
        told |= {f"{name}.{member}": parameters(function) for member, function in members if member[0] != "_"}
sys.__stdout__.write(json.dumps(told))
"""


@pytest.mark.parametrize("version", PUBLIC)
def test_signatures(version: str) -> None:
    """Every public name is there and takes what it takes there: ours may take more, after that."""
    ours, theirs = (json.loads(run_script(sdk, SIGNATURES, argument=NAMES).stdout) for sdk in (OURS, version))
    assert theirs == {name: ours[name][: len(parameters)] for name, parameters in theirs.items()}
