"""How the work of agents is told in a chat."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.cli.chat_lines import ARGUMENTS_MAX, PALETTE, SAID_MAX, Telling, printable
from fabric.session.events import DeadLetter, Heard, Note, Refuse


def told(agent: str, telling: Telling | None = None, **event: Any) -> list[str]:
    telling = telling or Telling(color=False, thinking=False)
    return telling.heard(Heard("telemetry", agent, json.dumps(event).encode()))


def letter(said: str) -> DeadLetter:
    error = json.dumps({"error": said, "code": "model_refused"})
    return DeadLetter("bot", b'"x"', "poison", "bot exited with status 1", 1, (error,), bytes(16), (1,))


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ({"prompt_tokens": 12, "completion_tokens": 3}, "12 in / 3 out"),
        (
            {"prompt_tokens": 12, "completion_tokens": 3, "cache_read_tokens": 0, "cache_creation_tokens": 0},
            "12 in / 3 out",
        ),
        (
            {"prompt_tokens": 12, "completion_tokens": 3, "cache_read_tokens": 8, "cache_creation_tokens": 2},
            "12 in / 3 out (cache: 8 read, 2 create)",
        ),
        (
            {"prompt_tokens": 12, "completion_tokens": 3, "cache_creation_tokens": 2},
            "12 in / 3 out (cache: 0 read, 2 create)",
        ),
    ],
)
def test_tokens_in_and_out_and_those_of_a_cache_if_there_is_one(event: dict[str, int], line: str):
    """One line for each call of a model."""
    assert told("bot", kind="usage", **event) == [f"[bot] {line}"]


def test_a_call_of_a_tool_with_its_arguments_and_what_came_of_it():
    """On one line, whatever it was; a failure has another sign."""
    call = {"kind": "tool_call", "id": "1", "name": "read", "arguments": '{"path":\n "a.md"}'}
    assert told("bot", **call, summary="ok", is_error=False) == ['[bot] read({"path": "a.md"}) → ok']
    assert told("bot", **call, summary="no such\nfile", is_error=True) == [
        '[bot] read({"path": "a.md"}) ✘ no such file'
    ]


def test_long_arguments_and_long_words_are_cut_and_it_is_said_by_how_much():
    """A terminal is for reading."""
    (line,) = told("bot", kind="tool_call", name="write", arguments="a" * (ARGUMENTS_MAX + 7), summary="ok")
    assert line == f"[bot] write({'a' * ARGUMENTS_MAX}… (7 more)) → ok"
    (line,) = told("bot", kind="output", content="b" * (SAID_MAX + 1))
    assert line == f"[bot] {'b' * SAID_MAX}… (1 more)"


def test_thoughts_are_told_on_request():
    """Each line of them behind the name."""
    event = {"kind": "thinking", "thinking": "first\nthen", "signature": "x"}
    assert told("bot", **event) == []
    assert told("bot", Telling(color=False, thinking=True), **event) == ["[bot] first", "[bot] then"]


def test_what_an_agent_says_to_others_is_told_and_what_it_says_to_the_user_is_not():
    """That is printed anyway. What is no text is told as JSON."""
    telling = Telling(color=False, thinking=False, answering=frozenset({"last"}))
    assert told("first", telling, kind="output", content="hm") == ["[first] hm"]
    assert told("first", telling, kind="output", content={"mark": 3}) == ['[first] {"mark":3}']
    assert told("last", telling, kind="output", content="hm") == []


def test_colors_are_given_in_the_order_of_appearance_and_come_around():
    """An agent keeps its own."""
    telling = Telling(color=True, thinking=False)
    names = [f"a{number}" for number in range(len(PALETTE) + 1)]
    first = [told(name, telling, kind="output", content="x")[0] for name in names]
    assert first == [f"\x1b[{color}m[{name}]\x1b[0m x" for name, color in zip(names, (*PALETTE, 36), strict=True)]
    assert told("a1", telling, kind="output", content="x") == [first[1]]


@pytest.mark.parametrize("payload", [b"", b"{", b"1", b"{}", b'{"kind":3}', b'{"kind":"tool_call"}', b'{"kind":"new"}'])
def test_what_makes_no_sense_is_not_told(payload: bytes):
    """A worker of whoever may send anything as telemetry."""
    assert Telling(color=False, thinking=True).heard(Heard("telemetry", "bot", payload)) == []


def test_numbers_that_are_none_count_as_none():
    """The line stays one."""
    assert told("bot", kind="usage", prompt_tokens="\x1b[2J", completion_tokens=[1]) == ["[bot] 0 in / 0 out"]


def test_an_error_that_the_worker_has_told_is_not_told_again_with_its_message():
    """Else it is; in both cases it is said that the conversation goes on."""
    goes_on = "that message is left out; the conversation goes on without it"
    telling = Telling(color=False, thinking=False)
    assert telling.wrote("bot", '{"error":"no","code":"model_refused"}') == ["[bot] error: no"]
    assert telling.buried(letter("no")) == [goes_on]
    assert telling.buried(letter("no")) == ["error: bot: no", goes_on]


def test_what_was_refused_is_told_once():
    """A dead letter is told as one, and a line behind the end by nobody."""
    telling = Telling(color=False, thinking=False)
    assert telling.refused(Refuse("expr_eval", "division by zero", "map", (1,))) == ["error: map: division by zero"]
    assert telling.refused(Refuse("dead_lettered", "x", "map", (1,))) == []
    assert telling.refused(Refuse("input_closed", "x", "", (1,))) == []


def test_notes_from_a_level_on_and_what_is_waited_for_in_any_case():
    """Who sits there wants to know why nothing happens."""
    telling = Telling(color=False, thinking=False, level="warning")
    assert telling.noted(Note("warning", "worker.restarting", {"worker": "bot"})) == ["worker.restarting worker=bot"]
    assert telling.noted(Note("info", "worker.exited", {"worker": "bot"})) == []
    waiting = Note("debug", "session.waiting", {"idle_s": 10.0, "reason": "bot thinks"})
    assert telling.noted(waiting) == ["idle 10 s: bot thinks"]


@given(st.text())
def test_nothing_that_a_terminal_would_obey_is_left(text: str):
    """But line feeds and tabs; what is left of text without such things is the text."""
    shown = printable(text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    if text.isprintable():
        assert shown == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b2J", "\\x9b2J"),
        ("a\rb", "a\\x0db"),
        ("a\r\nb\tc", "a\nb\tc"),
        ("user\u202etxt.exe", "user\\u202etxt.exe"),
        ("\udc80", "\\udc80"),
        ("naïve – 日本 🙂", "naïve – 日本 🙂"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_as_escapes(text: str, shown: str):
    """Also the one-byte controls, a lone carriage return, and what turns the direction of reading."""
    assert printable(text) == shown


@given(st.text(), st.sampled_from(["output", "thinking"]))
def test_each_line_that_is_told_says_whose_it_is(text: str, kind: str):
    """However many there are in what was said."""
    telling = Telling(color=False, thinking=True)
    lines = told("bot", telling, kind=kind, content=text, thinking=text)
    assert lines
    assert all(line.startswith("[bot] ") and "\n" not in line for line in lines)
