"""The files of the VS Code extension agree with each other and with the language."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest
from programs import chunks

from fabric.lang.diagnostic import Report
from fabric.lang.lexer import RESERVED, tokenize
from fabric.lang.syntax import InlineKind
from fabric.wire.payload import PrimName

FOLDER = Path(__file__).parents[2] / "deploy/editors/vscode"
PACKAGE = json.loads((FOLDER / "package.json").read_text(encoding="utf-8"))
GRAMMAR = json.loads((FOLDER / "syntaxes/plumb.tmLanguage.json").read_text(encoding="utf-8"))
RULES = GRAMMAR["repository"]


def rules(node):
    """Yield every rule, at any depth."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from rules(value)
    elif isinstance(node, list):
        for value in node:
            yield from rules(value)


def expressions():
    """Yield the regular expressions of the grammar."""
    for rule in rules(GRAMMAR):
        yield from (rule[key] for key in ("match", "begin", "end") if isinstance(rule.get(key), str))


def words(name):
    """Return the words that a rule lists."""
    without_lookahead = re.sub(r"\(\?[=!][^)]*\)", "", RULES[name]["match"])
    return set(re.findall(r"[a-z_]{2,}", without_lookahead.replace(r"\b", "")))


def test_named_files_are_there():
    """The extension has what its package.json names."""
    contributes = PACKAGE["contributes"]
    for name in (
        PACKAGE["main"],
        contributes["languages"][0]["configuration"],
        contributes["grammars"][0]["path"],
    ):
        assert (FOLDER / name).is_file()
    assert contributes["grammars"][0]["scopeName"] == GRAMMAR["scopeName"]
    assert not [*FOLDER.glob("*lock*")]


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_expressions_compile(expression):
    """Those of TextMate are read by Oniguruma; what is used here means the same to Python."""
    re.compile(expression)


def test_included_rules_are_there():
    """No rule is misspelt, and none is left over."""
    included = {rule["include"].removeprefix("#") for rule in rules(GRAMMAR) if "include" in rule}
    assert included == RULES.keys()


def test_words_are_those_of_the_language():
    """A new word of the language is a new word of the grammar."""
    assert words("keyword") | words("constant") - {"null"} == RESERVED | {"python", "worker", "select", "offer"}
    assert words("morphism") == set(get_args(InlineKind))
    assert words("primitive") == set(get_args(PrimName))
    excluded = re.search(r"\(\?:([a-z|]+)\)", RULES["key"]["match"])[1].split("|")
    assert set(excluded) == RESERVED


@pytest.mark.parametrize(("kind", "rule"), [("number", "number"), ("comment", "comment"), ("name", "type")])
def test_tokens_are_found_as_the_lexer_finds_them(kind, rule):
    """In every program that there is: numbers, the starts of comments, names with a capital."""
    expression = re.compile(RULES[rule].get("match") or RULES[rule]["begin"])
    for name, chunk in chunks().items():
        source = chunk.source
        report = Report(source)
        lexed = tokenize(source, report)
        if report.has_errors:
            continue
        spans = (
            lexed.comments
            if kind == "comment"
            else [t.span for t in lexed.tokens if t.kind == kind and (kind != "name" or t.text[0].isupper())]
        )
        for span in spans:
            found = expression.match(source.text, span.start)
            assert found is not None, (name, source.text[span.start : span.end])
            assert kind == "comment" or found.end() == span.end


def test_the_configurations_of_other_editors_are_read():
    """What the README says to put into a TOML file is TOML."""
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    [helix] = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)
    assert tomllib.loads(helix)["language-server"]["plumb"] == {"command": "fabric", "args": ["lsp"]}
    assert PACKAGE["contributes"]["configuration"]["properties"]["plumb.server"]["default"] == ["fabric", "lsp"]
