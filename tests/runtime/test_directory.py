"""The directory for a session's sockets."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
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


def test_somebody_who_removes_what_is_left_and_never_ends_stops_nobody(tmp_path: Path):
    """He holds the lock of the base; a directory is made all the same."""
    base = tmp_path / f"fabric-{os.getuid()}"
    base.mkdir(mode=0o700)
    holder = os.open(base, os.O_RDONLY)
    made: list[bool] = []

    def make() -> None:
        with open_run_directory({"XDG_RUNTIME_DIR": str(tmp_path)}) as directory:
            made.append(Path(directory).is_dir())

    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        thread = threading.Thread(target=make, daemon=True)
        thread.start()
        thread.join(10)
        assert made == [True]
    finally:
        os.close(holder)


MAKER = """
import os, sys
from pathlib import Path
from fabric.runtime.directory import open_run_directory
for _ in range(300):
    with open_run_directory({"XDG_RUNTIME_DIR": sys.argv[1]}) as directory:
        (Path(directory) / "file").touch()
        assert (Path(directory) / "lock").exists()
"""


def test_many_that_are_made_at_once_are_nobody_elses(tmp_path: Path):
    """One that is not locked yet may be taken for one that was left: it is made again."""
    makers = [
        subprocess.Popen([sys.executable, "-c", MAKER, str(tmp_path)], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [(maker.communicate()[1], maker.returncode) for maker in makers] == [("", 0)] * 3
    assert list((tmp_path / f"fabric-{os.getuid()}").iterdir()) == []
