"""What stands at a place: what is shown of it, and where it is declared."""

from __future__ import annotations

from typing import get_args

import pytest
from cursors import At

from fabric.lang.config import KEYS
from fabric.lang.syntax import InlineKind
from fabric.lsp.signs import KEY_WORDS, MORPHISM_WORDS

HEAD = """\
use fs
type Check = { pass: bool, why: string, body: string }
type Outer = { check: Check }
let writer : (!(string | { fix: string }), !json) -> !string = agent { max_messages: 10 tools: [Fs.read] }
let verify : !string -> !Check = agent { }
let wrap : !Check -> !Outer = map({ check: value })
let copier : !string -> !string = plumb(from, to) { from ; id ; to }
"""


def at(text):
    return At(HEAD + text)


def body(text):
    """A cursor in a body; the words around it make it a program without mistakes."""
    return at(
        "let main : !string -> !string = plumb(task, done) {\n"
        f"  let c : !Check = channel\n  task ; writer ; verify ; c\n  {text}\n}}\n"
    )


@pytest.mark.parametrize(
    ("cursor", "code", "text"),
    [
        (body("c ; ver‸ify"), "let verify : !string -> !Check = agent", "gives `!Check` to `c`"),
        (body("c ; ver‸ify"), "let verify : !string -> !Check = agent", "gets `!string` from `writer`"),
        (body("ta‸sk ; copier ; done"), "task : !string", "input of this body"),
        (body("task ; copier ; done‸"), "done : !string", "output of this body"),
        (body("‸c ; filter(pass).body ; done"), "let c : !Check = channel", ""),
        (body("c ; fil‸ter(pass).body ; done"), "filter : !Check -> !string", "passes those"),
        (body("c ; filter(pa‸ss).body ; done"), "pass: bool", "field of `Check`"),
        (body("c ; filter(pass).bo‸dy ; done"), "body: string", "field of `Check`"),
        (body("c ; wrap ; map(check.wh‸y) ; done"), "why: string", "field of `Check`"),
        (body("c ; wrap ; map(ch‸eck.why) ; done"), "check: Check", "field of `Outer`"),
        (body("c ; m‸ap({ a: why }) ; discard"), "map : !Check -> !{ a: string }", "makes another"),
        (body("c.w‸hy ; done"), "why: string", "field of `Check`"),
        (body("writer@tele‸metry ; discard"), "writer@telemetry : !json", "output port"),
        (body("c ; map({}) ; writer@ct‸rl"), "writer@ctrl_in : !json", "input port"),
        (body("spawn copier(fr‸om=task, to=done)"), "copier@from : !string", "input port"),
        (body("spawn copier(from=ta‸sk, to=done)"), "task : !string", "input of this body"),
        (body("c ; wrap.ch‸eck ; verify"), "check: Check", "field of `Outer`"),
        (at("let main : !Che‸ck -> !Check = id"), "type Check = { pass: bool, why: string, body: string }", ""),
        (at("let main : !Check -> !str‸ing = map(why)"), "string", "text"),
        (at("let main : !Check -> !string = ma‸p(why)"), "map : !Check -> !string", "makes another"),
        (at("let main : !Fs.Pa‸rt -> !string = map(path)"), "type Fs.Part = { path: string", ""),
        (at("let x : !int -> !int = agent { ten: 1 pro‸vider: 3 }"), "provider:", "who runs the model"),
        (at("let t : Fs.Part -> string = tool { process: ver‸ify }"), "let verify : !string -> !Check = agent", ""),
        (
            at("let x : !int -> !int = agent { tools: [Fs.re‸ad] }"),
            "let Fs.read : Part -> string = tool",
            "Read a text",
        ),
        (at("protocol P = send Check . end protocol Q = ‸P"), "protocol P = send Check . end", ""),
        (At("use f‸s"), "module Fs", "`read`"),
        (At("let f : !int -> !in‸ = id"), "in", ""),
        (At("let a : !int -> !int = agent { } let m : !int -> !int = a ; ‸b ; a"), "", None),
    ],
)
def test_what_is_shown(cursor, code, text):
    """The declaration or the type of the word under the cursor, and a line about it; also in wrong programs."""
    place = cursor.place()
    if text is None:
        assert place is None
        return
    assert place.code.startswith(code)
    assert text in place.text


@pytest.mark.parametrize(
    ("cursor", "target"),
    [
        (body("c ; ver‸ify"), ("main.plumb", 5, "verify")),
        (body("ta‸sk ; copier ; done"), ("main.plumb", 8, "task")),
        (body("‸c ; discard"), ("main.plumb", 9, "c")),
        (body("task ; copier@fr‸om"), ("main.plumb", 7, "from")),
        (body("writer@ctrl_‸out ; discard"), ("main.plumb", 4, "writer")),
        (body("c ; map({}) ; writer@ct‸rl"), ("main.plumb", 4, "!json")),
        (body("c ; filter(pa‸ss).body ; done"), ("main.plumb", 2, "pass")),
        (at("let main : !Outer -> !Che‸ck = map(check)"), ("main.plumb", 2, "Check")),
        (at("let main : !Fs.Pa‸rt -> !string = map(path)"), ("fs.plumb", 4, "Part")),
        (at("let main : !Fs.Part -> !string = map(pa‸th)"), ("fs.plumb", 4, "path")),
        (at("let main : !F‸s.Part -> !string = map(path)"), ("fs.plumb", 1, "")),
        (at("let main : !int -> !int = agent { tools: [Fs.re‸ad] }"), ("fs.plumb", 12, "read")),
        (At("use f‸s"), ("fs.plumb", 1, "")),
        (At('use "./lib/wor‸ds.plumb"', files={"lib/words.plumb": "type T = int"}), ("words.plumb", 1, "")),
        (
            At("use words let x : !int -> !Words.Lo‸ng = id", files={"words.plumb": "type Long = int"}),
            ("words.plumb", 1, "Long"),
        ),
        (at("protocol P = end protocol Q = ‸P"), ("main.plumb", 8, "P")),
    ],
)
def test_where_it_is_declared(cursor, target):
    """In this file, in one that the editor has open, or in the installed library."""
    assert cursor.target() == target


def test_the_end_of_a_word_belongs_to_it():
    """An editor's cursor stands between characters; behind a bracket there is no word."""
    assert at("let main : !Check -> !string = map(why)‸").place() is None
    assert body("c ; wrap‸; id ; discard").place().code.startswith("let wrap")


def test_every_key_and_every_morphism_has_a_line():
    """What is not described here would be missing in completion too."""
    assert {kind: set(keys) for kind, keys in KEY_WORDS.items()} == {kind: set(keys) for kind, keys in KEYS.items()}
    assert set(MORPHISM_WORDS) == set(get_args(InlineKind))
