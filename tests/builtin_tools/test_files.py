"""The file tools: what they do, and that nothing leads out of their folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.builtin_tools import files
from fabric.builtin_tools.files import Limits, Root
from fabric.builtin_tools.refused import Refused


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A root with a secret beside it."""
    (tmp_path / "secret").write_text("secret")
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_text("one\ntwo\nthree\n")
    (root / "sub" / "b.txt").write_text("two again")
    return root


@pytest.fixture
def root(folder: Path) -> Root:
    return Root(str(folder))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"path": "a.txt"}, "one\ntwo\nthree\n"),
        ({"path": "./sub//b.txt"}, "two again"),
        ({"path": "a.txt", "from": 2}, "two\nthree\n"),
        ({"path": "a.txt", "lines": 1}, "one\n"),
        ({"path": "a.txt", "from": 2, "lines": 1}, "two\n"),
        ({"path": "a.txt", "from": 9}, ""),
        ({"path": "sub/b.txt", "from": 1, "lines": 5}, "two again"),
        ({"path": "a.txt", "lines": 0}, ""),
    ],
)
def test_a_file_is_read_or_some_of_its_lines(root: Root, arguments: dict[str, Any], text: str):
    """Lines are counted from 1, and keep their ends."""
    assert files.read(root, arguments) == text


@given(st.text(alphabet="ab\n", max_size=20), st.integers(1, 8), st.integers(0, 8))
def test_parts_of_a_file_make_the_whole(tmp_path_factory: pytest.TempPathFactory, text: str, first: int, count: int):
    """What is before, the lines asked for, and what is behind."""
    folder = tmp_path_factory.getbasetemp()
    (folder / "x").write_text(text)
    root = Root(str(folder))
    before = files.read(root, {"path": "x", "lines": first - 1})
    asked = files.read(root, {"path": "x", "from": first, "lines": count})
    behind = files.read(root, {"path": "x", "from": first + count})
    os.close(root.fd)
    assert before + asked + behind == text


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("../secret", "'..' is not allowed"),
        ("sub/../../secret", "'..' is not allowed"),
        ("/etc/passwd", "got an absolute one"),
        ("", "expected a file, got the folder itself"),
        ("a\0b", "zero byte"),
        ("link", "symbolic link"),
        ("out/secret", "no folder, or a symbolic link"),
        ("in/b.txt", "no folder, or a symbolic link"),
        ("sub", "expected a file, got a folder"),
        ("pipe", "expected a file, got something else"),
        ("none", "No such file"),
        ("a.txt/x", "no folder, or a symbolic link"),
    ],
)
def test_nothing_leads_out_of_the_folder(folder: Path, root: Root, path: str, error: str):
    """Links are refused whatever they lead to, and what is no file is not waited for."""
    (folder / "link").symlink_to("../secret")
    (folder / "out").symlink_to("..")
    (folder / "in").symlink_to("sub")
    os.mkfifo(folder / "pipe")
    with pytest.raises(Refused, match=error):
        files.read(root, {"path": path})


@pytest.mark.parametrize("path", ["link", "out/secret", "../secret", "/tmp/x", "sub"])
def test_nothing_outside_is_written_or_deleted(folder: Path, root: Root, path: str):
    """By no tool."""
    (folder / "link").symlink_to("../secret")
    (folder / "out").symlink_to("..")
    for tool, more in (
        (files.write, {"text": "x"}),
        (files.edit, {"old": "secret", "new": "x"}),
        (files.delete, {}),
    ):
        with pytest.raises(Refused):
            tool(root, {"path": path, **more})
    assert (folder.parent / "secret").read_text() == "secret"
    assert (folder / "link").is_symlink()


def test_the_folder_is_the_one_that_was_opened(folder: Path, root: Root):
    """Somebody who puts a link in its place leads nobody away."""
    folder.rename(folder.parent / "moved")
    folder.symlink_to(folder.parent)
    assert files.read(root, {"path": "a.txt"}).startswith("one")
    with pytest.raises(Refused, match="No such file"):
        files.read(root, {"path": "secret"})


def test_a_file_is_written_as_a_whole_with_its_folders(folder: Path, root: Root):
    """One that is replaced keeps its mode; no draft is left."""
    files.write(root, {"path": "new/deep/c.txt", "text": "äöü"})
    assert (folder / "new/deep/c.txt").read_text(encoding="utf-8") == "äöü"
    (folder / "a.txt").chmod(0o600)
    files.write(root, {"path": "a.txt", "text": ""})
    assert (folder / "a.txt").read_text() == ""
    assert stat.S_IMODE((folder / "a.txt").stat().st_mode) == 0o600
    assert sorted(os.listdir(folder)) == ["a.txt", "new", "sub"]


def test_a_piece_is_replaced_that_occurs_once(folder: Path, root: Root):
    """Not one that occurs never or twice, or is empty."""
    files.edit(root, {"path": "a.txt", "old": "two\n", "new": "2\n"})
    assert (folder / "a.txt").read_text() == "one\n2\nthree\n"
    for old, times in (("e", 3), ("four", 0), ("", 0)):
        with pytest.raises(Refused, match=f"it occurs {times} times"):
            files.edit(root, {"path": "a.txt", "old": old, "new": "x"})


def test_a_folder_is_listed_by_name(folder: Path, root: Root):
    """What is neither a file nor a folder is left out; paths can be given to the other tools."""
    (folder / "link").symlink_to("a.txt")
    assert files.list_folder(root, {}) == [
        {"path": "a.txt", "folder": False, "bytes": 14},
        {"path": "sub", "folder": True, "bytes": 0},
    ]
    assert files.list_folder(root, {"path": "./sub/"}) == [{"path": "sub/b.txt", "folder": False, "bytes": 9}]


def test_lines_are_found_below_a_folder_or_in_a_file(folder: Path, root: Root):
    """What is no text, and what a link leads to, is passed by."""
    (folder / "raw").write_bytes(b"two\xff")
    (folder / "link").symlink_to("../secret")
    found = [{"path": "a.txt", "line": 2, "text": "two"}, {"path": "sub/b.txt", "line": 1, "text": "two again"}]
    assert files.grep(root, {"pattern": "^two"}) == found
    assert files.grep(root, {"pattern": "^two", "path": "sub"}) == found[1:]
    assert files.grep(root, {"pattern": "^two", "path": "a.txt"}) == found[:1]
    assert files.grep(root, {"pattern": "secret"}) == []
    with pytest.raises(Refused, match="pattern: "):
        files.grep(root, {"pattern": "("})


def test_a_search_that_never_ends_is_ended(folder: Path):
    """The signal comes in the middle of an expression."""
    (folder / "a.txt").write_text("a" * 64 + "b")
    with pytest.raises(Refused, match=r"the search took more than 0\.05 s"):
        files.grep(Root(str(folder), Limits(grep_s=0.05)), {"pattern": "(a+)+$"})


def test_too_much_is_refused_not_cut(folder: Path):
    """Who reads a part and takes it for the whole draws wrong conclusions."""
    root = Root(str(folder), Limits(text_bytes=10, hits=1, entries=1))
    with pytest.raises(Refused, match="more than 10 bytes"):
        files.read(root, {"path": "a.txt"})
    with pytest.raises(Refused, match="11 bytes; at most 10"):
        files.write(root, {"path": "x", "text": "12345678901"})
    (folder / "sub" / "b.txt").write_text("x\nx")
    with pytest.raises(Refused, match="more than 1 lines match"):
        files.grep(root, {"pattern": "x"})
    with pytest.raises(Refused, match="it has 2 entries; at most 1"):
        files.list_folder(root, {})
