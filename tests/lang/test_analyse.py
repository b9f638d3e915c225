"""What is known of a program that has mistakes."""

from __future__ import annotations

from fabric.lang.check import analyse, check_source
from fabric.lang.modules import Found, Missing
from fabric.lang.source import Source
from fabric.wire.payload import show

WRONG = """\
use words
type Draft = { text: string }
let write : !string -> !Draft = agent { }
let broken : !string - !Draft = agent { }
let main : !string -> !int = plumb(topic, count) {
  topic ; write ; nobody
  write.text ; Words.count ; count
}
"""


class OneFile:
    """Has `words` and nothing else."""

    def find(self, name, *, is_path, importer):
        """Return it."""
        return Found("words.plumb", "let count : !string -> !int = agent { }") if name == "words" else Missing("none")


def test_what_could_be_read_is_known():
    """Types, processes, and what of a body could be wired; the file itself behind those that it uses."""
    analysis = analyse(Source("main.plumb", WRONG), OneFile())
    assert [*analysis.files] == ["words.plumb", "main.plumb"]
    main = analysis.files["main.plumb"]
    assert main.uses == {"Words": "words.plumb"}
    assert [*main.processes] == ["write", "main", "Words.count"]
    assert show(main.processes["write"].outputs[0].type) == "Draft"
    body = main.bindings["main"].body
    assert [instance.name for instance in body.instances] == ["write", "map@7", "Words.count"]
    assert len(body.connections) == 4


def test_there_is_a_module_if_there_is_no_error():
    """And the diagnostics are those of a check."""
    wrong, right = Source("x", WRONG), Source("x", "let main : !int -> !int = id")
    assert analyse(wrong, OneFile()).module is None
    assert analyse(right).module.main == "main"
    assert [found.code for found in analyse(wrong, OneFile()).diagnostics] == [
        found.code for found in check_source(wrong, OneFile())[1]
    ]
