"""What is looked at on a host, and what is said of it."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from fabric.launch.trial import try_to_fork
from fabric.runtime.checkup import (
    check_keys,
    check_libraries,
    check_libzmq,
    check_open_files,
    check_package,
    check_program,
    check_run_directory,
    check_services,
    check_state,
    is_version,
)
from fabric.runtime.processes import Process
from fabric.runtime.services import Outcome, Record


@pytest.mark.parametrize(
    ("found", "least", "is_so"),
    [("3.11.7", "3.11", True), ("3.10.9", "3.11", False), ("27.3.0", "27.1", True), ("4.3.4", "4.3.5", False),
     ("1.0rc1", "1.0", True), ("10.0", "9.9", True)],
)  # fmt: skip
def test_versions_are_compared_by_their_numbers(found: str, least: str, is_so: bool):
    """Not as text."""
    assert is_version(found, least) is is_so


def test_a_library_that_is_too_old_or_missing_is_told_with_what_mends_it():
    """Those of extras do not matter."""
    installed = {"trio": "0.30", "pyzmq": "27.3.0"}
    wanted = ["trio>=0.31", "pyzmq>=27.1", "msgspec>=0.21", "pygls>=2.0; extra == 'lsp'"]
    found = check_libraries(wanted, installed.get)
    assert (found.ok, found.says) == (False, "trio 0.30, pyzmq 27.3.0, msgspec missing")
    assert found.help == "pip install -U 'trio>=0.31' 'msgspec>=0.21'"
    assert check_libraries(["pyzmq>=27.1"], installed.get).ok


@pytest.mark.parametrize(
    ("version", "ipc", "curve", "ok"),
    [("4.3.5", True, True, True), ("4.3.5", True, False, True), ("4.3.5", False, True, False),
     ("4.3.4", True, True, False)],
)  # fmt: skip
def test_the_library_of_sockets_is_new_enough_and_has_ipc(version: str, ipc: bool, curve: bool, ok: bool):
    """Whether it could encrypt is told, and nothing needs it yet."""
    found = check_libzmq(version, {"ipc": ipc, "curve": curve})
    assert (found.ok, bool(found.help)) == (ok, not ok)
    assert found.says == f"{version}, ipc {'yes' if ipc else 'no'}, curve {'yes' if curve else 'no'}"


def test_a_program_that_only_some_need_is_no_mistake():
    """Where it is, or who would need it."""
    found = check_program("node", "few need one", {"node": "/usr/bin/node"}.get)
    assert (found.ok, found.says) == (True, "/usr/bin/node")
    missing = check_program("node", "few need one", {}.get)
    assert (missing.ok, missing.says) == (None, "not found; few need one")


class Distribution:
    """As far as it is asked."""

    def __init__(self, name: str, record: str | None) -> None:
        self.metadata = {"Name": name}
        self._record = record

    def read_text(self, name: str) -> str | None:
        return self._record


def test_another_package_of_our_name_is_found():
    """By the files that it has installed, whatever it is called."""
    ours = Distribution("plumb-fabric", "fabric/__init__.py,sha256=1,2\n")
    others = [Distribution("x", None), Distribution("y", "my/fabric/__init__.py,,\n")]
    assert check_package([ours, *others]).ok  # type: ignore[list-item]
    found = check_package([ours, Distribution("ssh", "a,,\nfabric/__init__.py,,\n")])  # type: ignore[list-item]
    assert (found.ok, "ssh has a package named fabric too" in found.says) == (False, True)
    assert "pip uninstall ssh plumb-fabric" in found.help


def test_a_run_directory_takes_a_frame_through_a_socket(tmp_path_factory: pytest.TempPathFactory):
    """One that is too deep, or others may look into, does not."""
    place = tmp_path_factory.mktemp("r")
    assert check_run_directory({"XDG_RUNTIME_DIR": str(place)}).ok
    deep = place / ("d" * 80)
    deep.mkdir()
    found = check_run_directory({"XDG_RUNTIME_DIR": str(deep)})
    assert (found.ok, "there are 107" in found.says) == (False, True)
    (base,) = place.glob("fabric-*")
    base.chmod(0o755)
    assert not check_run_directory({"XDG_RUNTIME_DIR": str(place)}).ok


def test_a_state_directory_that_cannot_be_made_is_told(tmp_path: Path):
    """The nearest place above that is there decides."""
    assert check_state(tmp_path / "a" / ".fabric").ok
    (tmp_path / "file").write_text("")
    assert not check_state(tmp_path / "file" / ".fabric").ok


def test_the_limit_of_open_files_is_told_in_workers():
    """Those of the program, if one is meant."""
    assert check_open_files(resource.RLIM_INFINITY, 10_000).ok
    assert check_open_files(4096, None).says == "4096 at most, enough for 165 workers"
    few = check_open_files(256, 50)
    assert (few.ok, few.says, few.help) == (
        False, "256 at most, enough for 5 workers; the program has 50", "ulimit -Hn 1328",
    )  # fmt: skip


def record(project: str, outcome: Outcome | None) -> Record:
    return Record(1, project, "/x.plumb", Process(2**22 - 1, "1@0"), "/nowhere", 0.0, outcome=outcome)


def test_services_that_were_killed_are_left_over():
    """Those that have ended are not."""
    assert check_services([record("a", Outcome(1, 0.0))]).ok
    found = check_services([record("a", None), record("b", Outcome(0, 0.0)), record("c", None)])
    assert (found.ok, found.says) == (False, "killed, and not cleared away: a, c")
    assert found.help == "fabric down -p a; fabric down -p c"


def test_keys_are_told_by_name_alone():
    """None is no mistake."""
    found = check_keys({"ANTHROPIC_API_KEY": "s3cret", "OPENAI_API_KEY_FILE": "/run/s3cret"})
    assert (found.ok, found.says) == (True, "set: ANTHROPIC_API_KEY, OPENAI_API_KEY_FILE")
    assert check_keys({"ANTHROPIC_API_KEY": ""}).ok is None


@pytest.mark.processes
def test_this_host_lets_us_fork():
    """Or the other tests would not run either."""
    assert try_to_fork() is None
