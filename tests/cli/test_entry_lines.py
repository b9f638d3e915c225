"""How entries of a log are shown."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.cli.entry_lines import Row, escape, is_text, render_row, row_fields, say_size
from fabric.session.history import (
    Answer,
    Buried,
    Called,
    Emitted,
    Entered,
    Finished,
    History,
    Intended,
    Remembered,
    Said,
    Turn,
    encode_history,
)
from fabric.store.record import Entry, entry_of
from fabric.store.replay import Placed, child_id

RAW = msgspec.Raw(b'"x"')


def row(entry: Entry, body: bytes | None = None, *, of_run: bool = False, **fields: Any) -> Row:
    return Row(Placed("s", 3, 0, entry, at=7.0, **fields), body, of_run)


def test_a_body_stands_on_the_line_of_its_entry():
    """If it is asked for; else its size does."""
    entry = entry_of("push", b'{"a":1}\n', content_type="application/json", name="plan")
    assert render_row(row(entry)) == ["3.0     push    plan  application/json  8 bytes"]
    assert render_row(row(entry, b'{"a":1}\n')) == ['3.0     push    plan  application/json  {"a":1}']


def test_a_body_of_several_lines_stands_below():
    """Indented, with nothing of it left out."""
    entry = entry_of("push", b"# T\n\n\tx", name="doc", metadata={"k": "v", "n": 1})
    assert render_row(row(entry, b"# T\n\n\tx")) == [
        "3.0     push    doc  k=v n=1",
        "        # T",
        "",
        "        \tx",
    ]
    assert render_row(row(entry, b"y" * 500))[1] == " " * 8 + "y" * 500


def test_a_binary_body_is_abbreviated():
    """What it begins with tells many formats."""
    assert render_row(row(Entry("push"), bytes(range(20))))[0].endswith(
        "push    20 bytes: 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f …"
    )
    assert render_row(row(Entry("push"), b"\xff"))[0].endswith("1 byte: ff")
    assert render_row(row(Entry("push"), b""))[0].endswith("push    empty")


def test_what_has_no_body_for_people_shows_none():
    """start, fork and wake are only that; a pause has its reason, a sleep its time."""
    body = b'{"event":"start"}'
    for event in ("start", "fork", "wake"):
        entry = entry_of(event, body, content_type="application/json")
        assert render_row(row(entry, body, derived=True)) == [f"        {event}"]
    pause = entry_of("pause", b"rate limited", metadata={"duration": "90.25s"})
    assert render_row(row(pause)) == ["3.0     pause   for 90.25s  rate limited"]


def test_what_leads_elsewhere_says_where():
    """To a child, to another session, or from a parent."""
    entry = entry_of("push", b"", name="task", fork=True)
    assert render_row(row(entry)) == [f"3.0     push    task  → child {child_id('s', 3, 0)}  empty"]
    assert render_row(row(Entry("push", session="other")))[0].endswith("→ session other  empty")
    assert render_row(row(Entry("push"), inherited=True))[0].endswith("(of s)  empty")


@pytest.mark.parametrize(
    ("history", "line", "shown"),
    [
        (Entered("question", RAW, 1, "k1"), "input     question  ticket=1  key=k1", ['"x"']),
        (
            Turn("composer", "ab12", (Answer("output", RAW), Answer("side", RAW, "9f"))),
            "turn      composer  message=ab12  2 outputs",
            ['output: "x"', 'side: "x"'],
        ),
        (Turn("pair", "ab12", worker="pair#2", declined="no"), "turn      pair  pair#2  message=ab12  declined=no", []),
        (Said("composer", Answer("ctrl_out", RAW)), "said      composer", ['ctrl_out: "x"']),
        (Remembered("composer", RAW), "memory    composer", ['"x"']),
        (
            Intended("critic", "ab12", msgspec.Raw(b"7"), "mail", RAW),
            "intent    critic  message=ab12  call=7  tool=mail",
            ['"x"'],
        ),
        (Called("critic", "ab12", RAW, RAW), "result    critic  message=ab12  call=x", ['"x"']),
        (
            Buried("critic", "ab12", "poison", "it died"),
            "dead      critic  message=ab12  cause=poison  detail=it died",
            [],
        ),
        (Emitted(1), "emitted   count=1", []),
        (Finished(0), "finished  exit_code=0", []),
    ],
)
def test_an_entry_of_a_run_says_what_happened(history: History, line: str, shown: list[str]):
    """Who, what and with which message; contents only if they are asked for."""
    body = encode_history(history)
    entry = entry_of(msgspec.json.decode(body)["event"], body)
    assert render_row(row(entry, of_run=True)) == [f"3.0     {line}" + "  0 outputs" * ("declined" in line)]
    lines = render_row(row(entry, body, of_run=True))
    if len(shown) == 2:
        assert lines == ["3.0     turn      composer  message=ab12", *(f"{' ' * 8}{each}" for each in shown)]
    else:
        assert lines == ["  ".join([f"3.0     {line}", *shown])]


def test_an_entry_of_a_run_that_is_of_a_newer_version_is_shown_as_it_is():
    """With its fields; what is not here has a size at least."""
    assert render_row(row(entry_of("surprise", b'{"event":"surprise","n":[1]}'), of_run=True)) == [
        "3.0     surprise  n=[1]"
    ]
    assert render_row(row(entry_of("turn", b"x" * 40_000), of_run=True)) == ["3.0     turn      40.0 kB"]


def test_for_programs_a_body_is_text_or_base64():
    """Whole, and only if it is asked for."""
    entry = entry_of("push", b"\xff", content_type="image/x", metadata={"k": "v"})
    shown: dict[str, Any] = {"v": 1, "session": "s", "seq": 3, "index": 0, "event": "push", "at": 7.0, "by": "client"}
    shown |= {"content_type": "image/x", "metadata": {"k": "v"}, "size": 1, "sha256": entry.sha256}
    assert row_fields(row(entry, kind="client")) == shown
    assert row_fields(row(entry, b"\xff", kind="client")) == shown | {"base64": "/w=="}
    assert row_fields(row(entry, b"hi", kind="client")) == shown | {"text": "hi"}
    derived = {"v": 1, "session": "s", "event": "start", "at": 7.0, "by": "system", "derived": True, "size": 0}
    assert row_fields(row(Entry("start"), derived=True)) == derived


@given(st.text())
def test_nothing_that_is_shown_moves_a_cursor(text: str):
    """Whatever it is, a line stays one line of printable characters."""
    assert escape(text).isprintable()
    assert is_text(text.encode(errors="replace")) is None or "\0" not in text
    entry = Entry("push", text, text, text, metadata={text: text}, session=text)
    assert all(line.replace("\t", "").isprintable() for line in render_row(row(entry, text.encode(errors="replace"))))
    assert all(line.isprintable() for line in render_row(row(entry_of("pause", text.encode(errors="replace")))))


@pytest.mark.parametrize(
    ("size", "said"),
    [(0, "0 bytes"), (1, "1 byte"), (9_999, "9999 bytes"), (33_333, "33.3 kB"), (25 * 10**6, "25.0 MB")],
)
def test_a_size_is_said_in_few_figures(size: int, said: str):
    """Exactly while it is small."""
    assert say_size(size) == said
