"""The drawing of a pipeline, as literal lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabric.pipelines.errors import PipelineLoadError
from fabric.pipelines.graph import generate_mermaid


def drawing(directory: Path, text: str, **scores: float) -> list[str]:
    path = directory / "pipeline.yaml"
    path.write_text(text)
    return [line.strip() for line in generate_mermaid(path, scores).splitlines()]


def test_order_is_thin_and_data_is_thick(tmp_path: Path) -> None:
    """Steps that do not read each other are joined in the order of the file; data says its fields."""
    (tmp_path / "q.j2").write_text("{{ steps.a.title }} {{ steps.a.doi }}")
    assert drawing(
        tmp_path,
        """
        steps:
          - {name: a, type: llm, model: m, prompt: a.j2, schema: "schemas:Paper"}
          - {name: b, type: llm, model: m, prompt: q.j2, schema: {n: int}}
          - {name: c, type: transform, fn: "steps:join", inputs: {x: "{{ steps.a.value }}", y: "{{ steps.b.value.n }}"}}
          - {name: d, type: io, fn: "steps:save"}
        """,
        a=0.875,
    ) == [
        "flowchart TD",
        'a["<b>a</b><br/>llm<br/>model: m<br/>schema: Paper<br/>accuracy: 88%"]',
        'b["<b>b</b><br/>llm<br/>model: m<br/>schema: inline"]',
        'c(["<b>c</b><br/>transform<br/>fn: join"])',
        'd[/"<b>d</b><br/>io<br/>fn: save"/]',
        "a ==>|title, doi| b",
        "a ==>|value| c",
        "b ==>|n| c",
        "c --> d",
        "%% a: what it reads is not known: prompt: template 'a.j2' is not there",
    ]


def test_steps_with_steps_in_them_are_drawn_with_these(tmp_path: Path) -> None:
    """Children are joined to what they read and to what reads them; branches say which they are."""
    assert drawing(
        tmp_path,
        """
        steps:
          - {name: first, type: transform, fn: "x:y"}
          - name: both
            type: parallel
            steps:
              - {name: l, type: transform, fn: "x:y", inputs: {v: "{{ steps.first.a }}"}}
              - {name: r, type: transform, fn: "x:y"}
          - name: ens
            type: ensemble
            members: [{model: m}, {model: n, name: two}]
            judge: {model: m, condition: all_succeeded}
          - name: if
            type: condition
            if: "{{ steps.both.l.ok and steps.ens.two.value.ok }}"
            then: [{name: same, type: validate, condition: "steps.r"}, {name: more, type: transform, fn: "x:y"}]
            else: {name: same, type: http, url: "u"}
          - {name: last, type: transform, fn: "x:y", inputs: {v: "{{ steps.same.x }}", w: "{{ steps[ctx.k] }}"}}
        """,
    ) == [
        "flowchart TD",
        'first(["<b>first</b><br/>transform<br/>fn: y"])',
        'subgraph both["<b>parallel: both</b>"]',
        'l(["<b>l</b><br/>transform<br/>fn: y"])',
        'r(["<b>r</b><br/>transform<br/>fn: y"])',
        "end",
        'subgraph ens["<b>ensemble: ens</b>"]',
        'ens_m["<b>ens.m</b><br/>llm<br/>model: m"]',
        'ens_two["<b>ens.two</b><br/>llm<br/>model: n"]',
        'ens__judge["<b>ens._judge</b><br/>llm<br/>model: m"]',
        "end",
        'if{"<b>if</b><br/>condition"}',
        'same{{"<b>same</b><br/>validate"}}',
        'more(["<b>more</b><br/>transform<br/>fn: y"])',
        'same_2>"<b>same</b><br/>http"]',
        'last(["<b>last</b><br/>transform<br/>fn: y"])',
        "first ==>|a| l",
        "l ==>|ok| if",
        "ens_two ==>|ok| if",
        "r ==>|value| same",
        "same ==>|x| last",
        "same_2 ==>|x| last",
        "first ==>|any| last",
        "both ==>|any| last",
        "ens ==>|any| last",
        "if ==>|any| last",
        "first --> both",
        "both --> ens",
        "ens_m --> ens__judge",
        "ens_two --> ens__judge",
        "ens --> if",
        "if -->|then| same",
        "same --> more",
        "if -->|else| same_2",
    ]


def test_names_are_safe_for_mermaid(tmp_path: Path) -> None:
    """Words of Mermaid, names that differ in signs only, and what would end a label."""
    lines = drawing(
        tmp_path,
        """
        steps:
          - {name: end, type: transform, fn: "x:y"}
          - {name: a-b, type: transform, fn: "x:y"}
          - {name: a.b, type: transform, fn: "x:y"}
          - {name: 'x"] --> <b>', type: transform, fn: "x:y", condition: "not an expression"}
        """,
    )
    assert [line.partition("(")[0] for line in lines[1:5]] == ["end_", "a_b", "a_b_2", "x________b_"]
    assert "<b>x#34;#93; --#62; #60;b#62;</b>" in lines[4]
    assert lines[-1].startswith('%% x"] --> <b>: what it reads is not known: condition: expression')


@pytest.mark.parametrize(
    ("text", "said"),
    [("[1]", "is a map"), ("steps: [foo]", "is a map"), ("a: [", "pipeline.yaml"), ("a: 1\na: 2", "pipeline.yaml")],
)
def test_what_is_no_pipeline_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """A file that has no steps where they should be is an error, not a traceback."""
    with pytest.raises(PipelineLoadError, match=said):
        drawing(tmp_path, text)


def test_an_empty_file_is_an_empty_drawing(tmp_path: Path) -> None:
    """A pipeline may have no steps."""
    assert drawing(tmp_path, "") == ["flowchart TD"]
    assert drawing(tmp_path, "steps: []") == ["flowchart TD"]


def test_texts_that_no_file_can_be_called_are_texts(tmp_path: Path) -> None:
    """A system message of one long line, say."""
    words = "You are careful. " * 30
    lines = drawing(
        tmp_path,
        f"""
        steps:
          - {{name: a, type: transform, fn: "x:y"}}
          - {{name: b, model: m, prompt: "{"x" * 300}", system: "{words} {{{{ steps.a.n }}}}"}}
        """,
    )
    assert "a ==>|n| b" in lines
    assert lines[-1].startswith("%% b: what it reads is not known: prompt: template 'xxx")


def test_variables_and_templates_are_those_of_a_run(tmp_path: Path) -> None:
    """Names of files may have variables in them, and a template may stand elsewhere, with those that it includes."""
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    (here / ".env").write_text("WHERE=../elsewhere\n")
    (elsewhere / "q.j2").write_text("{% include 'r.j2' %}")
    (elsewhere / "r.j2").write_text("{{ steps.a.n }}")
    lines = drawing(
        here,
        """
        steps:
          - {name: a, type: transform, fn: "x:${NO_SUCH:-y}"}
          - {name: b, model: "${NO_SUCH_MODEL}", prompt: "${WHERE}/q.j2"}
        """,
    )
    assert lines[1:] == [
        'a(["<b>a</b><br/>transform<br/>fn: y"])',
        'b["<b>b</b><br/>llm<br/>model: $#123;NO_SUCH_MODEL#125;"]',
        "a ==>|n| b",
    ]
