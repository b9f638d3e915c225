"""No text and no place makes the language server raise."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from programs import chunks

from fabric.lsp.completion import Known, complete
from fabric.lsp.outline import outline
from fabric.lsp.place import find_place
from fabric.lsp.positions import Lines
from fabric.lsp.workspace import Workspace

CHUNKS = sorted(chunks().items())
SIGNS = [
    *'().;@{}[]*!|"\n ',
    "let a : ",
    "->",
    "plumb",
    "filter",
    " x",
    "spawn",
    "Fs",
    "protocol P ",
    " = ",
    "type",
    "<->",
    "(*",
]


def nest(entries, start, end):
    """See that entries lie in one another, as editors demand."""
    for entry in entries:
        assert start <= entry.span.start <= entry.name_span.start
        assert entry.name_span.end <= entry.span.end <= end
        nest(entry.children, entry.span.start, entry.span.end)


def ask_everything(workspace, path, offset):
    """Ask all that an editor may ask about a place, and look at the answers."""
    checked = workspace.checked(path)
    text = checked.file.source.text
    workspace.diagnostics()
    nest(outline(checked.file), 0, len(text))
    place = find_place(checked.analysis, checked.file, offset)
    if place is not None:
        assert 0 <= place.span.start <= offset <= place.span.end <= len(text)
        if place.target is not None:
            source = checked.analysis.sources.at(place.target)
            Lines(source.text).position(place.target.end - source.start)
    known = Known(checked.file, checked.readable, checked.analysis.files, (), lambda new: workspace.try_text(path, new))
    start, items = complete(text, offset, known)
    assert 0 <= start <= offset
    assert all(item.label for item in items)


@given(st.sampled_from(CHUNKS), st.data())
@settings(max_examples=300)
def test_any_place_of_a_half_written_program_can_be_asked_about(chunk, data):
    """A program, then what is left of it when its end is missing or a piece of it has gone."""
    workspace = Workspace(read=lambda path: other_file(chunk[1], path))
    text = chunk[1].source.text
    workspace.put("main.plumb", text)
    ask_everything(workspace, "main.plumb", data.draw(st.integers(0, len(text))))
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.sampled_from([len(text), *range(start, min(len(text), start + 12))]))
    half = text[:start] + text[end:]
    workspace.put("main.plumb", half)
    for offset in {start, data.draw(st.integers(0, len(half)))}:
        ask_everything(workspace, "main.plumb", offset)


@given(st.lists(st.sampled_from(SIGNS)).map("".join))
@settings(max_examples=300)
def test_any_signs_can_be_asked_about(text):
    """Signs in any order: brackets that close what never opened, words where none belong."""
    workspace = Workspace(read=lambda path: other_file(None, path))
    workspace.put("main.plumb", text)
    ask_everything(workspace, "main.plumb", len(text))
    ask_everything(workspace, "main.plumb", len(text) // 2)


def other_file(chunk, path):
    """Return another file of the chunk."""
    if chunk is not None and str(path) in chunk.files:
        return chunk.files[str(path)]
    raise FileNotFoundError(path)
