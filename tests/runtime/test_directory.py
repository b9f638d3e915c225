"""The directory for a session's sockets."""

from __future__ import annotations

import os
from pathlib import Path

from fabric.runtime.directory import open_run_directory


def test_it_is_private_and_gone_afterwards(tmp_path: Path):
    """Below one that belongs to the user."""
    with open_run_directory({"XDG_RUNTIME_DIR": str(tmp_path)}) as directory:
        assert Path(directory).parent == tmp_path / f"fabric-{os.getuid()}"
        assert Path(directory).stat().st_mode & 0o777 == 0o700
    assert not Path(directory).exists()


def test_what_killed_sessions_left_is_removed(tmp_path: Path):
    """Nobody holds its lock; that of a session that runs stays."""
    with open_run_directory({"XDG_RUNTIME_DIR": str(tmp_path)}) as running:
        left = Path(running).with_name("sleft")
        left.mkdir()
        with open_run_directory({"XDG_RUNTIME_DIR": str(tmp_path)}):
            assert not left.exists()
            assert Path(running).exists()


def test_one_that_is_removed_this_moment_disturbs_nobody(tmp_path: Path):
    """It is listed, and gone when it is looked at: as a link that leads nowhere."""
    base = tmp_path / f"fabric-{os.getuid()}"
    base.mkdir(mode=0o700)
    (base / "sgone").symlink_to("nowhere")
    with open_run_directory({"XDG_RUNTIME_DIR": str(tmp_path)}) as directory:
        assert Path(directory).is_dir()
