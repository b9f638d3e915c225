"""Drawings of a graph."""

from __future__ import annotations

import json

from plans import graph_of

from fabric.graph.render import FORMATS, render

TEXT = (
    'type P = { s: string }\nlet bot : !P -> !string = agent { provider: "eliza" }\n'
    "let main : !P -> !string = plumb(i, o) { i ; bot ; o }\n"
)

DOT = """\
digraph "program" {
  rankdir=LR;
  node [fontname=Helvetica];
  n0 [label="bot", shape=box];
  n1 [label="i (input)", shape=plaintext];
  n2 [label="o (output)", shape=plaintext];
  n1 -> n0 [label="!P"];
  n0 -> n2 [label="!string"];
}"""

MERMAID = """\
flowchart LR
  n0["bot"]
  n1(["i #40;input#41;"])
  n2(["o #40;output#41;"])
  n1 -->|"!P"| n0
  n0 -->|"!string"| n2"""


def test_dot_is_what_graphviz_reads():
    """Workers are boxes."""
    assert render(graph_of(TEXT), "dot") == DOT


def test_mermaid_escapes_what_mermaid_would_read():
    """Brackets in a label."""
    assert render(graph_of(TEXT), "mermaid") == MERMAID


def test_json_names_nodes_channels_and_loops():
    """With a version."""
    drawn = json.loads(render(graph_of(TEXT), "json"))
    assert (drawn["v"], drawn["name"], drawn["loops"]) == (1, "program", [])
    assert [node["id"] for node in drawn["nodes"]] == ["bot", "i", "o"]
    assert drawn["channels"][0] == {
        "from": {"node": "i", "port": "i"},
        "to": {"node": "bot", "port": "input"},
        "type": "P",
        "validated": False,
    }


def test_every_format_is_named():
    """What the command offers."""
    assert list(FORMATS) == ["mermaid", "svg", "ascii", "dot", "json"]
