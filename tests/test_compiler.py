"""Where the files that programs use come from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fabric.compiler import Library
from fabric.lang.modules import Found, Missing


@pytest.mark.parametrize("name", ["/dev/zero", "./pipe"])
def test_a_program_cannot_make_us_read_what_does_not_end(tmp_path: Path, name: str):
    """Devices and pipes are refused: whoever only checks a program, or opens it in an editor, would hang."""
    os.mkfifo(tmp_path / "pipe")
    found = Library().find(name, is_path=True, importer=str(tmp_path / "main.plumb"))
    assert isinstance(found, Missing)
    assert found.why == "it is not a regular file"


def test_the_own_folder_comes_before_the_search_path_and_that_before_the_installed_modules(tmp_path: Path):
    """And every name that can be found is known, for one that cannot."""
    importer, folder = str(tmp_path / "main.plumb"), tmp_path / "lib"
    folder.mkdir()
    library = Library([folder])
    for place, text in ((None, "CtrlCmd"), (folder, "second"), (tmp_path, "first")):
        if place is not None:
            (place / "mem.plumb").write_text(f"(* {text} *)")
        found = library.find("mem", is_path=False, importer=importer)
        assert isinstance(found, Found)
        assert text in found.text
    missing = library.find("nem", is_path=False, importer=importer)
    assert isinstance(missing, Missing)
    assert {"mem", "fs"} <= set(missing.known)
