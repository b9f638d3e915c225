"""How diagnostics look."""

from __future__ import annotations

import json
from textwrap import dedent

import pytest

from fabric.lang.check import check_source
from fabric.lang.diagnostic import Report, did_you_mean, render_all, render_text, summary, to_json
from fabric.lang.source import Source, Span


def one(text, start, end, **parts):
    report = Report(Source("x.plumb", text))
    report.add(parts.pop("code", "E0101"), Span(start, end), "what is wrong", **parts)
    return report.diagnostics()[0]


def shown(text, start, end, **parts):
    return render_text(one(text, start, end, **parts))


def block(text):
    return dedent(text).strip("\n")


def test_a_mismatch_shows_both_places_and_the_way_out():
    """The caret is at the use, the dashes are at the declaration, notes and help follow."""
    source = Source(
        "review.plumb",
        block("""
            type Verdict = { verdict: bool, draft: Draft }
            type Draft = { title: string, body: string }
            let checker : !string -> !Verdict = agent { }
            let editor : !Draft -> !Draft = agent { }

            let main : !string -> !Draft = plumb(input, output) {
              input ; checker
              checker ; editor ; output
            }
        """),
    )
    _, diagnostics = check_source(source)
    assert render_all(diagnostics) == block("""
        error[E0412]: cannot wire !Verdict to input of type !Draft
           ┌─ review.plumb:8:3
           │
         4 │ let editor : !Draft -> !Draft = agent { }
           │              ------ expected because 'editor' takes !Draft
           ·
         8 │   checker ; editor ; output
           │   ^^^^^^^ 'checker' produces !Verdict (line 3)
           │
           = missing fields: title, body   (Verdict has: verdict, draft)
           = fields that Draft does not have: verdict, draft   (records are strict: no fields may be left over)
           = help: did you mean  checker ; map(draft) ; editor ?
           = more: fabric explain E0412

        1 error, 0 warnings · nothing was started, no tokens spent
    """)


def test_an_unknown_name_comes_with_the_nearest_one():
    """Names that nearly fit are offered."""
    source = Source(
        "x.plumb", "let writer : !string -> !string = agent { }\nlet main : !string -> !string = wrter ; writer"
    )
    _, diagnostics = check_source(source)
    assert render_text(diagnostics[0]) == block("""
        error[E0202]: there is no process, port or channel 'wrter'
           ┌─ x.plumb:2:33
           │
         2 │ let main : !string -> !string = wrter ; writer
           │                                 ^^^^^
           │
           = help: did you mean 'writer'?
    """)


def test_a_warning_says_so():
    """Warnings have their own word, and the summary does not say that nothing was started."""
    source = Source("x.plumb", 'let main : !string -> !string = agent { promt: "Be brief." }')
    _, diagnostics = check_source(source)
    assert render_all(diagnostics) == block("""
        warning[W0610]: an agent does not know the key 'promt'
           ┌─ x.plumb:1:41
           │
         1 │ let main : !string -> !string = agent { promt: "Be brief." }
           │                                         ^^^^^
           │
           = help: did you mean 'prompt'?
           = more: fabric explain W0610

        0 errors, 1 warning
    """)


def test_two_marks_on_a_line_have_a_row_each():
    """Operands of different types are shown under their operator's line."""
    _, diagnostics = check_source(Source("x.plumb", "let main : !{ a: int, b: string } -> !bool = map(a < b)"))
    assert render_text(diagnostics[0]) == block("""
        error[E0413]: '<' orders two numbers or two strings, not int and string
           ┌─ x.plumb:1:52
           │
         1 │ let main : !{ a: int, b: string } -> !bool = map(a < b)
           │                                                  - int
           │                                                    ^
           │                                                      - string
    """)


def test_a_mark_over_several_lines_has_its_first_and_its_last_one():
    """The label stands at the end; the lines between are left out."""
    assert shown("aa (bb\ncc\ndd\n  ee) ff", 3, 18, label="here") == block("""
        error[E0101]: what is wrong
           ┌─ x.plumb:1:4
           │
         1 │ aa (bb
           │    ^^^
           ·
         4 │   ee) ff
           │   ^^^ here
    """)


def test_carets_stand_under_text_behind_tabs():
    """A tab is shown as four spaces."""
    assert shown("\ta\tb", 3, 4).splitlines()[-2:] == [" 1 │     a    b", "   │          ^"]


def test_carets_stand_under_wide_and_combining_characters():
    """A wide character takes two columns, a combining one none."""
    assert shown("漢字 x", 3, 4).splitlines()[-1] == "   │      ^"
    assert shown("漢字 x", 0, 2).splitlines()[-1] == "   │ ^^^^"
    assert shown("e\u0301 x", 3, 4).splitlines()[-1] == "   │   ^"


def test_control_and_direction_characters_are_made_visible():
    """A program cannot move the cursor or turn the line around."""
    assert shown("a\x1b[2J\u202eb", 0, 1).splitlines()[3] == " 1 │ a␛[2J\ufffdb"


@pytest.mark.parametrize("text", ["", "\n", "a", "a\n", "a\r\n"])
def test_the_end_of_a_file_can_be_marked(text):
    """Also of an empty one."""
    assert shown(text, len(text), len(text)).splitlines()[-1].endswith("^")


def test_a_long_line_is_cut_around_its_mark():
    """Nobody wants to see 100,000 characters."""
    lines = shown("x" * 50_000 + "!" + "y" * 50_000, 50_000, 50_001).splitlines()
    assert max(map(len, lines)) < 180
    assert lines[3][lines[4].index("^")] == "!"


def test_colours_are_added_and_nothing_else():
    """Without its escape sequences the coloured text is the plain one."""
    import re

    diagnostic = one("let x", 4, 5, label="label", related=[(Span(0, 3), "why")], notes=["note"], help="help")
    coloured = render_text(diagnostic, color=True)
    assert "\x1b[1;31m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == render_text(diagnostic)


def test_at_most_twenty_errors_are_shown():
    """The others are counted."""
    text = "type X = Nope1\n" + "".join(f"type Y{i} = Missing{i}\n" for i in range(30)) + "let main : !X -> !X = id"
    _, diagnostics = check_source(Source("x.plumb", text))
    rendered = render_all(diagnostics)
    assert rendered.count("error[") == 20
    assert "… and 11 more errors" in rendered
    assert rendered.endswith("31 errors, 0 warnings · nothing was started, no tokens spent")


def test_a_code_is_referred_to_once():
    """With its first diagnostic."""
    _, diagnostics = check_source(Source("x.plumb", "let main : !A -> !B = agent { provider: 3, tools: [a, b] }"))
    referred = [line.split()[-1] for line in render_all(diagnostics).splitlines() if "= more: fabric explain" in line]
    assert [diagnostic.code for diagnostic in diagnostics] == ["E0201", "E0201", "E0602", "E0202", "E0202"]
    assert referred == ["E0201", "E0602", "E0202"]


def test_a_last_line_may_be_given():
    """In place of the summary, by who checks several programs."""
    assert render_all([], closing="2 programs are fine") == "2 programs are fine"


def test_errors_come_before_warnings():
    """Each in the order of the text."""
    _, diagnostics = check_source(Source("x.plumb", "a : !String -> !Nope = agent { frobs: 1, provider: 3 }"))
    assert [d.code for d in diagnostics] == ["E0201", "E0602", "W0110", "W0111", "W0610"]


def test_a_summary_counts():
    """One is singular."""
    assert summary([]) == "0 errors, 0 warnings"
    assert summary([one("x", 0, 1)] * 3) == "3 errors, 0 warnings · nothing was started, no tokens spent"


def test_json_has_the_places_in_lines_and_columns():
    """Lines and columns count from 1."""
    diagnostic = one("ab\ncd", 3, 5, label="l", related=[(Span(0, 2), "why")], notes=["n"], help="h")
    assert json.loads(json.dumps(to_json(diagnostic))) == {
        "code": "E0101",
        "slug": "syntax_error",
        "category": "parse",
        "severity": "error",
        "message": "what is wrong",
        "file": "x.plumb",
        "line": 2,
        "column": 1,
        "end_line": 2,
        "end_column": 3,
        "label": "l",
        "related": [{"file": "x.plumb", "line": 1, "column": 1, "end_line": 1, "end_column": 3, "text": "why"}],
        "notes": ["n"],
        "help": "h",
    }


def test_the_nearest_name_is_suggested_whatever_its_case():
    """Nothing is suggested for a name that is like none."""
    assert did_you_mean("Elisa", ["anthropic", "eliza"]) == "did you mean 'eliza'?"
    assert did_you_mean("zzz", ["anthropic", "eliza"]) is None
