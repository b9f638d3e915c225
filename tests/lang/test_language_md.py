"""The examples of LANGUAGE.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fabric.lang
from fabric.compiler import check_text
from fabric.lang.config import KEYS, PROVIDERS
from fabric.lang.diagnostic import render_all
from fabric.lang.lexer import RESERVED
from fabric.lang.source import Source

TEXT = (Path(fabric.lang.__file__).parent / "LANGUAGE.md").read_text(encoding="utf-8")
EXAMPLES = [
    pytest.param(match[1], match[2], id=str(TEXT[: match.start()].count("\n") + 1))
    for match in re.finditer(r"```plumb( error)?\n(.*?)```", TEXT, re.DOTALL)
]


@pytest.mark.parametrize(("mark", "text"), EXAMPLES)
def test_an_example_checks_clean_or_fails_as_marked(mark, text):
    """A block marked ``plumb`` has no diagnostics at all, one marked ``plumb error`` has an error."""
    module, diagnostics = check_text(Source("LANGUAGE.md", text))
    if mark:
        assert module is None
    else:
        assert not diagnostics, render_all(diagnostics)


def test_there_are_examples():
    """The pattern above finds them."""
    assert len(EXAMPLES) >= 10


def test_every_key_provider_and_reserved_word_is_told():
    """The reference names whatever the checker knows."""
    words = set(re.findall(r"\w+", TEXT))
    assert {key for keys in KEYS.values() for key in keys} <= words
    assert set(PROVIDERS) <= words
    assert words >= RESERVED
