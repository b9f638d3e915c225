"""The JSON Schema of pipeline files says what the reader reads."""

from __future__ import annotations

import jsonschema
import pytest
import yaml

from fabric.pipelines.loading.emit import pipeline_json_schema
from fabric.pipelines.loading.keys import STEP_TYPES, step_keys

SCHEMA = pipeline_json_schema()
CHECK = jsonschema.Draft7Validator(SCHEMA)


def wrong(text):
    return [error.json_path for error in CHECK.iter_errors(yaml.safe_load(text))]


def test_it_is_a_schema():
    """Of draft 7."""
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def test_it_knows_every_key_of_every_step():
    """They come from the same lists."""
    known = SCHEMA["definitions"]["Step"]["properties"]
    assert {key.name for kind in STEP_TYPES for key in step_keys(kind)} == set(known)
    assert known["type"]["enum"] == list(STEP_TYPES)


GOOD = """
models:
  m: {provider: mock, model: "${NAME:-x}", timeout: "${T}", cache: {enabled: true}, mock_responses: [a]}
  mine: {provider: mine, mood: good}
outputs: {dir: out, final_as: last.json}
execution: {mode: sequential}
steps:
  - name: a
    model: m
    prompt: p.j2
    retry_on: [parse, timeout]
    schema:
      title: str
      tags: {type: "list[str]", min_items: 1, on_fail: null}
      kind: {type: str, vocab: {terms: [x]}}
      records: {type: list, items: {name: str}}
  - {name: b, model: m, schema: "schemas:Paper", save: false}
  - {name: c, model: m, schema: {$ref: paper.yaml}}
  - {name: d, type: condition, if: ctx.a, then: {name: e, type: io, fn: "a:b"}}
  - {name: f, type: ensemble, members: [{model: m, seed: 1}], judge: {model: m, condition: any_succeeded}}
  - {name: g, type: validate, condition: ctx.a}
  - {name: h, type: http, url: "http://x", expected_status: [200]}
  - {name: i, type: parallel, steps: [{name: j, type: transform, fn: "a:b", inputs: {x: 1}}]}
"""


def test_a_file_with_everything_is_right():
    """All types of steps."""
    assert wrong(GOOD) == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("steps: [{name: a, type: lmm}]", "$.steps[0].type"),
        ("steps: [{type: io, fn: 'a:b'}]", "$.steps[0]"),
        ("steps: [{name: a}]", "$.steps[0]"),
        ("steps: [{name: a, type: io}]", "$.steps[0]"),
        ("steps: [{name: a, type: validate}]", "$.steps[0]"),
        ("steps: [{name: a, model: m, max_attempt: 3}]", "$.steps[0]"),
        ("steps: [{name: a, model: m, max_attempts: 0}]", "$.steps[0].max_attempts"),
        ("steps: [{name: a, model: m, save: true}]", "$.steps[0].save"),
        ("steps: [{name: a, model: m, schema: {x: {pattern: y}}}]", "$.steps[0].schema"),
        ("steps: [{name: a, type: ensemble, members: []}]", "$.steps[0].members"),
        ("models: {m: {timeout: 0}}", "$.models.m.timeout"),
        ("outputs: {dri: x}", "$.outputs"),
    ],
)
def test_what_is_wrong_is_shown_where_it_is(text, path):
    """As far as the shape goes."""
    assert wrong(text) == [path]
