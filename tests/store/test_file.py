"""A bucket that is a directory: processes that race and are killed, disks that are full, names that are taken."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fabric.errors import StoreFailed, StoreUnsure
from fabric.store.file import LOCK, TEMPORARY, FileStore
from fabric.store.objects import Sweeping

PROCESSES = 8
ROUNDS = 40
LINKS = pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])

_WRITER = """
import os, sys
from pathlib import Path
from fabric.store.file import FileStore

def refuse(source, target):
    raise PermissionError(1, "Operation not permitted", source, None, target)

root, number, rounds, links = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "True"
store = FileStore(root) if links else FileStore(root, link=refuse)
sys.stdin.readline()
seq = 0
while seq < rounds:
    body = f"{number} ".encode() * 5000
    key = f"sessions/s/log/{seq:020d}.json"
    created = store.create(key, body)
    there = store.get(key)
    assert there is not None and len(set(there.split())) == 1 and len(there) == 10_000, "torn"
    assert created == (there == body), "created by two"
    print(int(created), flush=True)
    seq += 1
"""


def _start(root: Path, number: int, links: bool, rounds: int = ROUNDS) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", _WRITER, str(root), str(number), str(rounds), str(links)]
    return subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@LINKS
def test_of_many_processes_one_creates_each_key(tmp_path: Path, links: bool):
    """None is torn, none is made twice, whoever is at it."""
    writers = [_start(tmp_path / "bucket", number, links) for number in range(PROCESSES)]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    done = [writer.communicate(timeout=60) for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * PROCESSES, done
    created = [[line == "1" for line in out.split()] for out, _ in done]
    assert [sum(row) for row in zip(*created, strict=True)] == [1] * ROUNDS
    assert not list((tmp_path / "bucket" / TEMPORARY).iterdir())


@LINKS
def test_killed_writers_leave_whole_objects_and_stop_nobody(tmp_path: Path, links: bool):
    """Three of six are killed in the middle; the others go on, and the log is dense and whole."""
    root = tmp_path / "bucket"
    writers = [_start(root, number, links, rounds=1000) for number in range(6)]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    for number, writer in enumerate(writers):
        assert writer.stdout is not None
        for _ in range(3 + 4 * number):
            assert writer.stdout.readline()
        if number % 2:
            writer.send_signal(signal.SIGKILL)
    for writer in writers[1::2]:
        writer.communicate(timeout=60)
    for writer in writers[::2]:
        assert writer.stdout is not None
        assert writer.stdout.readline(), "it goes on"
        writer.kill()
        writer.communicate(timeout=60)
    store = FileStore(root)
    keys = store.list("sessions/s/log/")
    assert keys == [f"sessions/s/log/{seq:020d}.json" for seq in range(len(keys))]
    bodies = [store.get(key) for key in keys]
    assert all(body is not None and len(body) == 10_000 and len(set(body.split())) == 1 for body in bodies)
    assert store.create(f"sessions/s/log/{len(keys):020d}.json", b"next")


@pytest.mark.parametrize("fatal", ["before", "after"])
def test_a_writer_killed_at_the_link_leaves_a_temporary_file_that_is_swept(tmp_path: Path, fatal: str):
    """The object is there or is not; the file is no key, stays while it is young, and goes when it is old."""
    program = f"""
import os, signal
from pathlib import Path
from fabric.store.file import FileStore

def link(source, target):
    if {fatal == "after"}:
        os.link(source, target)
    os.kill(os.getpid(), signal.SIGKILL)

FileStore(Path({str(tmp_path)!r}), link=link).create("a/b", b"whole")
"""
    killed = subprocess.run([sys.executable, "-c", program], check=False)
    assert killed.returncode == -signal.SIGKILL
    store = FileStore(tmp_path)
    assert isinstance(store, Sweeping)
    left = list((tmp_path / TEMPORARY).iterdir())
    assert len(left) == 1
    assert store.list("") == (["a/b"] if fatal == "after" else [])
    assert store.get("a/b") == (b"whole" if fatal == "after" else None)
    written = left[0].stat().st_mtime
    assert store.sweep(60, written + 59) == 0
    assert store.sweep(60, written + 61) == 1
    assert store.sweep(60, written + 61) == 0
    assert not list((tmp_path / TEMPORARY).iterdir())
    assert store.create("a/b", b"other") == (fatal == "before")


def test_a_full_disk_leaves_nothing(tmp_path: Path):
    """The limit of a file's size cuts a write in its middle, as a full disk does."""
    program = f"""
import resource
from pathlib import Path
from fabric.errors import StoreFailed, StoreUnsure
from fabric.store.file import FileStore

store = FileStore(Path({str(tmp_path)!r}))
assert store.create("a/small", b"x" * 100)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    store.create("a/large", b"x" * 5000)
except StoreUnsure:
    raise
except StoreFailed as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{tmp_path.as_uri()}: cannot create a/large: File too large: {tmp_path}")
    store = FileStore(tmp_path)
    assert store.list("") == ["a/small"]
    assert not list((tmp_path / TEMPORARY).iterdir())
    assert store.create("a/large", b"x" * 5000)


FILL = """
import sys
from pathlib import Path
from fabric.errors import StoreFailed
from fabric.store.file import FileStore

store, made = FileStore(Path(sys.argv[1])), 0
try:
    while True:
        assert store.create(f"a/{made}", bytes([made]) * 5000)
        made += 1
except StoreFailed as error:
    print(error)
assert store.list("a/") == sorted(f"a/{number}" for number in range(made))
assert all(store.get(f"a/{number}") == bytes([number]) * 5000 for number in range(made))
print(made)
"""


@pytest.mark.parametrize(
    ("options", "message", "least"),
    [("size=64k", "No space left on device", 3), ("ro", "Read-only file system", 0)],
)
def test_a_file_system_that_takes_nothing_says_so(tmp_path: Path, options: str, message: str, least: int):
    """A real one, if this user may mount one. What was made before is whole."""
    unshared = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = f'mount -t tmpfs -o {options} none "$1"'
    if subprocess.run([*unshared, mount, "sh", str(tmp_path)], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    run = [*unshared, f'{mount} && exec "$0" -c "$2" "$1"', sys.executable, str(tmp_path), FILL]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    told, made = done.stdout.splitlines()
    assert message in told
    assert int(made) >= least


def test_what_the_system_says_is_told_with_the_path(tmp_path: Path):
    """A bucket that is a file, and a key below another one."""
    (tmp_path / "file").write_text("mine")
    store = FileStore(tmp_path / "file")
    for attempt in (lambda: store.create("a", b""), lambda: store.get("a"), lambda: store.list("")):
        with pytest.raises(StoreFailed, match=rf"cannot \w+ (a|it): Not a directory: {tmp_path}/file"):
            attempt()
    store = FileStore(tmp_path)
    assert store.create("a/b", b"")
    with pytest.raises(StoreFailed, match=f"cannot create a: keys continue it with a '/': {tmp_path}/a"):
        store.create("a", b"")
    with pytest.raises(StoreFailed, match=rf"cannot create a/b/c: (File exists|Not a directory): {tmp_path}/a/b"):
        store.create("a/b/c", b"")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_may_not_be_written_is_told(tmp_path: Path):
    """Nothing is made."""
    tmp_path.chmod(0o500)
    with pytest.raises(StoreFailed, match=f"Permission denied: {tmp_path}"):
        FileStore(tmp_path).create("a", b"")


def test_a_name_that_may_not_stay_is_unsure(tmp_path: Path):
    """Its directory went away behind the link: whether the object would survive, nobody knows."""

    def link(source: str, target: str) -> None:
        os.link(source, target)
        os.rename(tmp_path / "bucket" / "a", tmp_path / "elsewhere")

    with pytest.raises(StoreUnsure, match="a/b is there, but may not stay: No such file or directory"):
        FileStore(tmp_path / "bucket", link=link).create("a/b", b"")


def test_a_temporary_file_that_stays_changes_nothing(tmp_path: Path):
    """The object is there when it has its name."""

    def link(source: str, target: str) -> None:
        os.link(source, target)
        os.unlink(source)
        os.mkdir(source)  # cannot be unlinked

    store = FileStore(tmp_path, link=link)
    assert store.create("a/b", b"whole")
    assert store.get("a/b") == b"whole"


def test_what_is_above_a_bucket_is_synced_once(tmp_path: Path):
    """And directories of keys when something is made in them; not by each key anew."""
    program = f"""
import collections, os, sys
from pathlib import Path
from fabric.store.file import FileStore

store = FileStore(Path({str(tmp_path)!r}) / "bucket")
opened = collections.Counter()
sys.addaudithook(lambda event, given: event == "open" and os.path.isdir(given[0]) and opened.update([given[0]]))
for number in range(10):
    store.create(f"sessions/s{{number}}/log/0", b"")
for path in ("/", {str(tmp_path)!r}, store.root, store.root / "sessions", store.root / "sessions/s9/log"):
    print(opened[str(path)])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1", "1", "10", "1"]


def test_only_the_user_may_read_it(tmp_path: Path):
    """Logs hold what people have said."""
    before = os.umask(0)
    try:
        FileStore(tmp_path / "bucket").create("a/b/c", b"")
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "bucket").rglob("*")}
    directory = {tmp_path / "bucket" / name: 0o700 for name in ("a", "a/b", TEMPORARY)}
    assert modes == directory | {tmp_path / "bucket" / "a/b/c": 0o600}
    assert stat.S_IMODE((tmp_path / "bucket").stat().st_mode) == 0o700


def test_what_others_put_there_is_no_object(tmp_path: Path):
    """Files that cannot be keys, links to directories, our own lock."""
    store = FileStore(tmp_path)
    store.create("a/b", b"")
    (tmp_path / "a" / "with blank").write_text("")
    (tmp_path / ".DS_Store").write_text("")
    (tmp_path / LOCK).write_text("")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "empty").mkdir()
    assert [key for key in store.list("") if key != "loop"] == ["a/b"]


def test_nothing_is_made_by_reading(tmp_path: Path):
    """A bucket that is not there has no objects."""
    store = FileStore(tmp_path / "none")
    assert (store.list(""), store.get("a"), store.sweep(0, 1e12)) == ([], None, 0)
    store.delete("a/b")
    assert not (tmp_path / "none").exists()


def test_a_link_is_an_url_of_the_file(tmp_path: Path):
    """Also where its path has blanks."""
    store = FileStore(tmp_path / "my bucket")
    assert store.url == f"file://{tmp_path}/my%20bucket"
    assert store.link("a/b%20") == f"file://{tmp_path}/my%20bucket/a/b%2520"
