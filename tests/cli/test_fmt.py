"""``fabric fmt`` as a user meets it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fabric.cli.app import make_app

UGLY = "type A=int  (* a *)\nlet main:!A->!A=id"
NICE = "type A = int (* a *)\nlet main : !A -> !A = id\n"
BROKEN = "let main : !A -> "


def fmt(*args: str | Path, stdin: str | bytes = "") -> Result:
    return CliRunner().invoke(make_app("fmt"), ["fmt", *map(str, args)], input=stdin, catch_exceptions=False)


@pytest.fixture
def ugly(tmp_path: Path) -> Path:
    file = tmp_path / "main.plumb"
    file.write_text(UGLY)
    return file


def test_files_are_formatted_in_place(ugly: Path):
    """The mode stays, nothing else is left in the folder, and what is formatted is not written again."""
    ugly.chmod(0o640)
    assert fmt(ugly).exit_code == 0
    assert ugly.read_text() == NICE
    assert stat.S_IMODE(ugly.stat().st_mode) == 0o640
    assert os.listdir(ugly.parent) == ["main.plumb"]
    before = ugly.stat()
    assert fmt(ugly).exit_code == 0
    assert (ugly.stat().st_ino, ugly.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_folders_are_searched(tmp_path: Path):
    """For files of that ending, but in hidden folders."""
    files = [tmp_path / name for name in ("a.plumb", "lib/b.plumb", ".git/c.plumb", "d.txt")]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_text(UGLY)
    assert fmt(tmp_path, files[0]).exit_code == 0
    assert [file.read_text() == NICE for file in files] == [True, True, False, False]


def test_check_names_the_files_that_would_change(ugly: Path):
    """And ends with 8; with 0 when there are none."""
    done = fmt("--check", ugly)
    assert (done.exit_code, done.stderr) == (8, f"{ugly} would change\n")
    assert ugly.read_text() == UGLY
    fmt(ugly)
    assert (fmt("--check", ugly).exit_code, fmt("--check", ugly).stderr) == (0, "")


def test_diff_shows_what_would_change(ugly: Path):
    """As patch reads it."""
    done = fmt("--diff", ugly)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[2:] == [
        "@@ -1,2 +1,2 @@",
        "-type A=int  (* a *)",
        "-let main:!A->!A=id",
        "\\ No newline at end of file",
        "+type A = int (* a *)",
        "+let main : !A -> !A = id",
    ]
    assert ugly.read_text() == UGLY


def test_stdin_goes_to_stdout():
    """Whatever its line ends are."""
    done = fmt("-", stdin=UGLY.replace("\n", "\r\n"))
    assert (done.exit_code, done.stdout_bytes) == (0, NICE.encode())
    assert fmt("-", "--check", stdin=UGLY).exit_code == 8


def test_a_file_that_does_not_parse_stays_as_it_is(ugly: Path):
    """It is reported, and the others are formatted."""
    broken = ugly.with_name("broken.plumb")
    broken.write_text(BROKEN)
    assert fmt(broken, ugly).exit_code == 2
    assert (broken.read_text(), ugly.read_text()) == (BROKEN, NICE)


def test_a_file_that_cannot_be_read_is_reported(ugly: Path, capfd: pytest.CaptureFixture[str]):
    """One that is missing, one that is no text; the others are formatted. A folder with such a name is one."""
    (ugly.parent / "folder.plumb").mkdir()
    (ugly.parent / "bytes.plumb").write_bytes(b"type A = \xff")
    assert fmt(ugly.parent, ugly.parent / "missing.plumb").exit_code == 2
    said = capfd.readouterr().err
    assert [word for word in ("not UTF-8 text (byte 9)", "No such file") if word not in said] == []
    assert ugly.read_text() == NICE


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_that_may_not_be_written_is_reported(ugly: Path, capfd: pytest.CaptureFixture[str]):
    """Even if its folder may be."""
    ugly.chmod(0o400)
    assert fmt(ugly).exit_code == 2
    assert "it may not be written" in capfd.readouterr().err
    assert ugly.read_text() == UGLY


def test_a_link_stays_a_link(ugly: Path):
    """What it names is formatted."""
    link = ugly.with_name("link.plumb")
    link.symlink_to(ugly)
    assert fmt(link).exit_code == 0
    assert link.is_symlink()
    assert ugly.read_text() == NICE


def test_line_ends_inside_of_strings_are_those_that_the_compiler_reads(tmp_path: Path):
    """A file is read with any line ends, and written with one kind."""
    file = tmp_path / "a.plumb"
    file.write_bytes(b'let main : !string -> !string = map("a\r\nb")\r\n')
    assert fmt(file).exit_code == 0
    assert file.read_bytes() == b'let main : !string -> !string = map("a\nb")\n'
