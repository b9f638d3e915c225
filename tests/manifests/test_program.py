"""The program's folder as it goes into containers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fabric.errors import ConfigError
from fabric.manifests import program
from fabric.manifests.program import FILE_BYTES_MAX, read_program


def test_what_belongs_to_a_program_goes_with_it_and_the_rest_is_told(tmp_path: Path):
    """Hidden files, environments, what was built, what is big, links to folders, what is written here, pipes."""
    for name in ("main.plumb", "lib/a.plumb", "run.sh", ".env", ".git/config", "venv/pyvenv.cfg", "out/compose.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "lib" / "__pycache__").mkdir()
    (tmp_path / "run.sh").chmod(0o755)
    (tmp_path / "data.bin").write_bytes(bytes(FILE_BYTES_MAX + 1))
    (tmp_path / "elsewhere").symlink_to(tmp_path / "lib")
    os.mkfifo(tmp_path / "pipe")
    files, left_out = read_program(tmp_path, tmp_path / "out")
    assert {path: file.mode for path, file in files.items()} == {
        "lib/a.plumb": 0o644,
        "main.plumb": 0o644,
        "run.sh": 0o755,
    }
    assert dict(left_out) == {
        ".env": "hidden",
        ".git/": "hidden",
        "venv/": "a virtual environment",
        "out/": "what is written here",
        "lib/__pycache__/": "built or installed",
        "elsewhere/": "a link",
        "data.bin": "bigger than 1024 KiB",
        "pipe": "no regular file",
    }


def test_what_is_secret_stays_where_it_is(tmp_path: Path):
    """Keys, deployments wherever they are, and what nobody but its owner may read."""
    for name in ("main.plumb", "old/.fabric-deployment", "k/coordinator.json", "k/allowed.json", "own/a", "b/secret"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "b/secret").chmod(0o600)
    (tmp_path / "own").chmod(0o700)
    (tmp_path / "b/link").symlink_to("secret")
    files, left_out = read_program(tmp_path, tmp_path / "out")
    assert list(files) == ["main.plumb"]
    assert dict(left_out) == {
        "old/": "a deployment",
        "k/": "keys",
        "own/": "only its owner may read it",
        "b/secret": "only its owner may read it",
        "b/link": "only its owner may read it",
    }


def test_a_folder_with_thousands_of_files_is_none_of_a_program(tmp_path: Path):
    """Somebody runs a program that lies in his home."""
    for number in range(program.FILES_MAX + 1):
        (tmp_path / f"{number}.txt").touch()
    with pytest.raises(ConfigError, match="more than 2000 files"):
        read_program(tmp_path, None)
