"""Batches that are killed and go on; what a journal keeps, and what it refuses."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fabric.errors import ConfigError
from fabric.pipelines.asking.clients import register_provider
from fabric.pipelines.batch import BatchRunner
from fabric.pipelines.batches.journal import VERSION, Journal, _Line, open_journal
from fabric.pipelines.errors import SchemaValidationError
from fabric.pipelines.results import RunContext

SCRIPT = Path(__file__).parents[1] / "support/batch_script.py"

MIXED = """
models:
  m: {provider: mock, model: mm, mock_responses: ['{"a": 1}', '{"a": "no"}']}
steps:
  - {name: t, type: transform, fn: "counted_items:note", inputs: {path: "{{ ctx.path }}", n: "{{ ctx.n }}"}}
  - {name: x, model: m, prompt: p.j2, schema: {a: int}, on_error: continue}
  - {name: skip, type: transform, fn: "counted_items:refuse", inputs: {n: 1}, condition: "False"}
  - {name: y, model: m, prompt: p.j2, schema: {a: int}, max_attempts: 2, condition: "ctx.n == 2"}
"""


def written(path: Path, text: str = MIXED) -> Path:
    (path / "p.j2").write_text("hi")
    file = path / "pipeline.yaml"
    file.write_text(text)
    return file


def items(path: Path, count: int) -> list[dict[str, Any]]:
    return [{"id": n, "n": n, "path": str(path / "notes")} for n in range(count)]


def notes(path: Path) -> Counter[int]:
    file = path / "notes"
    return Counter(map(int, file.read_text().split())) if file.exists() else Counter()


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Let no file of this process become larger: a write is cut short there, as on a full disk."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))


def shown(context: RunContext) -> tuple[str, ...]:
    """All of a run: exceptions by class and text."""
    failure = context.failure_state
    why = "" if failure is None else f"{failure.step_name} {type(failure.exception).__name__} {failure.exception}"
    return repr(context.steps), repr(context.metadata), repr(context.input), repr(context.summary()), why


@pytest.mark.processes
def test_a_killed_batch_goes_on(tmp_path: Path) -> None:
    """kill -9 in the middle: items whose results were handed over are not run again, and all have a result."""
    file = written(
        tmp_path,
        """
steps:
  - name: s
    type: transform
    fn: "counted_items:note_until"
    inputs: {path: "{{ ctx.path }}", n: "{{ ctx.id }}", stop: "{{ ctx.stop }}"}
""",
    )
    journal = tmp_path / "journal"
    command = [sys.executable, str(SCRIPT), str(file), str(journal), str(tmp_path / "notes"), "60", "30"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = [int(process.stdout.readline()) for _ in range(30)]
        process.send_signal(signal.SIGKILL)  # four others are in the middle of their function
    assert process.returncode == -signal.SIGKILL
    assert sorted(seen) == list(range(30))
    with journal.open("ab") as torn:
        torn.write(b'{"item":"0123')
    (tmp_path / "go").touch()
    again = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=120)
    assert sorted(map(int, again.stdout.split())) == list(range(60))
    assert notes(tmp_path) == Counter(range(60))


def test_what_comes_from_the_journal_is_what_it_was(tmp_path: Path) -> None:
    """Models, attempts, failures with their class, skipped steps, numbers: nothing is another one."""
    file, journal = written(tmp_path), tmp_path / "journal"
    first = {item_id: shown(context) for item_id, context in BatchRunner(file, journal=journal).run(items(tmp_path, 4))}
    again = dict(BatchRunner(file, journal=journal).run(items(tmp_path, 4), resume=True))
    assert {item_id: shown(context) for item_id, context in again.items()} == first
    assert notes(tmp_path) == Counter(range(4))
    failure = again[2].failure_state
    assert failure is not None
    assert isinstance(failure.exception, SchemaValidationError)
    assert type(again[0].steps["x"].value).__name__ == "XSchema"
    assert again[2].summary().llm_calls == 3


def test_items_may_be_put_in_another_order_and_added(tmp_path: Path) -> None:
    """They are known by what they say; the same item twice is two items."""
    file, journal = written(tmp_path), tmp_path / "journal"
    three = items(tmp_path, 3)
    BatchRunner(file, journal=journal).run_all([three[0], three[1], three[1]])
    result = BatchRunner(file, journal=journal).run_all([three[2], three[1], three[1], three[1], three[0]], resume=True)
    assert len(result) == 5
    assert notes(tmp_path) == Counter({0: 1, 1: 3, 2: 1})


def test_hooks_are_told_once(tmp_path: Path) -> None:
    """Those that were told before the batch was stopped are not told again; those that were not, are."""
    file, journal = written(tmp_path), tmp_path / "journal"
    told: list[int] = []
    for count in (2, 4):
        batch = BatchRunner(file, max_workers=1, journal=journal)
        batch.on_batch_item_end(lambda item_id, context: told.append(item_id))
        results = batch.run(items(tmp_path, 4), resume=True)
        for _ in range(count):
            next(results)
        results.close()
    assert told == [0, 1, 2, 3]


class Held:
    """A server that answers one request when the connection of another one has gone."""

    def __init__(self) -> None:
        self.both = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(60.0)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        with self._socket:
            by_path = {}
            for _ in range(2):
                connection = self._socket.accept()[0]
                connection.settimeout(60.0)
                by_path[connection.recv(65_536).split()[1]] = connection
        self.both.set()
        assert by_path[b"/3"].recv(1) == b""
        by_path[b"/2"].sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n5")
        for connection in by_path.values():
            connection.close()


def test_an_item_with_effects_is_run_to_its_end(tmp_path: Path) -> None:
    """A batch that is closed early cancels what had none, and waits for what had: it is in the journal."""
    file = written(
        tmp_path,
        """
steps:
  - name: effect
    type: io
    fn: "counted_items:note"
    inputs: {path: "{{ ctx.path }}", n: "{{ ctx.n }}"}
    condition: "ctx.n == 2"
  - {name: wait, type: http, url: "{{ ctx.url }}/{{ ctx.n }}", condition: "ctx.n > 1"}
""",
    )
    server, journal = Held(), tmp_path / "journal"
    server.thread.start()
    given = [{**item, "url": server.url} for item in items(tmp_path, 4)[1:]]
    results = BatchRunner(file, max_workers=3, journal=journal).run(given)
    assert next(results)[0] == 1
    assert server.both.wait(60.0)  # 2 has had its effect, and 3 has none
    results.close()
    server.thread.join()
    again = dict(BatchRunner(file, journal=journal).run(given[:2], resume=True))
    assert again[2].steps["wait"].value == 5
    assert notes(tmp_path) == Counter([2])
    assert len(journal.read_text().splitlines()) == 4  # the head, two items, and that vocabularies have grown


def test_a_journal_is_not_overwritten(tmp_path: Path) -> None:
    """Who does not say resume has taken the wrong file; who says it has no file yet begins one."""
    file, journal = written(tmp_path), tmp_path / "journal"
    BatchRunner(file, journal=journal).run_all(items(tmp_path, 2), resume=True)
    with pytest.raises(ConfigError, match=r"has 2 items that were run; resume=True"):
        BatchRunner(file, journal=journal).run_all(items(tmp_path, 2))
    with pytest.raises(ConfigError, match="needs a journal"):
        BatchRunner(file).run_all(items(tmp_path, 2), resume=True)


def test_a_journal_has_one_batch(tmp_path: Path) -> None:
    """A second one at the same time is refused; behind it, it is welcome."""
    file, journal = written(tmp_path), tmp_path / "journal"
    results = BatchRunner(file, journal=journal).run(items(tmp_path, 2))
    next(results)
    with pytest.raises(ConfigError, match="in use by another batch"):
        BatchRunner(file, journal=journal).run_all([], resume=True)
    results.close()
    assert len(BatchRunner(file, journal=journal).run_all([], resume=True)) == 0


def test_other_options_and_other_files_are_refused(tmp_path: Path) -> None:
    """Results of a dry run are none of a run; what is no journal is not written to."""
    file, journal = written(tmp_path), tmp_path / "journal"
    BatchRunner(file, journal=journal).run_all(items(tmp_path, 1), dry_run=True)
    with pytest.raises(ConfigError, match="other options"):
        BatchRunner(file, journal=journal).run_all(items(tmp_path, 1), resume=True)
    for text in ("a,b\n", '{"some": "thing"}\n', '[{"id": 1}]', '{"journal":2,"pipeline":"', "no final newline"):
        (tmp_path / "other").write_text(text)
        for resume in (True, False):
            with pytest.raises(ConfigError, match="other is no journal of a batch"):
                BatchRunner(file, journal=tmp_path / "other").run_all(items(tmp_path, 1), resume=resume)
            assert (tmp_path / "other").read_text() == text


def test_keys_are_not_in_the_journal(tmp_path: Path) -> None:
    """Neither those of the environment nor those that override a model."""
    file, journal = written(tmp_path), tmp_path / "journal"
    overrides = {"m": {"api_key": "sk-hunter2"}}
    BatchRunner(file, journal=journal).run_all(items(tmp_path, 1), model_overrides=overrides)
    assert "hunter2" not in journal.read_text()


class _Leaky:
    """A model that says its key in all that it can say."""

    def __init__(self, api_key: str) -> None:
        self.key, self.chat, self.completions = api_key, self, self

    def create(self, messages: list[dict[str, str]], **_: Any) -> Any:
        if "judge" in messages[-1]["content"]:
            raise PermissionError(f"no key of ours: {self.key}")
        said = SimpleNamespace(message=SimpleNamespace(content=json.dumps({"k": self.key})))
        return SimpleNamespace(choices=[said], usage=None)


register_provider("test-leaky", concurrent=True)(lambda api_key: _Leaky(api_key))

LEAKY = """
models:
  named: {provider: test-leaky, model: x, api_key: "${LEAKY_TOKEN}"}
  literal: {provider: test-leaky, model: x, api_key: literal-key-1}
steps:
  - {name: a, model: named, prompt: p.j2, schema: {k: {type: str, vocab: {terms: [aa]}}}}
  - {name: b, model: literal, prompt: p.j2, schema: {k: {type: str, vocab: {terms: [aa]}}}}
  - name: judged
    type: ensemble
    prompt: p.j2
    schema: {k: str}
    members: [{model: named, name: one}, {model: literal, name: two}]
    judge: {model: named, prompt: judge.j2}
  - {name: c, model: literal, prompt: judge.j2}
"""


@pytest.mark.parametrize("overridden", [True, False])
def test_whatever_has_a_key_in_it_is_kept_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overridden: bool
) -> None:
    """Values, attempts, suggestions, warnings, failures: and all come back with it."""
    monkeypatch.setenv("LEAKY_TOKEN", "named-key-123")
    (tmp_path / "judge.j2").write_text("judge")
    file, journal = written(tmp_path, LEAKY), tmp_path / "journal"
    overrides = {"literal": {"api_key": "overriding-key"}} if overridden else {}
    keys = ["named-key-123", "overriding-key" if overridden else "literal-key-1"]
    ((_, first),) = BatchRunner(file, journal=journal).run_all([{"id": 1}], model_overrides=overrides)
    assert first.steps["b"].value.k == keys[1]
    assert first.failure_state is not None
    assert str(first.failure_state.exception).endswith(keys[1])
    assert [each.raw_value for each in first.summary().vocab_suggestions] == keys
    assert any(keys[0] in warning for warning in first.summary().validation_warnings)
    assert not [key for key in keys if key in journal.read_text()]
    ((_, again),) = BatchRunner(file, journal=journal).run_all([{"id": 1}], model_overrides=overrides, resume=True)
    assert shown(again) == shown(first)


ODD = """
class NoText(Exception):
    def __str__(self): raise RuntimeError("no text")

class NoParts(Exception):
    def __reduce__(self): raise TypeError("no parts")

class Thing:
    def __str__(self): raise RuntimeError("no text")
    __repr__ = __str__

class Within(Exception):
    def __init__(self):
        super().__init__("within")
        self.me = self

class Fields(Exception):
    @property
    def __dict__(self): raise RuntimeError("no fields")

def ring():
    ring = []
    ring.append(ring)
    return ring

def deep():
    value = 1
    for _ in range(150):
        value = [value]
    return value

def odd(kind):
    made = {"thing": Thing, "ring": ring, "deep": deep, "key": lambda: {Thing(): 1}, "plain": lambda: 1}
    if kind in made:
        return made[kind]()
    raise {"text": NoText, "parts": NoParts, "within": Within, "fields": Fields}[kind]()
"""


@pytest.mark.parametrize("kept", [True, False])
def test_an_odd_item_does_not_end_the_batch(tmp_path: Path, kept: bool) -> None:
    """Whatever its values and exceptions raise when they are read, the others are run; and when it goes on, too."""
    (tmp_path / "odd.py").write_text(ODD)
    file = written(tmp_path, 'steps: [{name: s, type: transform, fn: "odd:odd", inputs: {kind: "{{ ctx.id }}"}}]')
    kinds = ["thing", "ring", "deep", "key", "plain", "text", "parts", "within", "fields"]
    for resume in (False, kept):
        batch = BatchRunner(file, max_workers=1, journal=tmp_path / "journal" if kept else None)
        contexts = dict(batch.run([{"id": kind} for kind in kinds], resume=resume))
        assert [contexts[kind].failed for kind in kinds] == [False] * 5 + [True] * 4
        assert contexts["plain"].steps["s"].value == 1


def test_a_pipeline_that_was_changed_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Items that were run keep what they left."""
    file, journal = written(tmp_path), tmp_path / "journal"
    BatchRunner(file, journal=journal).run_all(items(tmp_path, 1))
    file.write_text(MIXED + "# a remark\n")
    BatchRunner(file, journal=journal).run_all(items(tmp_path, 1), resume=True)
    assert "the pipeline has been changed since" in caplog.text
    assert notes(tmp_path) == Counter([0])


def test_a_torn_line_is_cut_and_a_damaged_one_is_not_read(tmp_path: Path) -> None:
    """Only the last line can be torn; its item is run again."""
    file, journal = written(tmp_path), tmp_path / "journal"
    BatchRunner(file, max_workers=1, journal=journal).run_all(items(tmp_path, 2))
    lines = journal.read_bytes().splitlines(keepends=True)
    assert [next(iter(json.loads(line))) for line in lines] == ["journal", "item", "item", "grown"]
    for cut in (0, 1, len(lines[0]) // 2, len(lines[0]) - 1):  # of the head: nothing was run yet
        journal.write_bytes(lines[0][:cut])
        assert len(BatchRunner(file, journal=journal).run_all([])) == 0
        assert journal.read_bytes().splitlines(keepends=True)[0] == lines[0]
    for cut in (1, len(lines[2]) // 2, len(lines[2]) - 1):
        before = notes(tmp_path)
        journal.write_bytes(b"".join(lines[:2]) + lines[2][:cut])
        BatchRunner(file, journal=journal).run_all(items(tmp_path, 2), resume=True)
        assert notes(tmp_path) - before == Counter([1])
    journal.write_bytes(b"".join([lines[0], lines[1][:20], b"\n", lines[2]]))
    with pytest.raises(ConfigError, match="damaged at line 2"):
        BatchRunner(file, journal=journal).run_all([], resume=True)


KEYS = [f"{n:032x}:1" for n in range(3)]


def test_a_line_that_the_disk_cuts_short_is_taken_back(tmp_path: Path) -> None:
    """The lines of others stand behind what was whole, and all of them can be read again."""
    file, path = written(tmp_path), tmp_path / "journal"
    journal = open_journal(path, file, {}, resume=False)
    journal.write(KEYS[0], {"some": "thing"})
    whole = path.read_bytes()
    with files_end_at(len(whole) + 20), pytest.raises(ConfigError, match=r"cannot write .*: File too large"):
        journal.write(KEYS[1], {"other": "thing"})
    assert path.read_bytes() == whole
    journal.write(KEYS[2], {"last": "thing"})
    journal.close()
    again = open_journal(path, file, {}, resume=True)
    assert [key in again for key in KEYS] == [True, False, True]
    assert again.run_of(KEYS[2]) == {"last": "thing"}
    again.close()


def test_nothing_is_written_behind_half_a_line(tmp_path: Path) -> None:
    """Where a line can neither be written nor taken back, the next ones are refused."""
    path, head = tmp_path / "journal", os.open(tmp_path / "journal", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    journal = Journal(path, head, _Line(VERSION), resume=False)
    real, full = os.dup(head), os.open("/dev/full", os.O_RDWR)
    os.dup2(full, head)  # it can be neither written nor cut
    with pytest.raises(ConfigError, match="cannot write the journal"):
        journal.write(KEYS[0], {})
    os.dup2(real, head)
    with pytest.raises(ConfigError, match="ends with half a line"):
        journal.write(KEYS[1], {})
    assert KEYS[0] not in journal
    for handle in (head, real, full):
        os.close(handle)


def test_growth_that_was_not_seen_to_end_is_done_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And said: the terms are there once, and what waits for a person was seen too often. What has ended is not."""
    (tmp_path / "vocabularies").mkdir()
    for policy in ("auto", "human"):
        head = f"known: [PET]\nlabel: {policy}\ngrowth_policy: {policy}\npersist: true\n"
        (tmp_path / f"vocabularies/{policy}.yaml").write_text(head)
    text = """
models: {m: {provider: mock, model: mm, response: '{"a": "novel-a", "h": "novel-h"}'}}
steps:
  - {name: s, model: m, prompt: p.j2, schema: {a: {type: str, vocab: auto}, h: {type: str, vocab: human}}}
"""
    file, journal = written(tmp_path, text), tmp_path / "journal"
    BatchRunner(file, journal=journal).run_all(items(tmp_path, 1))
    lines = journal.read_bytes().splitlines(keepends=True)
    assert [next(iter(json.loads(line))) for line in lines] == ["journal", "item", "growing", "grown"]
    BatchRunner(file, journal=journal).run_all(items(tmp_path, 1), resume=True)
    assert "may do so twice" not in caplog.text
    assert "seen: 1" in (tmp_path / "vocabularies/human.yaml").read_text()
    journal.write_bytes(b"".join(lines[:3]))  # killed behind the growth
    for _ in range(2):
        BatchRunner(file, journal=journal).run_all(items(tmp_path, 1), resume=True)
        assert caplog.text.count("a process died while vocabularies grew: they may do so twice") == 1
        assert (tmp_path / "vocabularies/auto.yaml").read_text().count("novel-a") == 1
        assert "seen: 2" in (tmp_path / "vocabularies/human.yaml").read_text()


def test_items_of_a_journal_are_json(tmp_path: Path) -> None:
    """Otherwise nobody could know them again."""
    batch = BatchRunner(written(tmp_path), journal=tmp_path / "journal")
    with pytest.raises(ConfigError, match="item 'odd' cannot be kept in a journal"):
        batch.run_all([{"id": "odd", "n": object()}])


@pytest.mark.parametrize(
    ("name", "before", "now"),
    [
        ("p.j2", "hi", "ho"),
        ("part.j2", "one", "two"),
        ("own.py", "def f(): return 1", "def f(): return 2"),
    ],
)
def test_templates_and_modules_that_were_changed_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, before: str, now: str
) -> None:
    """Also what a template includes; an item that is new is run with them, those of before were not."""
    texts = {"p.j2": "hi {% include 'part.j2' %}", "part.j2": "one", "own.py": "def f(): return 1"}
    for each, text in texts.items():
        (tmp_path / each).write_text(text)
    steps = "steps:\n  - {name: t, type: transform, fn: 'own:f'}\n  - {name: x, model: m, prompt: p.j2}\n"
    file = tmp_path / "pipeline.yaml"
    file.write_text(MIXED.partition("steps:")[0] + steps)
    journal = tmp_path / "journal"
    BatchRunner(file, journal=journal).run_all([{"id": 1}])
    BatchRunner(file, journal=journal).run_all([{"id": 1}], resume=True)
    assert "changed" not in caplog.text
    (tmp_path / name).write_text(texts[name].replace(before, now))
    BatchRunner(file, journal=journal).run_all([{"id": 1}], resume=True)
    changed = "p.j2" if name == "part.j2" else name
    assert f"the pipeline has been changed since: {changed}; " in caplog.text


FLAKY = """
from pathlib import Path

def f(n, folder):
    with (Path(folder) / "ran").open("a") as file:
        file.write(f"{n} ")
    if n and not (Path(folder) / "mended").exists():
        raise OSError(f"no {n}")
    return n
"""


def test_items_that_have_failed_are_run_again_if_that_is_wanted(tmp_path: Path) -> None:
    """The others are not; hooks hear of the new results, and the journal has them from then on."""
    text = "steps:\n  - {name: t, type: io, fn: 'flaky:f', inputs: {n: '{{ ctx.n }}', folder: '{{ ctx.folder }}'}}\n"
    file, journal, heard = written(tmp_path, text), tmp_path / "journal", []
    (tmp_path / "flaky.py").write_text(FLAKY)
    given = [{"id": n, "n": n, "folder": str(tmp_path)} for n in range(3)]

    def failures(**options: bool) -> list[int]:
        batch = BatchRunner(file, max_workers=1, journal=journal)
        batch.on_batch_item_end(lambda item_id, context: heard.append((item_id, context.failed)))
        return batch.run_all(given, **options).summary().failed_ids

    assert failures() == [1, 2]
    assert failures(resume=True) == [1, 2]
    assert (tmp_path / "ran").read_text() == "0 1 2 "
    (tmp_path / "mended").write_text("")
    heard.clear()
    assert failures(resume=True, retry_failed=True) == []
    assert (tmp_path / "ran").read_text() == "0 1 2 1 2 "
    assert heard == [(1, False), (2, False)]
    assert failures(resume=True, retry_failed=True) == failures(resume=True) == []
    assert (tmp_path / "ran").read_text() == "0 1 2 1 2 "
    assert heard == [(1, False), (2, False)]
    with pytest.raises(ConfigError, match="resume=True"):
        failures(retry_failed=True)


@pytest.mark.parametrize("kind", ["device", "pipe"])
def test_a_journal_is_a_file_that_can_be_read_again(tmp_path: Path, kind: str) -> None:
    """Of a device or a pipe there is no end, or nobody who reads."""
    path = Path("/dev/full")
    if kind == "pipe":
        path = tmp_path / "pipe"
        os.mkfifo(path)
    with pytest.raises(ConfigError, match="no file that can be read again"):
        BatchRunner(written(tmp_path), journal=path).run_all([{"id": 1}])
