"""Every program that the parser accepts can be built, and what is built reads as what it was built of."""

from __future__ import annotations

from any_text import same_tree

from fabric.dsl import read
from fabric.lang.diagnostic import Report
from fabric.lang.format import format_source
from fabric.lang.parser import parse
from fabric.lang.source import Source

TEXTS = 4_000
BATCHES = 8


def examine(text: str) -> bool:
    """Build the program of a text, and look at the text of that. Return whether there is one."""
    source = Source("x.plumb", text)
    report = Report(source)
    tree = parse(source, report)
    if report.has_errors:
        return False
    built = read(source)
    assert same_tree(_placeless(built.tree), _placeless(tree)), "another tree"
    rendered = built.render()
    again = Source("x.plumb", rendered)
    remarks = Report(again)
    assert same_tree(parse(again, remarks), tree), f"another tree in the text:\n{rendered}"
    assert not remarks.diagnostics()
    assert format_source(again) == (rendered, ()), f"not as the formatter prints it:\n{rendered}"
    return True
