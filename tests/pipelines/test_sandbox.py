"""What templates must not do: escape, have effects, differ from time to time, or go on without an end."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
from collections import UserDict, deque
from configparser import ConfigParser
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from fabric.pipelines.errors import ExpressionSecurityError, PipelineLoadError, PromptRenderError
from fabric.pipelines.expressions.expression import Scope
from fabric.pipelines.prompt import parse_prompt
from fabric.pipelines.results import StepResult


class Paper(BaseModel):
    """An answer of a model."""

    title: str = "t"

    def shout(self) -> str:
        return self.title.upper()


class Colour:
    """A value of a user's class."""

    def name(self) -> str:
        return "red"


class Place(type(Path())):  # type: ignore[misc] - the class of this system
    """A path of a user's, with a method of its own."""

    def upper(self) -> str:
        return self.name.upper()

    def nothing(self) -> str:
        return "x"

    nothing.__wrapped__ = Path.write_text  # type: ignore[attr-defined]


VALUES: dict[str, Any] = {
    "path": Path("/etc/hostname"), "os": os, "run": os.system, "tree": shutil.rmtree, "kind": Path,
    "list": [1], "map": {"a": 1}, "colour": Colour(), "file": open,
    "place": Place("/etc/hostname"), "opened": functools.partial(open, "/etc/hostname"), "settings": ConfigParser(),
    "shout": lambda text: text.upper(), "day": date(2026, 11, 22), "frozen": os.path.exists, "search": re.search,
}  # fmt: skip
SCOPE = Scope(VALUES, {"paper": StepResult("paper", Paper())})


def text(template: str) -> str:
    return parse_prompt(template, Path()).render({}, SCOPE)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ ''.format.__self__ }}",
        "{{ self._TemplateReference__context }}",
        "{{ steps._secret }}",
        "{{ steps.paper.__class__ }}",
        "{{ (1, 2).__len__() }}",
        "{% set x = ctx.__init__ %}",
        "{% for x in ''.__class__ %}{% endfor %}",
        "{{ 'a' | replace('a', ctx.__class__) }}",
        "{{ env }}",
        "{{ env[ctx.a] }}",
        "{% for name in env %}{% endfor %}",
        "{% for a in x %}" * 17 + "{% endfor %}" * 17,
    ],
)
def test_what_must_not_stand_in_a_template_is_refused_when_it_is_read(template: str) -> None:
    """Names with underscores, and the environment as a whole, are no part of templates."""
    with pytest.raises(ExpressionSecurityError, match="line 1 of the template"):
        parse_prompt(template, Path())


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''['__class__'] }}",
        "{{ ''['__cla' ~ 'ss__'] }}",
        "{{ '' | attr('__class__') }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ '{a.__class__}'.format_map({'a': 1}) }}",
        "{{ '{0[__class__]}'.format('') }}",
        "{{ 'x' | attr('format') | string | attr('__class__') }}",
        "{{ dict.mro() }}",
        "{{ (cycler | attr('__init__')) }}",
        "{{ ctx.list.append(2) }}",
        "{{ ctx.map.update({}) }}",
        "{{ ctx.map.pop('a') }}",
        "{{ steps.clear() }}",
        "{{ steps.paper.parse_raw('x', proto='pickle', allow_pickle=true) }}",
        "{{ steps.paper.parse_file('/etc/hostname') }}",
        "{{ steps.paper.value.model_construct() }}",
        "{{ ctx.path.read_text() }}",
        "{{ ctx.kind('/etc/hostname') }}",
        "{{ ctx.kind.cwd() }}",
        "{{ ctx.run('true') }}",
        "{{ ctx.tree('nothing') }}",
        "{{ ctx.file('/etc/hostname') }}",
        "{{ ctx.os.system('true') }}",
        "{{ ctx.place.read_text() }}",
        "{{ ctx.place.nothing() }}",
        "{{ ctx.place.exists() }}",
        "{{ ctx.opened() }}",
        "{{ ctx.opened.func('/etc/hostname') }}",
        "{{ ctx.settings.read('/etc/hostname') }}",
        "{{ ctx.frozen('/') }}",
        "{{ ctx.search('a', 'b') }}",
        "{{ ctx.day.today() }}",
    ],
)
def test_what_escapes_is_refused_when_it_is_rendered(template: str) -> None:
    """What only the values show is refused then, as not allowed."""
    with pytest.raises(PromptRenderError, match=r"not allowed|Undefined"):
        text(template)
    assert VALUES["list"] == [1]
    assert VALUES["map"] == {"a": 1}


@pytest.mark.parametrize(
    "filter_", ["map(attribute='__class__')", "map('attr', '__class__')", "sort(attribute='__class__')"]
)
def test_filters_over_lists_find_nothing(filter_: str) -> None:
    """What a filter is not allowed to read is undefined for it."""
    assert "class" not in text(f"{{{{ [''] | {filter_} | list }}}}")


def test_methods_of_users_are_called() -> None:
    """Models and classes of users have methods; data of the library is read."""
    assert text("{{ steps.paper.shout() }} {{ ctx.colour.name() }} {{ ctx.path.name }}") == "T red hostname"
    assert text("{{ ctx.place.upper() }} {{ ctx.shout('a') }} {{ ctx.day.fromisoformat('2026-01-02') }}") == (
        "HOSTNAME A 2026-01-02"
    )
    scope = Scope(UserDict(day=date(2026, 11, 22), items=deque("ab")), {})
    template = "{{ ctx.day.strftime('%d') }} {{ ctx.get('no', 1) }} {{ ctx['items'].count('a') }}"
    assert parse_prompt(template, Path()).render({}, scope) == "22 1 1"


PIECES = st.sampled_from([
    "{{ ", " }}", "{% ", " %}", "for x in ", "endfor", "if ", "endif", "set x = ", "steps", "ctx", "env", ".a", "['a']",
    ".__class__", "(", ")", " ~ ", " * ", "9", "'a'", " | join", " | tojson", "range(9)", "include ", "block b",
    "endblock", "\n", "{#", "#}", "macro m()", "endmacro", "m()", ".items()",
])  # fmt: skip


@given(st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=20).map("".join)))
def test_whatever_a_template_says_is_a_text_or_an_error_of_ours(template: str) -> None:
    """Reading raises a PipelineLoadError at most, rendering a PromptRenderError."""
    with contextlib.suppress(PipelineLoadError, PromptRenderError):
        parse_prompt(template, Path(__file__).parent).render(
            {}, Scope({"a": [1]}, {"a": StepResult("a", {"a": 1})}, {"a": "b"})
        )


def test_nothing_is_different_each_time() -> None:
    """Jinja's own dice are not there."""
    with pytest.raises(PipelineLoadError, match="No filter named 'random'"):
        text("{{ [1, 2] | random }}")
    with pytest.raises(PromptRenderError, match="'lipsum' is undefined"):
        text("{{ lipsum() }}")


TWICE = (
    "{% set n = namespace(x=[1], y=[1], t=(1,)) %}{% for i in range(60) %}"
    "{% set n.x = [n.x, n.x] %}{% set n.y = [n.y, n.y] %}{% set n.t = (n.t, n.t) %}{% endfor %}"
)
"""Small in memory, and as a text longer than anything."""


@pytest.mark.parametrize(
    "template",
    [
        "{{ range(1000000000) }}",
        "{{ 'a' * 1000000000 }}",
        "{{ 1000000000 * 'a' }}",
        "{{ [1] * 1000000000 }}",
        "{{ 10 ** 1000000000 }}",
        "{{ 'a'.center(1000000000) }}",
        "{{ 'a'.ljust(1000000000) }}",
        "{{ 'a'.encode().zfill(1000000000) }}",
        "{{ 'a\t'.expandtabs(1000000000) }}",
        "{{ (1).to_bytes(1000000000, 'big') }}",
        "{{ 'a' | center(1000000000) }}",
        "{{ 'a\nb' | indent(1000000000) }}",
        "{{ 'a\nb' | indent('x' * 30000000) }}",
        "{{ 'a b' | wordwrap(1, wrapstring='x' * 40000000) }}",
        "{{ [1] | batch(1000000000, 0) | list }}",
        "{{ [1] | slice(1000000000) | list }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%.1000000000f' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ '%(a)1000000000d' | format(a=1) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ '{:{w}}'.format(1, w=1000000000) }}",
        "{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}",
        "{{ ('a' * 1000000) | replace('a', 'b' * 1000000) }}",
        "{{ ('a' * 1000000).join(range(90000) | map('string') | list) }}",
        "{{ range(90000) | map('string') | list | join('a' * 1000000) }}",
        "{{ 'a'.translate({97: 'b'}) }}",
        "{% set n = namespace(a='aaaa') %}{% for i in range(60) %}{% set n.a = n.a ~ n.a %}{% endfor %}",
        "{% set n = namespace(a='aaaa') %}{% for i in range(60) %}{% set n.a = n.a + n.a %}{% endfor %}",
        "{% set n = namespace(a=[1]) %}{% for i in range(60) %}{% set n.a = n.a + n.a %}{% endfor %}",
        "{% set n = namespace(a='a') %}{% for i in range(60) %}{% set n.a %}{{ n.a }}{{ n.a }}{% endset %}{% endfor %}",
        "{% set a = 'a' * 1000000 %}{% for i in range(100) %}{{ a }}{% endfor %}",
        "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}",
        "{% for i in range(90000) if i > 90000 %}{% endfor %}" * 12,
        "{{ ('\t' * 1500).expandtabs(1000000) }}",
        "{{ ('{0:999999}' * 1500).format(1) }}",
        "{{ ('{0}' * 60).format('x' * 30000000) }}",
        "{{ ('{0!r}' * 60).format(['x' * 30000000]) }}",
        "{{ '{0!r}'.format(['x' * 30000000] * 60) }}",
        "{{ ('%(a)999999d' * 1500) | format(a=1) }}",
        "{{ ('%999999d' * 1500) % ((1,) * 1500) }}",
        "{{ '%((a))1000000000d' % {'(a)': 1} }}",
        "{{ '%1000000000d'.encode() % 1 }}",
        "{{ ('%(a)s' * 60) % {'a': 'x' * 30000000} }}",
        "{{ '%s' % (['x' * 30000000] * 60) }}",
        "{{ (['x' * 30000000] * 60) | join }}",
        "{{ ([{'a': 'x' * 30000000}] * 60) | join(attribute='a') }}",
        "{{ ''.join(['x' * 30000000] * 60) }}",
        "{{ ['x' * 30000000] * 60 }}",
        "{{ 'a' ~ (['x' * 30000000] * 60) }}",
        "{{ (['x' * 30000000] * 60) | string }}",
        "{{ (['x' * 30000000] * 60) | tojson }}",
        "{{ {'a': ['x' * 30000000] * 60} | tojson(indent=2) }}",
        "{{ (['x' * 30000000] * 60) | pprint }}",
        "{{ (['x' * 30000000] * 60) | upper }}",
        "{{ steps.paper.value.model_dump_json(indent=400000000) }}",
        "{{ range(90000) | map('string') | map('center', 1000000) | list }}",
        "{% set n = namespace(a=[], b='x' * 30000000) %}"
        "{% for i in range(99) %}{% set n.a = n.a + [n.b[1:]] %}{% endfor %}",
        "{{ ([(1,) * 400000] * 90000) | sum(start=()) }}",
        "{{ ('a ' * 15000000).split() }}",
        "{{ 1.5 | round(400000000, 'ceil') }}",
        "{{ ('a' * 3000000) | wordwrap(1) }}",
        "{{ ('<!--' * 1000000) | striptags }}",
        "{{ range(90000) | select('in', range(90000, 180000) | list) | list }}",
        "{% set a = range(90000) | list %}{% for i in a %}{% if -1 in a %}{% endif %}{% endfor %}",
        TWICE + "{{ n.x }}",
        TWICE + "{{ n }}",
        TWICE + "{{ n.x | tojson(2) }}",
        TWICE + "{{ n.x == n.y }}",
        TWICE + "{{ 1 < 2 != n.x == n.y }}",
        TWICE + "{{ n.x in [n.y] }}",
        TWICE + "{{ [n.x, n.y] | sort }}",
        TWICE + "{{ [n.x, n.y] | map('list') | max }}",
        TWICE + "{{ n.x is eq(n.y) }}",
        TWICE + "{{ [n.x] | select('in', [n.y]) | list }}",
        TWICE + "{{ [n.x].index(n.y) }}",
        TWICE + "{{ {n.t: 1} }}",
        TWICE + "{{ ctx.map[n.t] }}",
        TWICE + "{{ ctx.map.get(n.t) }}",
        TWICE + "{{ dict([(n.t, 1)]) }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    ],
)  # fmt: skip
def test_what_has_no_end_is_refused(template: str) -> None:
    """Sizes are known before they are made, rounds and calls are counted."""
    with pytest.raises(PromptRenderError, match=r"too much|too deep"):
        text(template)


@pytest.mark.parametrize(
    "template",
    [
        "{{ " + "(" * 2_000 + "1" + ")" * 2_000 + " }}",
        "{% if x %}" * 2_000 + "{% endif %}" * 2_000,
        "{% if x %}" * 110 + "{% endif %}" * 110,
        "{{ " + "not (" * 150 + "x == y" + ")" * 150 + " }}",
        "{{ " + "x[" * 150 + "y" + "]" * 150 + " }}",
    ],
)
def test_templates_that_are_deep_are_refused(template: str) -> None:
    """Python's stack is not ours to end."""
    with pytest.raises(PipelineLoadError, match="nested too deep"):
        parse_prompt(template, Path())


def test_a_number_that_is_too_long_is_refused() -> None:
    """Python reads no integer of 5,000 digits."""
    with pytest.raises(PipelineLoadError, match="Syntax error in template"):
        parse_prompt("{{ " + "9" * 5_000 + " }}", Path())


def test_what_is_calculated_when_a_template_is_read_is_limited_too() -> None:
    """Jinja works out what is constant: reading it ends, whatever it is."""
    many = "[" + "1," * 3_000 + "]"
    with pytest.raises(PromptRenderError, match="too much"):
        text("{{ " + f"{many} | select('in', [{'2,' * 3_000}]) | list" + " }}" + "{{ 'x' | center(99999999) }}")


def test_what_is_in_itself_is_shown() -> None:
    """Python writes dots."""
    inner: list[Any] = [1]
    inner.append(inner)
    assert parse_prompt("{{ ctx.a }}", Path()).render({}, Scope({"a": inner}, {})) == "[1, [...]]"


def test_limits_leave_alone_what_prompts_do() -> None:
    """Lists that grow, comparisons, formats, sums of lists, long lists of the input."""
    rows = [{"name": f"n{number}", "tags": ["a", "b"]} for number in range(3_000)]
    template = (
        "{% set n = namespace(a=[]) %}{% for row in ctx.rows %}{% set n.a = n.a + [row.name] %}{% endfor %}"
        "{{ n.a | length }} {{ (ctx.rows | map(attribute='tags') | sum(start=[])) | length }}"
        " {{ (ctx.rows | sort(attribute='name') | first).name }} {{ 'n7' in n.a }} {{ ctx.rows[0] == ctx.rows[1] }}"
        " {{ '%-6s|%5.1f' % ('ab', 1.25) }} {{ '{:>4}'.format(7) }} {{ ctx.rows | tojson | length > 9 }}"
        " {{ 1 < 2 < 3 }} {{ ctx.rows | selectattr('name', 'in', ['n1', 'n2']) | map(attribute='name') | join('+') }}"
    )
    expected = "3000 6000 n0 True False ab    |  1.2    7 True True n1+n2"
    assert parse_prompt(template, Path()).render({}, Scope({"rows": rows}, {})) == expected


def test_what_is_large_and_fine_is_rendered() -> None:
    """The limits are far away from what prompts are."""
    document = "word " * 400_000
    scope = Scope({"doc": document, "rows": list(range(50_000))}, {})
    prompt = parse_prompt("{{ ctx.doc | upper }}{% for row in ctx.rows %}{{ row }},{% endfor %}", Path())
    assert len(prompt.render({}, scope)) > len(document)
