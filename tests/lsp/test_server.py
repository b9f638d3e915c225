"""A real editor's side against the real `fabric lsp`."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys

import pytest
from editors import editor

pytestmark = pytest.mark.processes

PATIENCE_S = 60

WRONG = """\
type Draft = { title: string, body: string }
let write : !string -> !Draft = agent { }
let main : !string -> !string = plumb(topic, text) {
  topic ; write ; text
}
"""
GOOD = WRONG.replace("write ; text", "write.body ; text")


def with_editor(scenario):
    """Run a scenario with a server of its own; it ends in time, or fails."""

    @functools.wraps(scenario)
    def test(tmp_path):
        async def run():
            async with editor() as it:
                await scenario(it, tmp_path)

        asyncio.run(asyncio.wait_for(run(), PATIENCE_S))

    del test.__wrapped__  # pytest would take the scenario's arguments for fixtures
    return test


@with_editor
async def test_a_mistake_is_told_and_its_mending_too(it, tmp_path):
    """Open, change a piece, close: each with the diagnostics that belong to it, and the server ends well."""
    uri = (tmp_path / "main.plumb").as_uri()
    capabilities = await it.start()
    assert capabilities["positionEncoding"] == "utf-16"
    it.open(uri, WRONG)
    [found] = await it.diagnostics(uri)
    assert (found["code"], found["severity"], found["source"]) == ("E0412", 1, "fabric")
    assert found["message"].startswith("cannot wire !Draft to output 'text' of type !string")
    assert "fabric explain E0412" in found["message"]
    assert found["range"] == {"start": {"line": 3, "character": 10}, "end": {"line": 3, "character": 15}}
    assert found["relatedInformation"][0]["location"]["uri"] == uri
    it.change(uri, 2, ((3, 15), (3, 15), ".bod"), ((3, 19), (3, 19), "y"))
    assert await it.diagnostics(uri) == []
    it.change(uri, 3, WRONG)
    assert await it.diagnostics(uri) != []
    it.notify("textDocument/didClose", textDocument={"uri": uri})
    assert await it.diagnostics(uri) == []
    assert await it.end() == 0


@with_editor
async def test_questions_are_answered(it, tmp_path):
    """Hover, definition, symbols, completion."""
    uri = (tmp_path / "main.plumb").as_uri()
    await it.start()
    it.open(uri, GOOD)
    assert await it.diagnostics(uri) == []
    hover = await it.at("hover", uri, 3, 12)
    assert "let write : !string -> !Draft = agent" in hover["contents"]["value"]
    assert "gets `!string` from `topic`" in hover["contents"]["value"]
    assert hover["range"]["start"] == {"line": 3, "character": 10}
    target = await it.at("definition", uri, 1, 25)
    assert target == {
        "uri": uri,
        "range": {"start": {"line": 0, "character": 5}, "end": {"line": 0, "character": 10}},
    }
    symbols = await it.ask("textDocument/documentSymbol", textDocument={"uri": uri})
    assert [symbol["name"] for symbol in symbols] == ["Draft", "write", "main"]
    assert [child["name"] for child in symbols[2]["children"]] == ["topic", "text", "write"]
    it.change(uri, 2, ((3, 15), (3, 20), "@"))
    items = (await it.at("completion", uri, 3, 16))["items"]
    assert [item["label"] for item in items] == ["input", "output", "telemetry"]
    assert items[0]["textEdit"]["range"] == {
        "start": {"line": 3, "character": 16},
        "end": {"line": 3, "character": 16},
    }
    it.change(uri, 3, "use fs\nlet main : !string -> !string = agent { tools: [Fs.read] }\n")
    assert (await it.at("definition", uri, 1, 52))["uri"].endswith("/fabric/library/fs.plumb")
    assert await it.at("hover", uri, 900, 900) is None
    assert await it.at("hover", "file:///not/open.plumb", 0, 0) is None
    assert await it.end() == 0


@with_editor
async def test_texts_are_laid_out(it, tmp_path):
    """With the line ends that they have; what cannot be read is left alone."""
    uri = (tmp_path / "main.plumb").as_uri()
    question = {"textDocument": {"uri": uri}, "options": {"tabSize": 2, "insertSpaces": True}}
    await it.start()
    it.open(uri, "type T=int\r\nlet   main : !T -> !T = id\r\n")
    [change] = await it.ask("textDocument/formatting", **question)
    start, end = ((change["range"][side]["line"], change["range"][side]["character"]) for side in ("start", "end"))
    it.change(uri, 2, (start, end, change["newText"]))
    assert await it.ask("textDocument/formatting", **question) == []
    assert change["newText"].count("\r\n") == change["newText"].count("\n") > 0
    it.change(uri, 3, "type T=")
    assert await it.ask("textDocument/formatting", **question) is None
    assert await it.end() == 0


@with_editor
async def test_other_files_are_read_from_the_editor_first(it, tmp_path):
    """A change in an open module that is not saved is seen by those that use it, and their mistakes go with it."""
    (tmp_path / "words.plumb").write_text("let count : !string -> !string = agent { }\n")
    main, words = ((tmp_path / name).as_uri() for name in ("main.plumb", "words.plumb"))
    await it.start()
    it.open(main, "use words\nlet main : !string -> !int = Words.count ; id\n")
    [found] = await it.diagnostics(main)
    assert found["code"] == "E0412"
    assert found["relatedInformation"][0]["location"]["uri"] == main
    target = await it.at("definition", main, 1, 38)
    assert target["uri"] == words
    assert target["range"]["start"] == {"line": 0, "character": 4}
    it.change(main, 2, "use words\nlet main : !string -> !json = plumb(i, o) { i ; Words.count@no ; o }\n")
    [found] = [found for found in await it.diagnostics(main) if found["code"] == "E0203"]
    assert found["relatedInformation"][0]["location"]["uri"] == words
    it.change(main, 3, "use words\nlet main : !string -> !int = Words.count ; id\n")
    assert [found["code"] for found in await it.diagnostics(main)] == ["E0412"]
    it.open(words, "let count : !string -> !int = agent { }\n")
    assert await it.diagnostics(main) == []
    assert [found["code"] for found in await it.diagnostics(words)] == []
    it.change(words, 2, "let count : !string -> !int = agent { tools: [none] }\nlet main : !int -> !int = id\n")
    [found] = await it.diagnostics(words)
    assert found["code"] == "E0202"
    it.notify("textDocument/didClose", textDocument={"uri": words})
    assert [found["code"] for found in await it.diagnostics(main)] == ["E0412"]
    assert await it.diagnostics(words) == []
    (tmp_path / "words.plumb").write_text("let count : !string -> !int = agent { }\n")
    it.notify("workspace/didChangeWatchedFiles", changes=[{"uri": words, "type": 2}])
    assert await it.diagnostics(main) == []
    target = await it.at("definition", main, 0, 5)
    assert target["uri"] == words
    assert await it.end() == 0


@pytest.mark.parametrize(
    ("said", "agreed", "column"),
    [([], "utf-16", 11), (["utf-8", "utf-16"], "utf-8", 15)],
)
def test_columns_are_counted_as_agreed(tmp_path, said, agreed, column):
    """Behind characters that are of several units, a separator that ends no line, and lines that end as on Windows."""

    @with_editor
    async def scenario(it, folder):
        uri = (folder / "main.plumb").as_uri()
        capabilities = await it.start(said)
        assert capabilities["positionEncoding"] == agreed
        it.open(uri, "(* 😀 *) let main : !string ->\r\n(* \u2028😀 *) !strin = agent { }\r\n")
        [found] = await it.diagnostics(uri)
        end = {"line": 1, "character": column + len("strin")}
        assert found["range"] == {"start": {"line": 1, "character": column}, "end": end}
        it.change(uri, 2, ((1, end["character"]), (1, end["character"]), "g"))
        assert await it.diagnostics(uri) == []
        assert await it.end() == 0

    scenario(tmp_path)


@with_editor
async def test_nonsense_does_not_end_the_server(it, tmp_path):
    """Changes of texts that are not open, unknown notifications, and a text that is not a program."""
    uri = (tmp_path / "main.plumb").as_uri()
    await it.start()
    it.change("file:///not/open.plumb", 1, "x")
    it.notify("fabric/unheardOf", x=1)
    it.open(uri, 'let main : "( (* {{{ @@ \ud83d')
    assert await it.diagnostics(uri) != []
    it.open("untitled:Untitled-1", WRONG)
    [found] = await it.diagnostics("untitled:Untitled-1")
    assert found["code"] == "E0412"
    assert await it.end() == 0


@with_editor
async def test_the_server_ends_when_the_editor_is_gone(it, tmp_path):
    """A closed pipe is enough; nothing is left running."""
    await it.start()
    it.open((tmp_path / "main.plumb").as_uri(), WRONG)
    await it.diagnostics((tmp_path / "main.plumb").as_uri())
    it.process.stdin.close()
    assert await it.process.wait() == 1


@with_editor
async def test_the_server_ends_when_the_editor_dies_in_a_word(it, tmp_path):
    """Half a message is no message."""
    await it.start()
    it.process.stdin.write(b"Content-Length: 1000\r\n\r\n{")
    it.process.stdin.close()
    assert await it.process.wait() == 1


def test_without_the_extra_it_says_what_to_install():
    """Exit code 2, and the command that mends it."""
    hide = "import sys; sys.modules['pygls'] = None; from fabric.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", hide, "lsp", "--stdio"], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert result.returncode == 2
    assert "pip install 'plumb-fabric[lsp]'" in result.stderr
