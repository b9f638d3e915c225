"""The list of what a file declares."""

from __future__ import annotations

from cursors import At

from fabric.lsp.outline import outline

PROGRAM = """\
use fs
type Check = { pass: bool }
protocol P = send Check . end
let verify : !string -> !Check = agent { }
let main : !string -> !bool = plumb(task, done) {
  let c : !Check = channel
  task ; verify ; c
  c ; map(pass) ; done
}
‸"""


def shape(entry):
    """Return an entry without its places."""
    return entry.kind, entry.name, entry.detail, [shape(child) for child in entry.children]


def test_declarations_with_what_they_hold():
    """Fields of types; ports, channels and processes of bodies."""
    assert [shape(entry) for entry in outline(At(PROGRAM).checked.file)] == [
        ("module", "fs", "use", []),
        ("type", "Check", "", [("field", "pass", "bool", [])]),
        ("protocol", "P", "", []),
        ("process", "verify", "!string -> !Check", []),
        (
            "process",
            "main",
            "!string -> !bool",
            [
                ("port", "task", "!string", []),
                ("port", "done", "!bool", []),
                ("channel", "c", "!Check", []),
                ("process", "verify", "agent", []),
            ],
        ),
    ]
