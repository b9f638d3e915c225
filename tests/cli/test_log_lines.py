"""How a line of a log is printed."""

from __future__ import annotations

import pytest

from fabric.cli.log_lines import PALETTE, LogLines, color_of, readable
from fabric.runtime.log_files import note_entry, worker_entry
from fabric.session.events import Note

TS = "2026-11-21T11:00:00.000000Z"
SAID = worker_entry(TS, "critic", "hello")
NOTE = note_entry(TS, Note("info", "worker.exited", {"worker": "critic", "status": 0, "state": "DRAINED"}))
OWN = note_entry(TS, Note("info", "fabric.ready", {}))


def test_names_are_aligned():
    """The coordinator's, too."""
    lines = LogLines.of(["critic", "a"])
    assert [lines.render(entry) for entry in (SAID, NOTE, OWN, worker_entry(TS, "a", ""))] == [
        "critic | hello",
        "critic | worker.exited status=0 state=DRAINED",
        "fabric | fabric.ready",
        "a      | ",
    ]


def test_prefix_and_time_are_a_choice():
    """Either, both, none."""
    assert LogLines(6, prefix=False).render(SAID) == "hello"
    assert LogLines(6, timestamps=True).render(SAID) == f"{TS} critic | hello"
    assert LogLines(6, timestamps=True, prefix=False).render(SAID) == f"{TS} hello"


def test_a_color_belongs_to_a_name():
    """The same in every run, whoever else is there; eight of them, and all are used."""
    assert LogLines(6, color=True).render(SAID) == f"\x1b[{color_of('critic')}mcritic |\x1b[0m hello"
    assert (color_of("critic"), color_of("composer"), color_of("fabric")) == (33, 36, 35)
    assert {color_of(f"worker{number}") for number in range(100)} == set(PALETTE)


def test_in_json_an_entry_is_its_object():
    """What a worker wrote as an object stays as it is when `up` prints it, and is a line in `logs`."""
    lines = LogLines(json=True, color=True, timestamps=True)
    structured = worker_entry(TS, "critic", '{"log": "info", "event": "llm.retried"}')
    assert lines.render_live(SAID) == lines.render(SAID) == f'{{"ts":"{TS}","worker":"critic","line":"hello"}}'
    assert lines.render_live(structured) == '{"log": "info", "event": "llm.retried"}'
    assert lines.render(structured) == structured.raw.decode()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("text", "text"),
        ('{"log":"info","event":"llm.retried","attempt":2,"why":"busy now"}', "llm.retried attempt=2 why=busy now"),
        ('{"log":"warning","event":"x.y","a":[1,{"b":null}]}', 'warning: x.y a=[1,{"b":null}]'),
        ('{"ts":"2026","log":"error","event":"x.y"}', "error: x.y"),
        ('{"error":"no key","code":"bad_config"}', "error: no key code=bad_config"),
        ('{"event":"x"}', '{"event":"x"}'),
        ('{"log":"info","event":1}', '{"log":"info","event":1}'),
        ("{broken", "{broken"),
        ("{}", "{}"),
    ],
)
def test_log_objects_are_put_into_words(line: str, expected: str):
    """Other JSON is left alone."""
    assert readable(line) == expected


def test_every_line_of_a_text_has_its_prefix():
    """An event may say several lines."""
    entry = worker_entry(TS, "critic", '{"error":"one\\ntwo","code":"x"}')
    assert LogLines(6).render(entry) == "critic | error: one\ncritic | two code=x"


def test_what_is_waited_for_is_a_sentence():
    """In JSON it stays an object."""
    waiting = note_entry(TS, Note("warning", "session.waiting", {"idle_s": 10.0, "reason": "worker 'a' is paused"}))
    assert LogLines(6).render(waiting) == "fabric | idle 10 s: worker 'a' is paused"
    assert LogLines(6, json=True).render(waiting).endswith('"idle_s":10.0,"reason":"worker \'a\' is paused"}')
