"""Where sessions are kept, as ``fabric doctor`` sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabric.runtime.bucket_checkup import check_bucket, file_system
from fabric.store.probe import PROBED_KEY

MOUNTS = r"""/dev/sda1 / ext4 rw 0 0
tmpfs /run tmpfs rw 0 0
server:/x /home nfs4 rw 0 0
overlay /home/local overlay rw 0 0
//server/y /mnt/my\040share cifs rw 0 0
broken
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/x", "ext4"), ("/", "ext4"), ("/run/x", "tmpfs"), ("/runx", "ext4"), ("/home/me", "nfs4"),
     ("/home/local/x", "overlay"), ("/mnt/my share/x", "cifs"), ("/mnt", "ext4")],
)  # fmt: skip
def test_the_nearest_mount_tells_the_kind(path: str, kind: str):
    """By parts of the path, not by letters."""
    assert file_system(Path(path), MOUNTS) == kind
    assert file_system(Path(path), "") == ""


def test_a_directory_that_is_there_is_tried(tmp_path: Path):
    """And that it is fit is kept in it."""
    check = check_bucket(f"file://{tmp_path}", f"x {tmp_path} ext4 rw")
    assert (check.name, check.ok, check.says) == ("sessions", True, f"file://{tmp_path} creates a key once, on ext4")
    assert (tmp_path / PROBED_KEY).exists()


def test_a_directory_that_is_not_there_is_not_made(tmp_path: Path):
    """It is made with the first session."""
    check = check_bucket(f"file://{tmp_path}/a/b", "")
    assert (check.ok, check.says) == (True, f"file://{tmp_path}/a/b is made with the first one")
    assert not list(tmp_path.iterdir())
    (tmp_path / "a").write_text("")
    check = check_bucket(f"file://{tmp_path}/a/b", "")
    assert (check.ok, check.says) == (False, f"file://{tmp_path}/a/b cannot be made: {tmp_path}/a cannot be written")


def test_a_network_file_system_is_refused(tmp_path: Path):
    """Whether or not the bucket is there."""
    for path in (tmp_path, tmp_path / "x"):
        check = check_bucket(str(path), f"x {tmp_path} nfs rw")
        assert check.ok is False
        assert check.says == f"{path} is on nfs, where two machines may create the same key"
    assert not list(tmp_path.iterdir())


def test_a_bucket_that_cannot_be_opened_is_told():
    """With what to set."""
    check = check_bucket("quux://x")
    assert check.ok is False
    assert "there is no scheme 'quux'" in check.says
    assert check.help == "FABRIC_STORE or [store] url names another bucket"
