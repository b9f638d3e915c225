"""What may be written at the cursor, in texts that do not parse."""

from __future__ import annotations

import pytest
from cursors import At

from fabric.lang.config import KEYS
from fabric.lsp.completion import VALUES

TYPES = """\
use fs
type Check = { pass: bool, why: string }
type Outer = { check: Check, n: int }
"""
PROCESSES = """\
let writer : (!string, !json) -> !string = agent { }
let verify : !string -> !Check = agent { }
let wrap : !string -> !Outer = agent { }
let look : Fs.Part -> string = tool { builtin: "fs.read" }
"""
BODY = "let main : !string -> !string = plumb(task, done) {\n  let c : !Check = channel\n  task ; verify ; c\n  "
BEHIND = "\n  c ; filter(pass).why ; done\n}\nlet last : !int -> !int = id\n"


def labels(text):
    """Return what is offered in a file with some declarations."""
    return At(TYPES + PROCESSES + text).labels()


def in_body(text):
    """Return what is offered in a body that goes on behind the cursor."""
    return labels(BODY + text + BEHIND)


PORTS = ["input", "ctrl_in", "output", "ctrl_out", "telemetry"]
PRIMITIVES = ["string", "int", "number", "bool", "unit", "json"]
LITERALS = ["value", "true", "false", "null", "not"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("writer@‸", PORTS),
        ("writer@tel‸", PORTS),
        ("task ; writer@‸ ; done", PORTS),
        ("look@‸", []),
        ("Fs.‸", ["read", "write", "edit", "grep", "list", "delete"]),
        ("verify.‸", ["output", "telemetry", "pass", "why"]),
        ("task ; verify.p‸", ["output", "telemetry", "pass", "why"]),
        ("wrap.check.‸", ["pass", "why"]),
        ("wrap@output.‸", ["check", "n"]),
        ("c.‸", ["pass", "why"]),
        ("verify ; filter(‸", ["pass", "why", *LITERALS]),
        ("verify ; filter(pass ‸", []),
        ("verify ; filter(pass && ‸) ; id", ["pass", "why", *LITERALS]),
        ("verify ; filter(pass).‸", ["pass", "why"]),
        ("wrap ; map({ a: check.‸", ["pass", "why"]),
        ("wrap ; map(value.check.‸", ["pass", "why"]),
        ("wrap ; map(check) ; map(‸", ["pass", "why", *LITERALS]),
        ("task ; ( wrap ; filter(‸", ["check", "n", *LITERALS]),
        ("wrap ; ( filter(‸", ["check", "n", *LITERALS]),
        ("let d : !‸", ["Check", "Outer", *PRIMITIVES, "Fs"]),
        ("let d : !{ a: ‸", ["Check", "Outer", *PRIMITIVES, "Fs"]),
        ("let d : !Fs.‸", ["Place", "Part", "Text", "Edit", "Query", "Hit", "Where", "Entry"]),
        ("let d : !Check = ‸", ["channel"]),
        ("let ‸", []),
        ("spawn verify(‸", ["input=", "output=", "telemetry=", "task", "done", "c"]),
        ("spawn verify(input=‸", ["task", "done", "c"]),
        ('task ; filter(value = "‸', []),
        ("(* c‸", []),
    ],
)
def test_in_a_body(text, expected):
    """Ports behind '@', ports and fields behind '.', what flows in expressions, types and channels."""
    assert in_body(text) == expected


@pytest.mark.parametrize("text", ["task ; ‸", "‸", "task ; ( ‸", "task ; (writer * ‸", "x ; ver‸ify ; y"])
def test_elements_of_a_chain(text):
    """Ports, channels, processes and morphisms; not the body itself, and no tools."""
    found = in_body(text)
    assert [*found[:7]] == ["task", "done", "c", "writer", "verify", "wrap", "last"]
    assert {"map", "filter", "barrier", "Fs"} <= {*found}
    assert {"main", "look"}.isdisjoint(found)
    assert ("spawn" in found) == (text == "‸")


def test_a_body_that_is_being_written_keeps_its_names():
    """Nothing behind the cursor, not even the end of the body; new channels are known at once."""
    found = labels("let main : !string -> !int = plumb(first, second) { let new : !int = channel first ; ‸")
    assert found[:3] == ["first", "second", "new"]


def test_what_was_known_before_is_not_forgotten():
    """A half-written signature takes its process away; the last text that could be read still has it."""
    good = TYPES + PROCESSES + "let main : !string -> !Check = verify"
    cursor = At(good.replace("verify : !string ->", "verify : !string -") + " ; ‸", before=good)
    assert "verify" in cursor.labels()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("‸", ["let", "type", "protocol", "use"]),
        ("pro‸", ["let", "type", "protocol", "use"]),
        ("use ‸", ["fs", "words"]),
        ("use w‸", ["fs", "words"]),
        ("let ‸", []),
        ("let a : ‸", ["Check", "Outer", *PRIMITIVES, "Fs"]),
        ("let a : !string -> !‸", ["Check", "Outer", *PRIMITIVES, "Fs"]),
        ("let a : (!string, ‸", ["Check", "Outer", *PRIMITIVES, "Fs"]),
        ("type T = { a: int, ‸", []),
        ("type T = { a: int, b: ‸", ["Check", "Outer", *PRIMITIVES, "Fs"]),
        ("type T = int | ‸", ["Check", "Outer", *PRIMITIVES, "Fs"]),
        ("protocol P = send ‸", ["Check", "Outer", *PRIMITIVES, "Fs"]),
        ("protocol P = send int . ‸", ["send", "recv", "select", "offer", "end", "loop", "Fs"]),
        ("let a : !Outer -> !int = map(‸", ["check", "n", *LITERALS]),
        ("let a : !Outer -> !int = id ; map(check.‸", ["pass", "why"]),
        ("let a : !int -> !int = agent { amnesiac: ‸", ["true", "false"]),
        ("let a : !int -> !int = agent { provider: ‸", ['"anthropic"', '"openai"', '"eliza"', '"scripted"']),
        ('let a : !int -> !int = agent { provider: "el‸', ["anthropic", "openai", "eliza", "scripted"]),
        ('let a : !int -> !int = agent { provider: "eliza‸" }', ["anthropic", "openai", "eliza", "scripted"]),
        ('let a : !int -> !int = agent { prompt: "el‸', []),
        ("let a : !int -> !int = agent { tools: [‸", ["look", "Fs"]),
        ("let a : !int -> !int = agent { tools: [Fs.‸", ["read", "write", "edit", "grep", "list", "delete"]),
        ('let a : int -> int = tool { builtin: "fs.read" ‸', ["process", "description", "idempotent"]),
        ("let a : int -> int = tool { process: ‸", ["writer", "verify", "wrap", "Fs"]),
        ('let a : !int -> !int = python { call: "x" env: ["HOME"] ‸', ["state", "release"]),
        ("let a : !int -> !int = agent { max_tokens: 12‸", []),
    ],
)
def test_outside_of_bodies(text, expected):
    """Keywords, types, keys that are not there yet, and their values."""
    assert labels(text) == expected


def test_what_is_replaced():
    """The word that the cursor is in or behind; in a string what stands between the quotes."""
    for text, replaced in [("use wo‸", "wo"), ("use ‸", ""), ('let a : !int -> !int = agent { provider: "el‸', "el")]:
        cursor = At(text)
        assert cursor.text[cursor.completion()[0] : cursor.offset] == replaced


def test_types_are_shown_beside_names():
    """What a process takes and gives, what a port carries."""
    details = {item.label: item.detail for item in At(TYPES + PROCESSES + BODY + "‸" + BEHIND).completion()[1]}
    assert details["verify"] == "!string -> !Check = agent"
    assert details["task"] == "!string"


def test_offered_values_are_values():
    """Every value that is offered would be taken."""
    for kind, rules in KEYS.items():
        for key in rules.keys() & VALUES.keys():
            for value in VALUES[key]:
                plain = {"true": True, "false": False}.get(value, value.strip('"'))
                assert rules[key](plain) is None, (kind, key, value)
    assert VALUES.keys() <= {key for rules in KEYS.values() for key in rules}
