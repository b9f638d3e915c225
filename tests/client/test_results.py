"""What ``fabric.check`` tells of a program."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path
from xml.etree import ElementTree

import anyio
import pytest

import fabric
from fabric.dsl import F, Map, Program
from fabric.lang.source import Source
from fabric.wire.payload import INT, STRING, to_plain

PROGRAM = """\
type Score = int
type Draft = { title: string, mark?: Score }
protocol Shelf = { fetch: send string . recv json . loop, quit: end }

let writer : (!(string | Draft), !json) -> (!Draft, !json) = agent { provider: "eliza" prompt: "Write." }
let old : string -> string = agent { provider: "eliza" }
let first : !(int, string) -> !int = project(0)
let twice : int -> int = map(value * 2)
let calc : int -> int = tool { process: twice }
let chain : !int -> !int = twice ; map(value + 1)
let main : (!string, !json) -> !Draft = plumb(topic, steer, draft) {
  topic ; writer ; draft
  steer ; writer@ctrl_in
}
"""

SVG = "{http://www.w3.org/2000/svg}svg"
STREAM_OF_STRINGS = {"kind": "stream", "item": to_plain(STRING)}


def checked(text: str) -> fabric.CheckResult:
    return fabric.check(Source("main.plumb", text))


@pytest.mark.parametrize(
    ("name", "given", "made", "impl"),
    [
        ("writer", "(!(string | Draft), !json)", "(!Draft, !json)", "agent"),
        ("old", "!string", "!string", "agent"),
        ("first", "!(int, string)", "!int", "project"),
        ("twice", "int", "int", "map"),
        ("calc", "int", "int", "tool"),
        ("chain", "!int", "!int", "pipeline"),
        ("main", "(!string, !json)", "!Draft", "pipeline"),
    ],
)
def test_a_binding_has_its_signature_and_its_kind(name: str, given: str, made: str, impl: str):
    """The old form of an agent, without ``!``, is told as what it means."""
    binding = {binding.name: binding for binding in checked(PROGRAM).bindings}[name]
    assert (binding.input, binding.output, binding.impl) == (given, made, impl)


def test_bindings_come_in_the_order_of_the_text():
    """As do types and protocols."""
    result = checked(PROGRAM)
    assert [binding.name for binding in result.bindings] == ["writer", "old", "first", "twice", "calc", "chain", "main"]
    assert [decl.name for decl in result.types] == ["Score", "Draft"]
    assert [decl.name for decl in result.protocols] == ["Shelf"]
    assert (result.version, result.main) == ("1.0", "main")


def test_types_are_plain_data():
    """JSON values: lists, not tuples. Names stay, with what they mean."""
    writer, old, _, twice, *_, main = checked(PROGRAM).bindings
    score = {"kind": "name", "name": "Score", "type": to_plain(INT)}
    draft = {
        "kind": "name",
        "name": "Draft",
        "type": {
            "kind": "record",
            "fields": [
                {"name": "title", "type": to_plain(STRING), "optional": False},
                {"name": "mark", "type": score, "optional": True},
            ],
        },
    }
    assert old.input_type == STREAM_OF_STRINGS
    assert twice.input_type == to_plain(INT)
    assert main.output_type == {"kind": "stream", "item": draft}
    json = {"kind": "stream", "item": {"kind": "prim", "name": "json"}}
    variants = {"kind": "sum", "variants": [to_plain(STRING), draft]}
    assert writer.input_type == {"kind": "product", "items": [{"kind": "stream", "item": variants}, json]}
    assert [decl.type for decl in checked(PROGRAM).types] == [score, draft]


def test_the_configuration_of_a_binding_is_what_is_written():
    """Without defaults, but for the model of ``eliza``."""
    assert checked(PROGRAM).bindings[0].attrs == {"provider": "eliza", "model": "doctor", "prompt": "Write."}
    assert checked(PROGRAM).bindings[4].attrs == {"process": "twice"}


def test_declarations_keep_their_text():
    """Comments inside included."""
    result = checked(PROGRAM.replace("{ title", "(* the *) { title"))
    assert result.types[1].definition == "type Draft = (* the *) { title: string, mark?: Score }"
    (shelf,) = result.protocols
    assert shelf.definition == "protocol Shelf = { fetch: send string . recv json . loop, quit: end }"
    assert shelf.states[0] == {
        "state": "Choice",
        "way": "there",
        "branches": [["fetch", 1], ["quit", 3]],
        "told": ["quit"],
    }


def test_a_program_that_does_not_check_says_where():
    """The fields are those of the first error."""
    with pytest.raises(fabric.CheckError) as caught:
        checked("let main : !string -> !Nothing = id\n")
    error = caught.value
    assert (error.code, error.category, error.line, error.column) == ("unknown_type", "name", 1, 24)
    assert error.detail == "there is no type 'Nothing'"


def test_a_file_that_cannot_be_read_is_no_program(tmp_path: Path):
    """What a command would have ended with is 2."""
    with pytest.raises(fabric.RunError, match=r"cannot read .*nowhere\.plumb: No such file") as caught:
        fabric.check(tmp_path / "nowhere.plumb")
    assert caught.value.returncode == 2
    (tmp_path / "latin.plumb").write_bytes(b"\xff")
    with pytest.raises(fabric.RunError, match="it is not UTF-8 text"):
        fabric.check(str(tmp_path / "latin.plumb"))


def test_modules_are_found_as_the_command_finds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In the search path, then in PLUMB_PATH; their bindings are not the program's own."""
    for folder, number in (("one", 1), ("two", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mod.plumb").write_text(
            f"type T = {{ a{number}: int }}\nlet f : !T -> !T = id\n", encoding="utf-8"
        )
    main = tmp_path / "main.plumb"
    main.write_text("use mod\nlet main : !Mod.T -> !Mod.T = Mod.f ; id\n", encoding="utf-8")
    monkeypatch.delenv("PLUMB_PATH", raising=False)
    with pytest.raises(fabric.CheckError, match="no module 'mod'"):
        fabric.check(main)
    monkeypatch.setenv("PLUMB_PATH", str(tmp_path / "two"))
    (binding,) = fabric.check(main).bindings
    assert (binding.name, binding.input) == ("main", "!Mod.T")
    assert binding.input_type["item"]["type"]["type"]["fields"][0]["name"] == "a2"
    (binding,) = fabric.check(main, search_path=[tmp_path / "one"]).bindings
    assert binding.input_type["item"]["type"]["type"]["fields"][0]["name"] == "a1"


def test_warnings_are_there_to_read():
    """They do not stop a program."""
    (warning,) = checked('let main : string -> string = agent { provider: "eliza" }').warnings
    assert warning.slug == "legacy_form"


def test_a_notebook_shows_the_wiring():
    """As ``fabric graph --format svg`` draws it."""
    picture = ElementTree.fromstring(checked(PROGRAM)._repr_svg_())
    assert picture.tag == SVG
    assert "writer" in "".join(picture.itertext())


def test_a_notebook_shows_an_image_whose_style_stays_inside():
    """And below it what the checker remarked."""
    result = checked('let main : string -> string = agent { provider: "eliza" }')
    found = result._repr_html_()
    image, _, below = found.partition(">")
    assert below.startswith("<pre>warning[W0112]: the signature of &#x27;main&#x27; without")
    start = 'src="data:image/svg+xml;base64,'
    svg = b64decode(image[image.index(start) + len(start) : -1]).decode()
    assert svg == result._repr_svg_()
    assert checked("let main : !int -> !int = id")._repr_html_().endswith(">")


def test_a_notebook_shows_a_program_that_runs_and_one_that_is_built():
    """As it shows one that was checked."""
    source = Source("main.plumb", "let main : !int -> !int = map(value + 1)\n")
    svg, html = fabric.check(source)._repr_svg_(), fabric.check(source)._repr_html_()
    built = Program()
    built.let("main", input=int, output=int, impl=Map(F.value + 1))
    assert Program()._repr_html_() is None
    assert (Program()._repr_svg_(), ElementTree.fromstring(built._repr_svg_() or "").tag) == (None, SVG)
    assert (built._repr_html_() or "").startswith("<img ")

    async def main() -> None:
        async with await fabric.run(source) as pipeline:
            assert (pipeline._repr_svg_(), pipeline._repr_html_()) == (svg, html)

    anyio.run(main)
