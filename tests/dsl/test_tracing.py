"""What is wrong is told of the rendered text and of the line of Python that built it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabric.dsl import (
    COPY,
    ID,
    Agent,
    BuiltCheckError,
    F,
    Filter,
    Map,
    PlumbBody,
    PortRef,
    Program,
    Raw,
    Record,
    Tensor,
    read,
)
from fabric.errors import CheckError
from fabric.lang.source import Source

HERE = Path(__file__)
LINES = HERE.read_text(encoding="utf-8").splitlines()


def marked(word: str) -> int:
    """Return the number of the line of this file that ends with a mark."""
    (line,) = (number for number, text in enumerate(LINES, 1) if text.endswith(f"# {word}"))
    return line


def broken() -> Program:
    program = Program()
    program.let("writer", str, Record([("text", str)]), Agent())
    program.let("reader", int, str, Agent(modle="m"))  # key
    body = PlumbBody("i", "o")
    body.wire("i", "writer", "reader", "o")  # type
    condition = F.text == 3  # expression
    body.wire(
        "writer",
        Filter(condition),
        Map(a=F.txt),  # field
        COPY,
        "nobody",
    )
    body.raw("writer ; nothing")  # raw
    program.let("main", str, str, body)
    program.let("other", "Unknown", str, ID)  # unknown
    return program


def test_each_mistake_has_its_line():
    """That of the innermost element that holds it."""
    with pytest.raises(BuiltCheckError) as caught:
        broken().check()
    error = caught.value
    assert isinstance(error, CheckError)
    found = {(d.slug, origin.line) for d, origin in zip(error.diagnostics, error.origins, strict=True) if origin}
    assert {
        ("type_mismatch", marked("type")),
        ("expr_type", marked("expression")),
        ("unknown_field", marked("field")),
        ("unknown_process", marked("raw")),
        ("unknown_process", marked("raw") - 7),  # the call of wire() that names it
        ("unknown_type", marked("unknown")),
        ("unknown_config_key", marked("key")),
    } == found
    assert {origin.path for origin in error.origins if origin} == {str(HERE)}
    assert f"= built at tests/dsl/test_tracing.py:{marked('field')}: Map(a=F.txt),  # field" in str(error)
    assert (error.code, error.diagnostics[0].source.text) == (error.diagnostics[0].slug, broken().render())


def test_of_what_covers_the_same_text_the_innermost_counts():
    """A chain of one name is as long as the name."""
    nobody = PortRef("nobody")  # innermost
    program = Program()
    program.let("main", str, str, nobody)
    with pytest.raises(BuiltCheckError) as caught:
        program.check()
    assert [origin and origin.line for origin in caught.value.origins] == [marked("innermost")]


def test_a_warning_has_its_line():
    """A program that checks may still be remarked on."""
    program = Program()
    program.let("main", str, str, Agent(provider="eliza", modle="m"))  # warned
    (warning,) = program.check().warnings
    assert warning.notes[-1].startswith(f"built at tests/dsl/test_tracing.py:{marked('warned')}: program.let")


def test_what_was_not_built_has_none():
    """A program without a main is a mistake of none of its lines."""
    program = Program()
    program.let("a", str, str, Agent())
    program.let("b", str, str, Agent())
    with pytest.raises(BuiltCheckError) as caught:
        program.check()
    assert (caught.value.code, caught.value.origins) == ("no_main", (None,))


def test_a_mistake_of_a_file_that_is_used_has_none(tmp_path):
    """It is in that file, and the error says where."""
    (tmp_path / "lib.plumb").write_text("type A = Nothing\n")
    program = Program(directory=tmp_path)
    program.use("lib")
    program.let("main", "Lib.A", str, Agent())
    with pytest.raises(BuiltCheckError, match=r"lib.plumb:1:10") as caught:
        program.check()
    assert caught.value.origins == (None,)


def test_what_is_nested_too_deeply_is_told_of_its_declaration():
    """The parser counts more exactly than those who build."""
    element = ID
    for _ in range(85):
        element = Tensor(element)
    program = Program()
    program.let("a", str, str, ID)
    program.let("main", str, str, element)  # deep
    with pytest.raises(BuiltCheckError, match="nested too deeply") as caught:
        program.render()
    assert [origin and origin.line for origin in caught.value.origins] == [marked("deep")]


def test_a_program_that_was_read_comes_from_its_text():
    """Its lines are those of the file."""
    text = "\nlet main : !string -> !string = plumb(i, o) {\n  i ; o\n  i ; nobody\n}"
    program = read(Source("dir/some.plumb", text))
    with pytest.raises(BuiltCheckError) as caught:
        program.check()
    assert [(origin.path, origin.line) for origin in caught.value.origins if origin] == [("dir/some.plumb", 4)]
    assert program.source.path == "dir/program.plumb"


def test_a_text_that_cannot_be_read_is_refused():
    """As anywhere."""
    with pytest.raises(CheckError, match="expected the name of a process"):
        read("let")
    with pytest.raises(CheckError, match=r"some\.plumb:1:1"):
        read(Source("some.plumb", "else"))


def test_its_graph_shows_itself():
    """In a notebook; a program that does not check yet has none."""
    program = Program()
    assert program._repr_svg_() is None
    program.let("main", str, str, Raw('agent { provider: "eliza" }'))
    assert "<svg" in (program._repr_svg_() or "")
