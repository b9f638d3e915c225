"""The commands about durable sessions, as processes, on buckets that are directories."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from forked_commands import Done, run_command
from s3_server import BUCKET, environment, serve_s3
from services import alive
from typer.main import get_command

from fabric.cli.app import make_app
from fabric.store.bucket import Bucket
from fabric.store.keys import log_key, manifest_key
from fabric.store.opening import open_store
from fabric.store.record import Unused, decode_unused, encode

pytestmark = pytest.mark.processes


class Here:
    """A folder with a state of its own, in which commands are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"PATH": os.environ["PATH"], "XDG_STATE_HOME": str(folder / "state"), "HOME": str(folder)}

    def run(self, *words: str, given: bytes | str = b"", env: Mapping[str, str] | None = None) -> Done:
        """Run `fabric session ...`."""
        raw = given.encode() if isinstance(given, str) else given
        return run_command(["session", *words], self.folder, self.environment | dict(env or {}), raw)

    def ok(self, *words: str, given: bytes | str = b"", env: Mapping[str, str] | None = None) -> str:
        """Run it; return what it prints. It has to be well."""
        done = self.run(*words, given=given, env=env)
        assert done.code == 0, done
        return done.out

    def objects(self, *words: str) -> list[dict[str, Any]]:
        """Run it with --json; return what it prints."""
        return [json.loads(line) for line in self.ok(*words, "--json").splitlines()]

    def log(self, *words: str) -> list[tuple[str, str]]:
        """Return event and body of each entry."""
        return [(each["event"], each.get("text", each.get("base64", ""))) for each in self.objects("log", "-A", *words)]


@pytest.fixture
def here(tmp_path: Path):
    """A user's folder."""
    (tmp_path / "here").mkdir()
    return Here(tmp_path / "here")


ECHO = """\
import json, sys, urllib.request
lines = [json.loads(line) for line in sys.stdin if line.strip()]
body = json.loads(urllib.request.urlopen(lines[-1]["url"]).read())
import base64
def write(data, **fields):
    print(json.dumps({"data": base64.b64encode(data).decode(), **fields}))
if body.get("kind") == "input":
    write(json.dumps({"kind": "echo", "text": body["text"].upper()}).encode(), **{"content-type": "application/json"})
else:
    write(b"nothing to echo", **{"content-type": "application/vnd.pugmark.pause+text"})
"""
"""The page's first handler, without its SDK."""

INPUT = '{"kind":"input","text":"hello"}\n'


def handler(here: Here, text: str = ECHO) -> tuple[str, ...]:
    (here.folder / "handler.py").write_text(text)
    return ("--", sys.executable, "handler.py")


# --- the first example ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [(), ("-b", "file:pug")])
def test_the_first_example(here: Here, where: tuple[str, ...]):
    """In the default bucket, and in one that is named once, when the session is started."""
    (id_,) = here.ok("start", *where).splitlines()
    assert here.ok("push", given=INPUT) == f"{id_} 0.0\n"
    done = here.run("run", "--once", *handler(here))
    assert done == Done(0, "", f"1 invocation, 1 entry committed\nsession {id_}: ready\n")
    echo = '{"kind": "echo", "text": "HELLO"}'
    assert here.log() == [("start", '{"event":"start"}'), ("push", INPUT), ("push", echo)]
    assert here.ok("log", "-A").splitlines()[-2:] == [
        '0.0     push    application/json  {"kind":"input","text":"hello"}',
        f"1.0     push    application/json  {echo}",
    ]
    there = here.folder / ("pug" if where else "state/fabric/sessions")
    assert (there / log_key(id_, 1)).is_file()


def test_the_first_example_in_object_storage(here: Here):
    """The same commands; and where a missing key is the user's fault, he is told."""
    with serve_s3() as port:
        here.environment |= environment(port)
        url = f"s3://{BUCKET}/some/sessions"
        here.ok("start", "-b", url, "--id", "s")
        here.ok("push", INPUT)
        assert here.run("run", *handler(here)).code == 0
        assert [event for event, _ in here.log()] == ["start", "push", "push", "pause"]
        assert here.ok("verify").startswith("s: whole: 3 commits")
        assert [each["bucket"] for each in here.objects("show")] == [url]
        assert here.run("ls", "-b", "s3://no-such-bucket").code == 1


def test_a_run_goes_on_until_it_is_quiet(here: Here):
    """Then there is nothing to do, until something is pushed or it is woken."""
    here.ok("start", "--id", "s")
    here.ok("push", INPUT)
    assert here.run("run", *handler(here)).said == (
        "2 invocations, 2 entries committed\nsession s: paused: nothing to echo\n"
    )
    assert here.run("run", *handler(here)).said == "session s: paused: nothing to echo\n"
    here.ok("wake")
    assert here.run("exec", *handler(here)).said.startswith("1 invocation, 1 entry committed\n")
    assert [event for event, _ in here.log()] == ["start", "push", "push", "pause", "wake", "pause"]


def test_a_decision_that_fails_leaves_no_entry(here: Here):
    """It is told, kept for whoever looks, and made anew by the next run."""
    here.ok("start", "--id", "s")
    done = here.run("run", *handler(here, "print('no record'); raise SystemExit(3)"))
    assert (done.code, done.out) == (1, "")
    assert "status 3" in done.said
    assert "session s: failed: 1 attempt: it ended with status 3\n" in done.said
    assert [event for event, _ in here.log()] == ["start"]
    (attempt,) = (each for each in here.objects("log", "--control") if each["event"] == "attempt")
    assert (attempt["number"], attempt["base"], attempt["status"]) == (1, 0, "exit 3")
    assert here.run("run", *handler(here)).code == 0


# --- push -------------------------------------------------------------------------------------------------------------


def test_a_pushed_body_keeps_its_bytes(here: Here):
    """Of stdin, a file or an argument; also those that are large, and those that are stored compressed."""
    here.ok("start", "--id", "s")
    bodies = [b"", b"\n\n", bytes(range(256)) * 300, b"--help", "é\r\n".encode()]
    for number, body in enumerate(bodies):
        how = ("--encoding", "gzip") if number == 2 else () if body else ("",)
        here.ok("push", "--name", f"n{number}", *how, given=body)
    (here.folder / "file").write_bytes(b"\xff")
    here.ok("push", "--file", "file", "--type", "image/x", "--meta", "k=v", "--schema", "urn:x")
    entries = here.objects("log", "-A")[1:]
    assert [each.get("text", "").encode() or base64.b64decode(each.get("base64", "")) for each in entries] == [
        *bodies, b"\xff",
    ]  # fmt: skip
    assert [each["content_type"] for each in entries] == [
        "text/plain", "text/plain", "application/octet-stream", "text/plain", "text/plain", "image/x",
    ]  # fmt: skip
    assert (entries[2]["content_encoding"], entries[2]["size"] < 10_000) == ("gzip", True)
    assert (entries[5]["metadata"], entries[5]["schema_url"]) == ({"k": "v"}, "urn:x")
    shown = subprocess.run(
        [sys.executable, "-m", "fabric.cli", "session", "show", "2.0"],
        cwd=here.folder, env=here.environment, capture_output=True, timeout=60,
    )  # fmt: skip
    assert shown.stdout == bodies[2]


def test_a_push_with_a_key_is_pushed_once(here: Here):
    """The second time it says where the first one is; with another body it is refused."""
    here.ok("start", "--id", "s")
    assert here.ok("push", "--key", "k", "hi") == "s 0.0\n"
    here.ok("push", "between")
    assert here.objects("push", "--key", "k", "hi")[0]["seq"] == 0
    done = here.run("push", "--key", "k", "other")
    assert (done.code, done.out) == (1, "")
    assert "s 0.0 (2 bytes, text/plain" in done.said
    assert len(here.log()) == 3


# --- forks, and what there is -----------------------------------------------------------------------------------------


def test_a_fork_begins_with_what_its_parent_has(here: Here):
    """And becomes the current session; a tree shows it below its parent; the parent cannot be deleted before it."""
    here.ok("start", "--id", "a")
    here.ok("push", "one")
    here.ok("push", "two")
    assert here.ok("fork", "--at", "1", "--id", "b") == "b\n"
    here.ok("push", "three")
    assert [text for event, text in here.log() if event == "push"] == ["one", "three"]
    assert [each["session"] for each in here.objects("log")] == ["b", "b"]
    assert [line.split("  ")[0] for line in here.ok("ls").splitlines()] == ["SESSION", "a", "└─ b *"]
    assert here.objects("ls")[1]["parent"] == "a"
    assert "a, at its commit 1" in here.ok("show")
    assert "children  b" in here.ok("show", "-s", "a")
    refused = here.run("delete", "-y", "a")
    assert (refused.code, "b was forked from it" in refused.said) == (2, True)
    assert here.run("delete", "a", "b").code == 2  # nobody can be asked
    assert here.ok("delete", "--dry-run", "a", "b") == ""
    here.ok("delete", "-y", "a", "b")
    assert here.run("log").code == 2  # there is no current one any more
    assert here.run("log", "-s", "b").code == 7
    assert here.ok("ls", "-q") == ""


def test_an_exported_session_goes_on_elsewhere(here: Here):
    """With what it inherits, and all bodies. Brought in again it changes nothing; a damaged file brings nothing."""
    here.ok("start", "--id", "a", "--agent", "x")
    here.ok("push", given=b"\xff" * 70_000)
    here.ok("push", "late")
    here.ok("fork", "--at", "1", "--id", "b")
    here.ok("push", "three")
    here.ok("export", "-o", "b.tar")
    log = here.objects("log", "-A")
    assert here.run("import", "b.tar", "-b", "other").out.split() == ["a", "b"]
    assert here.objects("log", "-A", "-b", "other", "-s", "b") == log
    assert "0 objects are new" in here.run("import", "b.tar", "-b", "other").said
    assert len(here.objects("log", "-b", "other", "-s", "a")) == 3  # whole, so that it can go on there
    whole = (here.folder / "b.tar").read_bytes()
    (here.folder / "half.tar").write_bytes(whole[:40_000])
    (here.folder / "changed.tar").write_bytes(whole.replace(b"three", b"throe"))
    for name in ("half.tar", "changed.tar"):
        assert here.run("import", name, "-b", "third").code == 1
    assert here.ok("ls", "-q", "-b", "third") == ""
    here.ok("push", "-s", "a", "one way")
    here.ok("push", "-b", "other", "-s", "a", "another way")
    here.ok("export", "a", "-o", "a.tar")
    refused = here.run("import", "a.tar", "-b", "other")
    assert (refused.code, "went another way" in refused.said) == (2, True)


def test_what_is_damaged_is_named(here: Here):
    """By `verify`: a body that is gone, and a commit that was changed; and all that is whole is said to be."""
    here.ok("start", "-b", "pug", "--id", "s")
    here.ok("push", given=b"\xff" * 70_000)
    here.ok("push", "hello")
    here.ok("compact")
    assert here.ok("verify") == "s: whole: 2 commits, 2 entries, 1 large body, 1 snapshot\n"
    (body,) = (path for path in (here.folder / "pug" / "blobs").rglob("*") if path.is_file())
    body.unlink()
    path = here.folder / "pug" / log_key("s", 1)
    path.write_bytes(path.read_bytes().replace(b"hello", b"hallo"))
    done = here.run("verify", "--all", "--json")
    (report,) = map(json.loads, done.out.splitlines())
    assert done.code == 1
    assert [each for each in report["problems"] if log_key("s", 1) in each]
    assert [each for each in report["problems"] if body.name in each]


def test_a_damaged_manifest_hides_no_other_session(here: Here):
    """The others are listed and verified, and it is said to be damaged."""
    for id_ in ("a", "b", "c"):
        here.ok("start", "-b", "pug", "--id", id_)
    (here.folder / "pug" / manifest_key("b")).write_bytes(b"x")
    assert here.ok("ls", "-q") == "a\nb\nc\n"
    listed = here.run("ls", "--json")
    assert {row["id"]: row["status"] for row in map(json.loads, listed.out.splitlines())} == {
        "a": "ready", "b": "damaged", "c": "ready",
    }  # fmt: skip
    verified = here.run("verify", "--all")
    assert (listed.code, verified.code) == (1, 1)
    assert [line.split(":")[1] for line in verified.out.splitlines() if line[0] in "abc"] == [
        " whole", " DAMAGED", " whole",
    ]  # fmt: skip
    here.ok("export", "-o", "a.tar", "--children", "a")


def test_a_log_that_lacks_a_commit_is_exported_from_its_snapshot(here: Here):
    """It is told, and whole elsewhere; without a snapshot nothing is exported. Compacting it again is refused."""
    for id_ in ("a", "b"):
        here.ok("start", "-b", "pug", "--id", id_)
        for word in ("one", "two"):
            here.ok("push", word)
    here.ok("compact", "-s", "a")
    for id_ in ("a", "b"):
        (here.folder / "pug" / log_key(id_, 0)).unlink()
    done = here.run("export", "-s", "a", "-o", "a.tar")
    assert (done.code, log_key("a", 0) in done.said) == (0, True)
    here.ok("import", "a.tar", "-b", "other")
    assert here.ok("verify", "-b", "other", "-s", "a").startswith("a: whole: 2 commits")
    refused = [here.run(*words) for words in (["export", "b", "-o", "b.tar"], ["compact", "-s", "a"])]
    assert [done.code for done in refused] == [1, 1]
    assert not (here.folder / "b.tar").exists()


@pytest.mark.parametrize("id_", ["", "-x"])
def test_an_id_that_could_not_be_said_again_is_refused(here: Here, id_: str):
    """An empty one, and one that is taken for a flag; nothing is begun."""
    here.ok("start", "-b", "pug", "--id", "s")
    assert [here.run(verb, "-b", "pug", f"--id={id_}").code for verb in ("start", "fork")] == [2, 2]
    assert here.ok("ls", "-q") == "s\n"


def test_a_session_is_named_by_argument_or_flag(here: Here):
    """By all commands about sessions that exist. To delete one it has to be named."""
    for id_ in ("a", "b", "c"):
        here.ok("start", "-b", "pug", "--id", id_)
    assert [line.partition(":")[0] for line in here.ok("verify", "a", "-s", "b").splitlines()] == ["a", "b"]
    here.ok("use", "-s", "a")
    assert here.objects("show")[0]["session"] == "a"
    assert [here.run("use", *words).code for words in ([], ["a", "-s", "b"])] == [2, 2]
    here.ok("export", "-s", "b", "-o", "b.tar")
    assert here.ok("import", "b.tar", "-b", "other").split() == ["b"]
    assert here.run("delete", "-y").code == 2
    here.ok("delete", "-y", "-s", "b", "c")
    assert here.ok("ls", "-q") == "a\n"


def test_nothing_is_pushed_of_an_empty_stdin(here: Here):
    """Where nobody has sent anything. An empty body is said: as an argument, or by a file."""
    here.ok("start", "-b", "pug", "--id", "s")
    (here.folder / "empty").touch()
    refused = [here.run("push", *words) for words in ([], ["-"], ["--file", "-"])]
    assert [(done.code, "push ''" in done.said) for done in refused] == [(2, True)] * 3
    here.ok("push", "")
    here.ok("push", "--file", "empty")
    assert here.log()[1:] == [("push", ""), ("push", "")]


def test_the_handlers_of_a_run_are_the_run_s(here: Here):
    """Nothing is pushed into their sessions, and they are deleted with the run alone, after it."""
    bucket = Bucket(open_store(f"file:{here.folder}/pug"))
    bucket.start(session="shop", program="0" * 64, path="shop.plumb")
    for id_ in ("shop/till", "shop/back/till", "shopping"):
        here.ok("start", "-b", "pug", "--id", id_)
    refused = [here.run("push", "-s", "shop/till", "x"), here.run("delete", "-y", "shop/back/till")]
    assert [(done.code, "--session shop" in done.said) for done in refused] == [(2, True)] * 2
    told = here.run("delete", "-y", "shop").said
    deleted = [line.rpartition(" ")[2] for line in told.splitlines()]
    assert (deleted[0], sorted(deleted)) == ("shop", ["shop", "shop/back/till", "shop/till"])
    assert here.ok("ls", "-q") == "shopping\n"


def test_what_is_left_of_a_run_can_be_deleted(here: Here):
    """Whoever deleted it was stopped before he came to its handlers."""
    bucket = Bucket(open_store(f"file:{here.folder}/pug"))
    bucket.start(session="shop", program="0" * 64)
    here.ok("start", "-b", "pug", "--id", "shop/till")
    bucket.delete("shop")
    here.ok("delete", "-y", "shop/till")
    assert here.ok("ls", "-q") == ""


@pytest.mark.parametrize("time", ["0s", "5m", "x"])
def test_gc_says_from_which_time_on(here: Here, time: str):
    """Of all that is too short, and of what is none."""
    done = here.run("gc", "-b", "pug", "--older-than", time)
    assert (done.code, f"--older-than {time}: expected a time from 1h on" in done.said) == (2, True)


def test_what_nobody_names_is_removed_later(here: Here):
    """Not at once: its commit may be on its way. A dry run does nothing."""
    here.ok("start", "-b", "pug", "--id", "s")
    here.ok("push", given=b"\xff" * 70_000)
    here.ok("delete", "-y", "s")
    bodies = [path for path in (here.folder / "pug" / "blobs").rglob("*") if path.is_file()]
    assert len(bodies) == 1
    assert here.objects("gc", "-b", "pug")[0]["waiting"] == 1
    _grow_old(here.folder / "pug")
    assert here.objects("gc", "-b", "pug", "--dry-run")[0]["waiting"] == 1
    assert bodies[0].is_file()
    assert here.objects("gc", "-b", "pug")[0]["waiting"] == 1
    assert not bodies[0].exists()
    assert here.objects("gc", "-b", "pug", "--older-than", "1h")[0]["bodies"] == 0
    _grow_old(here.folder / "pug")
    assert here.objects("gc", "-b", "pug")[0]["bodies"] == 1
    assert here.run("gc", "--older-than", "soon").code == 2
    assert "expected a time from 1h on" in here.run("gc", "--older-than", "0.1").said


def _grow_old(bucket: Path) -> None:
    """Let what is noted in a bucket, and what is aside, have been there since the beginning of time."""
    for path in (*(bucket / "unused").iterdir(), *(bucket / "aside").rglob("0*")):
        if path.parent.name == "unused":
            path.write_bytes(encode(Unused(0.0, decode_unused(path.read_bytes(), "").sha256)))
        else:
            path.rename(path.with_name(f"{0:020d}"))


# --- what is wrong ----------------------------------------------------------------------------------------------------


def test_what_cannot_be_meant_is_refused(here: Here):
    """With an exit code, and a word about what to do."""
    (here.folder / "file").touch()
    cases = {
        ("push", "x"): (2, "fabric session start"),
        ("log", "-s", "nobody"): (7, "fabric session ls"),
        ("log", "-s", "a/../b"): (2, "cannot be the id"),
        ("start", "-b", "s4://x"): (2, "did you mean s3:?"),
        ("start", "-b", "memory:"): (2, "file:PATH"),
        ("start", "-b", "file"): (2, "it is a file"),
        ("start", "-b", "\udcff"): (2, "UTF-8"),
        ("start", "--id", "\udcff"): (2, "cannot be the id"),
        ("start", "--id", "../x"): (2, "cannot be the id"),
        ("start", "--metadata", "k"): (2, "NAME=VALUE"),
        ("start", "--id", "s"): (0, ""),
        ("start", "--id", "s", "--agent", "x"): (2, "choose another id"),
        ("push", "x", "--encoding", "br"): (2, "gzip or zstd"),
        ("push", "x", "--file", "file"): (2, "twice"),
        ("push", "--file", "missing\udcff"): (2, "missing\\\\udcff"),
        ("push", "x", "--key", "\udcff"): (2, "--key: expected UTF-8"),
        ("run",): (2, "run -- python handler.py"),
        ("run", "--once", "--watch", "--", "x"): (2, "one of them"),
        ("run", "--timeout", "soon", "--", "x"): (2, "--timeout soon"),
        ("run", "--control-records", "x", "--", "x"): (2, "json, empty or none"),
        ("run", "--", "/no/such/handler"): (1, "/no/such/handler"),
        ("fork", "--at", "7"): (2, "it has 0 commits"),
        ("show", "x"): (2, "SEQ.INDEX"),
        ("show", "0.0"): (7, "no entry 0.0"),
    }
    found = {words: here.run(*words) for words in cases}
    assert {
        words: (done.code, cases[words][1] if cases[words][1] in done.said else done.said)
        for words, done in found.items()
    } == cases


def test_a_bucket_that_cannot_be_written_can_be_read(here: Here):
    """What would write says what it cannot do, and where."""
    here.ok("start", "-b", "pug", "--id", "s")
    (here.folder / "pug" / ".tmp").rmdir()
    (here.folder / "pug" / ".tmp").touch()
    done = here.run("push", "x")
    assert (done.code, "cannot create" in done.said) == (1, True)
    assert here.log() == [("start", '{"event":"start"}')]


def test_a_damaged_log_is_not_read_past(here: Here):
    """The key that is damaged is named; the list of sessions still lists the others."""
    here.ok("start", "-b", "pug", "--id", "good")
    here.ok("start", "-b", "pug", "--id", "bad")
    here.ok("push", "hello")
    path = here.folder / "pug" / log_key("bad", 0)
    path.write_bytes(path.read_bytes().replace(b"hello", b"hallo"))
    done = here.run("log", "-A")
    assert (done.code, log_key("bad", 0) in done.said) == (1, True)
    listed = here.run("ls", "--json")
    assert listed.code == 1
    assert {each["id"]: each["status"] for each in map(json.loads, listed.out.splitlines())} == {
        "good": "ready", "bad": "damaged",
    }  # fmt: skip


def test_who_has_seen_enough_is_no_failure(here: Here):
    """As `| head` does."""
    here.ok("start", "--id", "s")
    here.ok("push", given=b"x\n" * 200_000)
    command = f"{sys.executable} -m fabric.cli session log -A | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=here.folder, env=here.environment, capture_output=True, timeout=60
    )
    assert (done.stdout.decode().splitlines(), done.stderr) == (["        start", "0"], b"")


def test_a_namespace_is_shared_between_sessions(here: Here):
    """What the handler of one writes under its name, that of another reads."""
    write = "import fabric.handler as session\nsession.write_text('known', name='notes/a')\nsession.pause()\n"
    read = "import fabric.handler as session\nsession.write_text(session.load_text('notes/a'))\nsession.pause()\n"
    for id_, text in (("a", write), ("b", read)):
        here.ok("start", "--id", id_)
        assert here.run("share", "notes", "--dry-run").said == f"would give {id_} the memory namespace notes\n"
        here.ok("share", "notes")
        here.ok("share", "notes")
        assert [event for event, _ in here.log()] == ["start", "memory"]
        here.ok("run", *handler(here, text))
    assert ("push", "known") in here.log()
    assert here.run("share", "a/b").code == 2
    here.ok("push", "x", "--key", "mine")
    refused = here.run("push", "x", "--key", "memory/notes")
    assert (refused.code, "choose another form" in refused.said) == (2, True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_handler_and_what_it_started(here: Here, number: signal.Signals, code: int):
    """Nothing is committed, and the session is as ready as it was."""
    here.ok("start", "--id", "s")
    pids = here.folder / "pids"
    os.mkfifo(pids)
    text = (
        "import os, subprocess, sys, time\n"
        "inner = subprocess.Popen(['sleep', '600'])\n"
        "open('pids', 'w').write(f'{os.getpid()} {inner.pid}')\n"
        "time.sleep(600)\n"
    )
    running = subprocess.Popen(
        [sys.executable, "-m", "fabric.cli", "session", "run", *handler(here, text)],
        cwd=here.folder, env=here.environment, stderr=subprocess.PIPE,
    )  # fmt: skip
    started = [int(pid) for pid in pids.read_text().split()]
    running.send_signal(number)
    _, said = running.communicate(timeout=30)
    assert (running.returncode, number.name.encode() in said) == (code, True)
    assert [pid for pid in started if alive(pid)] == []
    assert [event for event, _ in here.log()] == ["start"]


def test_a_second_signal_does_not_wait_for_the_bucket(here: Here):
    """Which is silent: a read of it never ends."""
    here.ok("start", "--id", "s", "-b", "pug")
    silent = here.folder / "pug/sessions/s/errors/00000000000000000000-000001.json"
    silent.parent.mkdir()
    os.mkfifo(silent)
    running = subprocess.Popen(
        [sys.executable, "-m", "fabric.cli", "session", "run", *handler(here)],
        cwd=here.folder, env=here.environment, stderr=subprocess.PIPE,
    )  # fmt: skip
    with silent.open("w"):  # opened by both by now
        for number in (signal.SIGINT, signal.SIGTERM):
            running.send_signal(number)
        try:
            running.communicate(timeout=30)
        finally:
            running.kill()
            running.communicate()
    assert running.returncode in (130, 143)


def test_a_watching_run_takes_what_is_pushed(here: Here):
    """Until it is told to end. Each decision is told when it is made."""
    here.ok("start", "--id", "s")
    watching = subprocess.Popen(
        [sys.executable, "-m", "fabric.cli", "session", "run", "--watch", *handler(here)],
        cwd=here.folder, env=here.environment, stderr=subprocess.PIPE,
    )  # fmt: skip
    following = subprocess.Popen(
        [sys.executable, "-m", "fabric.cli", "session", "log", "-A", "--follow"],
        cwd=here.folder, env=here.environment, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert following.stdout is not None
    here.ok("push", INPUT)
    try:
        wanted = b'{"kind": "echo", "text": "HELLO"}'
        assert any(wanted in line for line in following.stdout)
    finally:
        for process in (watching, following):
            process.send_signal(signal.SIGINT)
        _, said = watching.communicate(timeout=30)
        following.communicate(timeout=30)
    assert (watching.returncode, following.returncode) == (130, 130)
    assert b"Z  committed 1 entry\n" in said


# --- help -------------------------------------------------------------------------------------------------------------


def _helps() -> list[tuple[str, str]]:
    group: Any = get_command(make_app("session"))
    return [(name, command.help) for name, command in group.commands["session"].commands.items()]


@pytest.mark.parametrize(("name", "said"), _helps(), ids=lambda each: each if len(each) < 20 else "")
def test_each_help_ends_with_two_examples_and_the_exit_codes(name: str, said: str):
    """Of the command itself."""
    *_, examples, codes = said.strip().split("\n\n")
    assert examples.startswith("Examples: ")
    assert examples.count(f"fabric session {name}") >= 2 or (name, examples.count("fabric session")) == ("import", 2)
    assert codes.startswith("Exit codes: ")


# --- runs of programs -------------------------------------------------------------------------------------------------


ELIZA = """\
let doctor : !string -> !string = agent { provider: "eliza", model: "doctor" }

let main : !string -> !string = plumb(input, output) {
  input ; doctor ; output
}
"""


def test_a_run_of_a_program_is_a_session_too(here: Here, tmp_path_factory: pytest.TempPathFactory):
    """Its history is shown, and what belongs to handlers alone is refused with a hint."""
    (here.folder / "hello.plumb").write_text(ELIZA)
    environment = here.environment | {"XDG_RUNTIME_DIR": str(tmp_path_factory.mktemp("rt"))}
    words = ["run", "--session", "monday", "-b", "pug", "hello.plumb"]
    done = run_command(words, here.folder, environment, b'"I feel sad"\n')
    assert (done.code, done.out.count("\n")) == (0, 1), done
    lines = here.ok("log", "-A", "-b", "pug", "-s", "monday").splitlines()
    assert any(" input     input  ticket=1  " in line and line.endswith('"I feel sad"') for line in lines)
    assert any(" turn      doctor  message=" in line and done.out.strip() in line for line in lines)
    assert here.objects("ls", "-b", "pug")[0]["status"] == "ended"
    assert here.ok("verify", "monday", "-b", "pug").startswith("monday: whole: ")
    for words in (["push", "x"], ["wake"], ["run", "--", "true"]):
        refused = here.run(words[0], "-b", "pug", "-s", "monday", *words[1:])
        assert (refused.code, "--session monday" in refused.said) == (2, True)
