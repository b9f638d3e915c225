"""Prompts: what templates see, what they read, and that they read no file that is not theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from fabric.pipelines.errors import ExpressionSecurityError, PipelineLoadError, PromptRenderError
from fabric.pipelines.expressions.expression import Scope, StepRead
from fabric.pipelines.prompt import Prompt, load_prompt, parse_prompt, render_prompt, render_prompt_string
from fabric.pipelines.prompts.files import TEMPLATE_BYTES_MAX
from fabric.pipelines.results import AttemptLog, StepResult


class Paper(BaseModel):
    """An answer of a model."""

    title: str = "On Growth"
    tags: list[str] = ["a", "b"]
    value: int = 7


STEPS = {
    "paper": StepResult("paper", Paper(), attempts=[AttemptLog("paper", 1, "success")]),
    "map": StepResult("map", {"value": 3, "rows": [1, 2]}),
    "gone": StepResult("gone", None, "skipped"),
    "ens": StepResult("ens", Paper(title="merged")),
    "ens.one": StepResult("ens.one", Paper(title="first")),
}
SCOPE = Scope({"doc": "text", "rows": [{"n": 1}, {"n": 2}]}, STEPS, {"KEY": "k"})


def text(template: str, root: Path = Path(), **variables: Any) -> str:
    return parse_prompt(template, root).render(variables, SCOPE)


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ("{{ ctx.doc }} {{ extra }} {{ env.KEY }}", "text 5 k"),
        ("{{ steps.paper.title }}, {{ steps.paper.value.title }}", "On Growth, On Growth"),
        ("{{ steps['paper'].title }}", "On Growth"),
        ("{{ steps.paper.value.value }} {{ steps['paper']['value'] }} {{ steps.map['value'] }}", "7 7 3"),
        ("{{ steps.paper.status }} {{ steps.gone.status }}", "success skipped"),
        ("{{ steps.paper.last_attempt.attempt_number }}", "1"),
        ("{{ steps.ens.title }} {{ steps.ens.one.title }} {{ steps.ens.one.value.title }}", "merged first first"),
        ("{{ steps.gone.value is none }} {{ steps.gone is none }}", "True True"),
        ("{% if steps.gone.value %}x{% else %}y{% endif %}", "y"),
        ("{% for row in steps.map.rows %}{{ row }}{{ ',' if not loop.last }}{% endfor %}", "1,2"),
        ("{% for name in steps %}{{ name }} {% endfor %}", "paper map gone ens ens.one "),
        ("{% for name, value in steps.items() %}{{ name }}:{{ value is none }} {% endfor %}",
         "paper:False map:False gone:True ens:False ens.one:False "),
        ("{{ steps.get('map').rows }} {{ steps.get(ctx.doc, 'none') }}", "[1, 2] none"),
        ("{{ steps[extra ~ ''] is defined }} {{ steps['m' ~ 'ap'].rows }}", "False [1, 2]"),
        ("{{ steps.paper | tojson }}", '{"title":"On Growth","tags":["a","b"],"value":7}'),
        ("{{ {'p': steps.paper.tags, 'ü': [steps.ens.one.value.value]} | tojson }}", '{"p": ["a", "b"], "ü": [7]}'),
        ("{{ steps.paper.model_dump()['title'] | upper }}", "ON GROWTH"),
        ("{{ steps.paper.tags | join('+') }} {{ '-'.join(steps.paper.tags) }} {{ 'x'.upper() }}", "a+b a-b X"),
        ("{{ steps.paper.nothing | default('none') }} {{ steps.nobody is defined }}", "none False"),
        ("{% set steps = [1] %}{{ steps[0] }}", "1"),
        ("{% for steps in [{'x': 1}] %}{{ steps.x }}{% endfor %}", "1"),
        ("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(ctx.doc) }}{{ m(steps.map.value.value) }}", "<text><3>"),
        ("{% for r in ctx.rows %}{{ loop.index }}/{{ loop.length }} {{ r.n }};{% endfor %}", "1/2 1;2/2 2;"),
        ("{% for r in [[1, [2]]] recursive %}{{ loop(r) if r is sequence else r }}{% endfor %}", "12"),
        ("a\n{% if true %}\nb\n{% endif %}\n", "a\nb\n"),
        ("{{ '%s of %d' % ('a', 2) }} {{ '{:>3}'.format(1) }}", "a of 2   1"),
        ("{{ 'ab' * 2 }} {{ 1 + 2 }} {{ 2 ** 10 }}", "abab 3 1024"),
        ("{{ '<b>' }}", "<b>"),
    ],
)  # fmt: skip
def test_templates_see_what_expressions_see(template: str, wanted: str) -> None:
    """``steps.x`` is the view that it is in expressions; the rest is Jinja's."""
    assert text(template, extra=5) == wanted


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ missing }}", "Undefined variable: 'missing' is undefined"),
        ("a\n{{ ctx.nothing }}", "<template>:2: Undefined variable"),
        ("{{ steps.paper.titel }}", "no attribute 'titel'"),
        ("{{ steps.nobody.value }}", "step 'nobody' has no result"),
        ("{{ steps.gone.value.title }}", "Undefined variable"),
        ("{{ env.OTHER }}", "Undefined variable"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ ctx.rows | tojson(indent=99) }}", "an indent of 99"),
        ("{{ [cycler] | tojson }}", "has no JSON"),
    ],
)
def test_what_has_no_text_says_why_and_where(template: str, said: str) -> None:
    """A template without a text is an error that names the line."""
    with pytest.raises(PromptRenderError) as caught:
        text(template)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("template", "reads"),
    [
        ("{{ ctx.a }}", []),
        ("{{ steps.x }}", [("x", ())]),
        ("{{ steps.x.value.a.b }}{{ steps.x.a['c'] }}", [("x", ("a", "b")), ("x", ("a", "c"))]),
        ("{{ steps.x.status }}", [("x", ())]),
        ("{{ steps.x.title.upper() }}", [("x", ("title",))]),
        ("{{ steps.x.model_dump() }}", [("x", ())]),
        ("{{ steps.x.tags[0].y }}", [("x", ("tags",))]),
        ("{{ steps.x.maybe is defined }}{{ steps.x.maybe | default(1) }}", [("x", ()), ("x", ())]),
        ("{% for k, v in steps.items() %}{% endfor %}", [(None, ())]),
        ("{{ steps }}{{ steps[ctx.k] }}", [(None, ()), (None, ())]),
        ("{{ steps[steps.x.key].a }}", [(None, ()), ("x", ("key",))]),
        ("{% if steps.x.a %}{{ f(steps.y.b) }}{% endif %}", [("x", ("a",)), ("y", ("b",))]),
        ("{% set steps = 1 %}{{ steps.x }}", []),
        ("{% include ctx.name %}", [(None, ())]),
    ],
)
def test_reads_of_a_template_are_found(template: str, reads: list[tuple[str | None, tuple[str, ...]]]) -> None:
    """Which steps a template reads is known when it is loaded; a name that depends on the input may be any."""
    found = [(read.step, read.fields) for read in parse_prompt(template, Path()).reads]
    assert sorted(found, key=repr) == sorted(reads, key=repr)


def test_reads_say_the_line_where_they_stand() -> None:
    """The offset is that of the line."""
    assert parse_prompt("ab\n\n{{ steps.x }}", Path()).reads == (StepRead("x", (), 4),)


def loaded(root: Path, name: str = "main.j2", **files: str) -> Prompt:
    for file, content in files.items():
        path = root / f"{file.replace('__', '/')}.j2"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return load_prompt(root / name, root)


def test_templates_that_are_included_are_read(tmp_path: Path) -> None:
    """Steps and variables of included, imported and extended templates are those of the prompt."""
    prompt = loaded(
        tmp_path,
        "prompts/main.j2",
        prompts__main="{% extends 'base.j2' %}{% from 'macros.j2' import m %}"
        "{% block b %}{% include 'part.j2' %}{% endblock %}",
        base="{{ steps.a.value }}{% block b %}{% endblock %}{{ env.KEY }}",
        macros="{% macro m() %}{{ steps.b.x }}{% endmacro %}",
        prompts__part="{{ steps.paper.title }} {{ extra }}",
    )  # fmt: skip
    assert sorted((read.step or "", read.fields) for read in prompt.reads) == [
        ("a", ()),
        ("b", ("x",)),
        ("paper", ("title",)),
    ]
    assert {"extra", "steps", "env"} <= prompt.names
    assert prompt.env_names == ("KEY",)
    scope = Scope({}, {**STEPS, "a": StepResult("a", "A")}, {"KEY": "k"})
    assert prompt.render({"extra": 1}, scope) == "AOn Growth 1k"


def test_templates_are_found_from_the_directory_and_from_beside(tmp_path: Path) -> None:
    """The directory of the pipeline comes first."""
    prompt = loaded(
        tmp_path, "p/main.j2", p__main="{% include 'x.j2' %}{% include 'y.j2' %}", p__x="beside", x="root", p__y="y"
    )
    assert prompt.render({}, SCOPE) == "rooty"


def test_a_template_that_may_be_missing_may(tmp_path: Path) -> None:
    """``ignore missing`` and lists of names are what they are in Jinja."""
    prompt = loaded(tmp_path, main="{% include 'no.j2' ignore missing %}{% include ['no.j2', 'part.j2'] %}", part="P")
    assert prompt.render({}, SCOPE) == "P"


@pytest.mark.parametrize(
    "name", ["../secret.j2", "/etc/hostname", "prompts/../../secret.j2", "link.j2", "nothing.j2", ".", ""]
)
def test_what_is_outside_of_the_directory_is_not_read(tmp_path: Path, name: str) -> None:
    """Neither by dots, nor from the root, nor by a link; as a prompt, included, or by a name of the input."""
    (tmp_path / "secret.j2").write_text("secret")
    root = tmp_path / "pipeline"
    (root / "prompts").mkdir(parents=True)
    (root / "link.j2").symlink_to(tmp_path / "secret.j2")
    with pytest.raises(PipelineLoadError):
        load_prompt(root / name, root)
    with pytest.raises(ExpressionSecurityError, match="line 1 of the template"):
        parse_prompt(f"{{% include {name!r} %}}", root)
    with pytest.raises(PromptRenderError, match="no template"):
        parse_prompt("{% include ctx.name %}", root).render({}, Scope({"name": name}, {}))


def test_a_template_is_a_text_of_some_size(tmp_path: Path) -> None:
    """What is no UTF-8, or too large, is refused, with the file."""
    (tmp_path / "a.j2").write_bytes(b"\xff")
    (tmp_path / "b.j2").write_bytes(b"x" * (TEMPLATE_BYTES_MAX + 1))
    for name, said in (("a.j2", "UTF-8"), ("b.j2", "at most")):
        with pytest.raises(PipelineLoadError, match=said) as caught:
            load_prompt(tmp_path / name, tmp_path)
        assert caught.value.file.endswith(name)


def test_errors_of_templates_have_a_place(tmp_path: Path) -> None:
    """The file and the line are those of the template that is wrong, also of one that is included."""
    (tmp_path / "part.j2").write_text("fine\n{% if %}")
    with pytest.raises(PipelineLoadError, match="Syntax error") as caught:
        loaded(tmp_path, main="\n{% include 'part.j2' %}")
    assert (caught.value.file, caught.value.line) == (str(tmp_path / "part.j2"), 2)


def test_templates_that_include_each_other_are_refused(tmp_path: Path) -> None:
    """A circle that is always taken is an error when it is loaded; one that depends on the input may be one later."""
    with pytest.raises(ExpressionSecurityError, match=r"a\.j2 -> b\.j2 -> a\.j2"):
        loaded(tmp_path, "a.j2", a="x\n{% include 'b.j2' %}", b="{% include 'a.j2' %}")
    again = loaded(tmp_path, "c.j2", c="{% if ctx.go %}{% include 'c.j2' %}{% endif %}.")
    assert again.render({}, Scope({"go": False}, {})) == "."
    with pytest.raises(PromptRenderError, match="too deep"):
        again.render({}, Scope({"go": True}, {}))


def test_many_includes_of_includes_end(tmp_path: Path) -> None:
    """Twenty templates that include the next one twice are read once each, and rendered with an end."""
    files = {f"t{number}": f"{{% include 't{number + 1}.j2' %}}" * 2 for number in range(20)}
    prompt = loaded(tmp_path, "t0.j2", **files, t20="{{ steps.x }}")
    assert [read.step for read in prompt.reads] == ["x"]
    with pytest.raises(PromptRenderError, match="rounds"):
        prompt.render({}, Scope({}, {"x": StepResult("x", 1)}))


def test_public_functions_render_alone(tmp_path: Path) -> None:
    """render_prompt and render_prompt_string take variables; whatever is wrong is a PromptRenderError."""
    (tmp_path / "hello.j2").write_text("Hello {{ name }}! {{ steps.x.y }}")
    (tmp_path / "bad.j2").write_text("{% if %}broken")
    assert render_prompt(tmp_path, "hello.j2", name="Ada", steps={"x": {"y": 1}}) == "Hello Ada! 1"
    assert render_prompt_string("{% for i in items %}{{ i }} {% endfor %}", items="ab") == "a b "
    for render, said in (
        (lambda: render_prompt(tmp_path, "no.j2"), "not there"),
        (lambda: render_prompt(tmp_path, "bad.j2"), "Syntax error"),
        (lambda: render_prompt(tmp_path, "hello.j2"), "Undefined variable"),
        (lambda: render_prompt_string("{% if %}"), "Syntax error"),
        (lambda: render_prompt_string("{{ missing }}"), "Undefined variable"),
    ):
        with pytest.raises(PromptRenderError, match=said):
            render()


def test_a_name_that_no_file_can_have_is_not_there(tmp_path: Path) -> None:
    """As any other template that is not there."""
    files = parse_prompt("{% include '" + "x" * 5_000 + "' ignore missing %}a", tmp_path)
    assert files.render({}, Scope({}, {})) == "a"
    (tmp_path / "p.j2").write_text("{% include '" + "x" * 5_000 + "' %}")
    with pytest.raises(PipelineLoadError, match="is not there"):
        load_prompt(tmp_path / "p.j2", tmp_path)
