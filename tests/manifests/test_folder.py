"""A deployment in a folder: what is written, what is left alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fabric.errors import ConfigError
from fabric.manifests.files import PRIVATE, File
from fabric.manifests.folder import MARKER, apply, changes, make_folder, strangers, unused

FILES = {
    "a.yaml": File(b"one: 1\n"),
    "sub/b.json": File(b"{}\n"),
    "secrets/key": File(b"put it here\n", PRIVATE, keep=True),
}


def put(folder: Path, files: dict[str, File]) -> list[tuple[str, str]]:
    found = changes(folder, files)
    apply(folder, found, None)
    return [(change.path, change.kind) for change in found]


def test_all_is_new_once(tmp_path: Path):
    """The second time nothing is to be done."""
    folder = tmp_path / "made" / "here"
    assert put(folder, FILES) == [("a.yaml", "new"), ("secrets/key", "new"), ("sub/b.json", "new")]
    assert put(folder, FILES) == []
    assert (folder / "secrets/key").stat().st_mode & 0o777 == PRIVATE
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == ["a.yaml", "b.json", "key"]


def test_what_differs_is_replaced_but_what_is_filled_in_stays(tmp_path: Path):
    """And what is not ours is not looked at."""
    put(tmp_path, FILES)
    (tmp_path / "a.yaml").write_text("one: 2\n")
    (tmp_path / "secrets/key").write_text("sk-filled-in\n")
    (tmp_path / "theirs.txt").write_text("x")
    assert put(tmp_path, FILES) == [("a.yaml", "changed")]
    assert (tmp_path / "a.yaml").read_text() == "one: 1\n"
    assert (tmp_path / "secrets/key").read_text() == "sk-filled-in\n"
    assert (tmp_path / "theirs.txt").read_text() == "x"


def test_a_mode_is_put_right(tmp_path: Path):
    """A program that others could write is none that was made here."""
    put(tmp_path, FILES)
    (tmp_path / "a.yaml").chmod(0o666)
    assert put(tmp_path, FILES) == [("a.yaml", "mode")]
    assert (tmp_path / "a.yaml").stat().st_mode & 0o777 == 0o644


def test_a_difference_is_shown_but_no_secret(tmp_path: Path):
    """As a patch."""
    put(tmp_path, FILES)
    changed = FILES | {"a.yaml": File(b"one: 3\n"), "new.txt": File(b"x"), "secrets/other": File(b"hidden", PRIVATE)}
    shown = "".join(change.diff() for change in changes(tmp_path, changed))
    assert "--- a.yaml\n+++ a.yaml\n@@ -1 +1 @@\n-one: 1\n+one: 3\n" in shown
    assert "--- /dev/null\n+++ new.txt\n@@ -0,0 +1 @@\n+x\n\\ No newline at end of file\n" in shown
    assert "hidden" not in shown
    assert "secrets/other: new; a secret\n" in shown


def test_files_that_nothing_needs_any_more_are_told(tmp_path: Path):
    """Only where nobody but us writes."""
    put(tmp_path, {"specs/a.json": File(b""), "specs/deep/b.json": File(b""), "mine/c": File(b"")})
    assert unused(tmp_path, {"specs/a.json"}, ["specs", "app"]) == ["specs/deep/b.json"]


def test_a_folder_in_the_place_of_a_file_is_told(tmp_path: Path):
    """By its name, and what the system says."""
    (tmp_path / "a.yaml").mkdir()
    with pytest.raises(ConfigError, match=r"a\.yaml: Is a directory"):
        changes(tmp_path, FILES)


def test_a_link_is_replaced_and_not_followed(tmp_path: Path):
    """What it leads to is somebody's."""
    (tmp_path / "theirs").write_text("x")
    (tmp_path / "a.yaml").symlink_to(tmp_path / "theirs")
    put(tmp_path, FILES)
    assert ((tmp_path / "theirs").read_text(), (tmp_path / "a.yaml").is_symlink()) == ("x", False)


def test_what_only_its_owner_could_read_is_not_shown(tmp_path: Path):
    """Even if it is to be a file for all."""
    put(tmp_path, {"a.yaml": File(b"a token", PRIVATE)})
    (change,) = changes(tmp_path, FILES | {"secrets/key": File(b"", keep=True)})[:1]
    assert (change.path, change.diff()) == ("a.yaml", "a.yaml: changed; a secret\n")


def test_folders_can_be_looked_into_whatever_the_umask_is(tmp_path: Path):
    """Prometheus is another user than the one who writes its settings."""
    before = os.umask(0o077)
    try:
        put(tmp_path / "out", FILES)
        make_folder(tmp_path / "out" / "state", None, 0o700)
    finally:
        os.umask(before)
    modes = {name: (tmp_path / "out" / name).stat().st_mode & 0o777 for name in (".", "sub", "sub/b.json", "state")}
    assert modes == {".": 0o755, "sub": 0o755, "sub/b.json": 0o644, "state": 0o700}


def test_a_folder_is_ours_if_it_says_so_or_has_only_what_a_backup_has(tmp_path: Path):
    """Beside that, anything is somebody else's, also in the folder of a host."""
    assert strangers(tmp_path / "none", ()) == []
    put(tmp_path, {"keys/a": File(b""), ".env": File(b""), "h1/state/x": File(b"")})
    assert strangers(tmp_path, ["h1"]) == []
    assert strangers(tmp_path, []) == ["h1"]
    put(tmp_path, {"h1/code.py": File(b""), "README.md": File(b"")})
    assert strangers(tmp_path, ["h1"]) == ["README.md", "h1/code.py"]
    put(tmp_path, {MARKER: File(b"")})
    assert strangers(tmp_path, ["h1"]) == []
