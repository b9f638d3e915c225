"""The commands about a program's text, through their command lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from three_ways import fabric

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]


def test_check_takes_its_options(tmp_path: Path):
    """Several folders, a format, and a program from stdin."""
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "lib.plumb").write_text("type T = int\n")
    text = b"use lib\nlet main : !Lib.T -> !Lib.T = agent { promt: 1 }\n"
    done = fabric("check", "-I", "none", "-I", "one", "--strict", "--format", "sarif", "-", stdin=text, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, b"")
    (run,) = json.loads(done.stdout)["runs"]
    assert [result["ruleId"] for result in run["results"]] == ["W0610"]
    quiet = fabric("check", "-q", "-I", "one", "-", stdin=text.replace(b"promt: 1", b""), cwd=tmp_path)
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, b"", b"")


def test_the_programs_that_come_with_us_pass_strictly():
    """Also together."""
    done = fabric("check", "--strict", "compose", cwd=ROOT)
    assert (done.returncode, done.stdout.count(b": ok (")) == (0, 11), done.stderr


def test_explain_refuses_what_it_does_not_know():
    """With exit code 2, and lists what it knows."""
    assert fabric("explain").stdout.count(b"\n") >= 60
    assert fabric("explain", "e0412").stdout.startswith(b"E0412 type_mismatch: ")
    done = fabric("explain", "E9999")
    assert (done.returncode, done.stdout) == (2, b"")
    assert json.loads(done.stderr)["error"].startswith("there is no code 'E9999'")


def test_diff_fails_on_differences():
    """With exit code 8; a program is the same as itself."""
    hello, review = (ROOT / "compose" / name / "main.plumb" for name in ("hello", "review"))
    assert fabric("diff", hello, hello).returncode == 0
    done = fabric("diff", "--format", "json", hello, review)
    assert (done.returncode, done.stderr) == (8, b"")
    assert json.loads(done.stdout)["same"] is False
