"""Nothing leads out of the folder of the tools: links, odd files, hard bounds, and somebody who is fast."""

from __future__ import annotations

import os
import pty
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.builtin_tools import files
from fabric.builtin_tools.files import PATH_BYTES_MAX, Limits, Root
from fabric.builtin_tools.refused import Refused

SWAPPER = str(Path(__file__).parent.parent / "support" / "swapper.py")

TOOLS: dict[str, tuple[Callable[[Root, dict[str, Any]], Any], dict[str, Any]]] = {
    "read": (files.read, {}),
    "write": (files.write, {"text": "x"}),
    "edit": (files.edit, {"old": "secret", "new": "x"}),
    "delete": (files.delete, {}),
    "list": (files.list_folder, {}),
    "grep": (files.grep, {"pattern": "secret"}),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A root with a secret file and a secret folder beside it."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "vault").mkdir()
    (tmp_path / "vault" / "secret").write_text("secret")
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "secret").write_text("inside")
    (root / "file").write_text("inside")
    return root


def outside(folder: Path) -> dict[str, str]:
    """Return all files beside the root, with what is in them; the root itself may be changing."""
    found = {}
    for above, folders, names in os.walk(folder.parent):
        if Path(above) == folder.parent:
            folders.remove(folder.name)
        for name in names:
            path = Path(above, name)
            found[str(path.relative_to(folder.parent))] = path.read_text()
    return found


SECRETS = {"secret": "secret", "vault/secret": "secret"}


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(
    ("links", "path"),
    [
        ({"link": "../secret"}, "link"),
        ({"link": "/etc/passwd"}, "link"),
        ({"link": "../vault"}, "link/secret"),
        ({"link": "../vault"}, "link"),
        ({"one": "two", "two": "three", "three": "../secret"}, "one"),
        ({"one": "two", "two": "../vault"}, "one/secret"),
        ({"loop": "loop"}, "loop"),
        ({"there": "back", "back": "there"}, "there/secret"),
        ({"inner": "sub"}, "inner/secret"),
        ({"sub/up": "../../vault"}, "sub/up/secret"),
        ({"none": "../new"}, "none"),
        ({"root": "/"}, "root/etc/passwd"),
        ({"self": "/proc/self/cwd"}, "self/secret"),
        ({}, ".."),
        ({}, "../secret"),
        ({}, "sub/../../secret"),
        ({}, "sub/.."),
        ({}, "./../secret"),
        ({}, "/"),
        ({}, "/etc/passwd"),
        ({}, "//etc/passwd"),
        ({}, "sub/secret\0"),
    ],
)
def test_no_tool_follows_a_link_or_goes_up(folder: Path, tool: str, links: dict[str, str], path: str):
    """Whether it leads outside, inside, or nowhere."""
    for name, target in links.items():
        (folder / name).symlink_to(target)
    function, arguments = TOOLS[tool]
    with pytest.raises(Refused):
        function(Root(str(folder)), {"path": path, **arguments})
    assert outside(folder) == SECRETS
    assert [name for name in links if not (folder / name).is_symlink()] == []


@given(
    st.lists(st.sampled_from(["sub", "secret", "file", "..", ".", "", "out", "in", "up"]), max_size=6), st.booleans()
)
def test_no_path_leads_out(tmp_path_factory: pytest.TempPathFactory, parts: list[str], absolute: bool):
    """However it is made of names, dots, slashes and links; what is found is what lies inside."""
    base = tmp_path_factory.getbasetemp() / "paths"
    if not base.exists():
        (base / "root" / "sub").mkdir(parents=True)
        (base / "secret").write_text("secret")
        (base / "root" / "file").write_text("inside")
        (base / "root" / "sub" / "secret").write_text("inside")
        (base / "root" / "out").symlink_to("..")
        (base / "root" / "in").symlink_to("sub")
        (base / "root" / "sub" / "up").symlink_to("../..")
    root = Root(str(base / "root"))
    try:
        assert files.read(root, {"path": "/" * absolute + "/".join(parts)}) == "inside"
    except Refused:
        pass
    finally:
        os.close(root.fd)


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(path))


def make_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        pytest.skip("only root makes devices")


@pytest.mark.parametrize("make", [make_fifo, make_socket, make_device])
@pytest.mark.parametrize("tool", ["read", "write", "edit", "delete", "grep"])
def test_what_is_no_file_is_not_touched_nor_waited_for(
    folder: Path, make: Callable[[Path], None], tool: str, monkeypatch: pytest.MonkeyPatch
):
    """A pipe without a writer, a socket, a device without an end."""
    monkeypatch.chdir(folder)
    make(folder / "odd")
    kind = stat.S_IFMT((folder / "odd").stat().st_mode)
    function, arguments = TOOLS[tool]
    with pytest.raises(Refused):
        function(Root(str(folder)), {"path": "odd", **arguments})
    assert stat.S_IFMT((folder / "odd").stat().st_mode) == kind
    assert files.grep(Root(str(folder)), {"pattern": "inside", "path": ""})[0]["path"] == "file"
    assert "odd" not in [entry["path"] for entry in files.list_folder(Root(str(folder)), {})]


def test_a_terminal_is_opened_by_no_tool(folder: Path):
    """It would become ours."""
    master, slave = pty.openpty()
    (folder / "tty").symlink_to(os.ttyname(slave))
    with pytest.raises(Refused):
        files.read(Root(str(folder)), {"path": "tty"})
    os.close(master)
    os.close(slave)


def test_folders_may_be_nested_deeper_than_calls(folder: Path):
    """A search goes to the bottom; a path that nobody else could use is refused."""
    root = Root(str(folder))
    deep = "/".join(["d"] * 1_050)
    files.write(root, {"path": f"{deep}/leaf", "text": "needle"})
    assert files.grep(root, {"pattern": "needle"}) == [{"path": f"{deep}/leaf", "line": 1, "text": "needle"}]
    assert files.read(root, {"path": f"{deep}/leaf"}) == "needle"
    with pytest.raises(Refused, match=f"at most {PATH_BYTES_MAX}"):
        files.write(root, {"path": "/".join(["d"] * 2_049), "text": "x"})
    subprocess.run(["rm", "-r", folder / "d"], check=True)  # what clears temporary folders away recurses


def test_a_file_that_is_replaced_loses_its_right_to_run_as_its_owner(folder: Path):
    """Who may write its text does not decide that."""
    (folder / "file").chmod(0o4755)
    files.write(Root(str(folder)), {"path": "file", "text": "x"})
    assert stat.S_IMODE((folder / "file").stat().st_mode) == 0o755


def test_bounds_are_hard(folder: Path):
    """One byte, one line, one entry more is refused; what is exactly as much is not."""
    root = Root(str(folder), Limits(text_bytes=6, hits=2, entries=2))
    assert files.read(root, {"path": "file"}) == "inside"
    (folder / "file").write_text("inside!")
    with pytest.raises(Refused, match="more than 6 bytes"):
        files.read(root, {"path": "file"})
    with pytest.raises(Refused, match="more than 6 bytes"):
        files.edit(root, {"path": "file", "old": "!", "new": ""})
    with pytest.raises(Refused, match="7 bytes; at most 6"):
        files.write(root, {"path": "new", "text": "1234567"})
    (folder / "sub" / "secret").write_text("x\nx\nx")
    with pytest.raises(Refused, match="more than 2 lines"):
        files.grep(root, {"pattern": "x", "path": "sub"})
    assert len(files.list_folder(root, {})) == 2
    (folder / "third").touch()
    with pytest.raises(Refused, match="it has 3 entries; at most 2"):
        files.list_folder(root, {})


@pytest.fixture
def swapped(folder: Path) -> Iterator[Path]:
    """The root, in which somebody swaps things for links all the time."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, SWAPPER, str(folder)], stdin=pipe, stdout=pipe) as swapper:
        assert swapper.stdin is not None
        assert swapper.stdout is not None
        assert swapper.stdout.readline() == b"swapping\n"
        yield folder
        swapper.stdin.close()
        assert swapper.wait(60) == 0


TRIES = 1_000
"""Of each tool; and so many more until both things have happened. It takes a fraction of a second."""


@pytest.mark.processes
@pytest.mark.parametrize(
    ("tool", "path"),
    [
        ("read", "file"),
        ("read", "sub/secret"),
        ("list", "sub"),
        ("grep", "sub"),
        ("write", "sub/secret"),
        ("write", "sub/new/secret"),
        ("edit", "sub/secret"),
        ("delete", "sub/secret"),
    ],
)
def test_somebody_who_swaps_folders_for_links_leads_nobody_out(swapped: Path, tool: str, path: str):
    """Each try gives what is inside, or is refused; both happen, and nothing outside is read or changed."""
    root = Root(str(swapped))
    function, arguments = TOOLS[tool]
    arguments = {"old": "ins", "new": "ins"} if tool == "edit" else arguments
    inside = {"read": "inside", "list": [{"path": "sub/secret", "folder": False, "bytes": 6}], "grep": []}
    done = refused = 0
    while not (done and refused and done + refused >= TRIES):
        try:
            assert function(root, {"path": path, **arguments}) == inside.get(tool)
            done += 1
        except Refused:
            refused += 1
        if tool == "delete":  # there has to be one for the next
            with suppress(Refused):
                files.write(root, {"path": path, "text": "inside"})
        assert done + refused < 20 * TRIES, (done, refused)
    assert outside(swapped) == SECRETS


@pytest.mark.processes
def test_a_search_of_everything_finds_nothing_outside(swapped: Path):
    """Whatever a folder was when it was listed, and is when it is entered."""
    root = Root(str(swapped))
    assert [hits for _ in range(TRIES) if (hits := files.grep(root, {"pattern": "secret"}))] == []
