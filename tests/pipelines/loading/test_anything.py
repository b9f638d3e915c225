"""Whatever stands in a file, it is a pipeline or it is told what is wrong, with a place."""

from __future__ import annotations

import copy

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fabric.pipelines.errors import PipelineLoadError
from fabric.pipelines.loading.pipeline import load_pipeline

_WHOLE = """
models:
  m: {provider: mock, model: x, timeout: 1, cache: {enabled: true}, pricing: {input_per_1k: 1}, mock_responses: [a]}
parsers: {read: "json:loads"}
outputs: {dir: out, final_as: last.json}
execution: {mode: sequential, budget_usd: 1}
steps:
  - name: a
    model: m
    prompt: p.j2
    system: "{{ ctx.a }}"
    parser: read
    retry_on: [parse]
    vars: {b: "{{ ctx.a }}"}
    schema: {title: str, kind: {type: str, vocab: {terms: [x]}}, records: {type: list, items: {name: str}}}
    condition: ctx.a is none
  - name: c
    type: condition
    if: steps.a.title
    then: {name: e, type: io, fn: "os:getcwd", inputs: {x: ["{{ steps.a }}"]}}
    else: [{name: v, type: validate, condition: ctx.a}]
  - name: f
    type: ensemble
    prompt_string: Ask.
    members: [{model: m, seed: 1}]
    judge: {model: m, condition: any_succeeded}
  - {name: h, type: http, url: "http://x", headers: {a: b}, expected_status: [200]}
  - name: i
    type: parallel
    steps: [{name: j, type: transform, fn: "os:getcwd", save: j.json}]
"""

_ODD = st.sampled_from(
    [
        *(
            None,
            True,
            0,
            -1,
            1.5,
            float("nan"),
            float("inf"),
            "",
            "a",
            "{{ steps.j }}",
            "{{",
            "}}{{",
            "${X}",
            "os:sep",
            "a:b",
        ),
        *(
            "../x",
            "x\0y",
            "\n",
            "_x",
            "$ref",
            [],
            [[]],
            {},
            {"a": 1},
            {1: 2},
            {"$ref": "x.yaml"},
            ["{{ 1 + }}"],
            {"name": "a"},
        ),
        *("steps.h.x.y", "x" * 5_000, "é", "<<", "null", [None], {"type": "lmm"}),
    ]
)


def _places(data, path=()):
    yield path
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _places(value, (*path, key))
    elif isinstance(data, list):
        for number, value in enumerate(data):
            yield from _places(value, (*path, number))


_DATA = yaml.safe_load(_WHOLE)
_PLACES = st.sampled_from([path for path in _places(_DATA) if path])
_CHANGES = st.lists(st.tuples(_PLACES, st.sampled_from(["put", "drop", "rename"]), _ODD), min_size=1, max_size=3)


def _changed(changes):
    data = copy.deepcopy(_DATA)
    for path, how, odd in changes:
        at = data
        try:
            for part in path[:-1]:
                at = at[part]
            if how == "put":
                at[path[-1]] = odd
            elif how == "drop":
                del at[path[-1]]
            else:
                at[str(odd)[:20]] = at.pop(path[-1])
        except (LookupError, TypeError, AttributeError):
            continue
    return data


def test_the_whole_is_right(tmp_path):
    """So what is wrong after a change was made by it."""
    (tmp_path / "pipeline.yaml").write_text(_WHOLE)
    (tmp_path / "p.j2").write_text("{{ ctx.a }}")
    assert load_pipeline(tmp_path / "pipeline.yaml", environment={}).warnings == ()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(_CHANGES)
def test_any_change_is_a_pipeline_or_an_error(tmp_path, changes):
    """Nothing but an error of loading ever comes of it, and that has its file."""
    path = tmp_path / "pipeline.yaml"
    path.write_text(yaml.safe_dump(_changed(changes), allow_unicode=True))
    (tmp_path / "p.j2").write_text("{{ ctx.a }}")
    try:
        load_pipeline(path, environment={})
    except PipelineLoadError as error:
        problems = error.problems
    else:
        problems = ()
    assert all(problem.file and problem.message for problem in problems)
