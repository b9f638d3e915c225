"""``fabric compose`` and ``fabric k8s`` as a user meets them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from three_ways import fabric

pytestmark = pytest.mark.processes

TEXT = """
let a : !string -> !string = agent { provider: "eliza" }
let f : !string -> !string = python { call: "code:f" }
let main : !string -> !string = plumb(i, o) { i ; a ; f ; o }
"""
HOSTS = '[hosts.one]\naddress = "10.0.0.1"\n[hosts.two]\naddress = "10.0.0.2"\n[workers.f]\nhost = "two"\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "talk"
    folder.mkdir()
    (folder / "main.plumb").write_text(TEXT)
    (folder / "code.py").write_text("def f(said):\n    return said\n")
    (folder / ".env").write_text("X=1\n")
    return folder


def error(done: object) -> str:
    return json.loads(done.stderr.splitlines()[-1])["error"]  # type: ignore[attr-defined]


def there(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_is_written_once_and_then_kept(project: Path):
    """All that the compose file mounts; the second time nothing is to be done, and keys stay what they are."""
    done = fabric("compose", "--no-monitors", "-o", "out", cwd=project)
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"left out: .env (hidden)" in done.stderr
    keys = {"coordinator.json", "allowed.json", "workers/a.json", "workers/f.json"}
    expected = {"compose.yaml", ".env", ".gitignore", "README.md", "fabric.toml", "secrets/token", "specs/a.json"}
    expected |= {
        ".fabric-deployment",
        "specs/f.json",
        "app/main.plumb",
        "app/code.py",
        *(f"keys/{name}" for name in keys),
    }
    expected.add("keys/.gitignore")
    assert there(project / "out") == expected
    for path in ("secrets/token", *(f"keys/{name}" for name in keys)):
        assert (project / "out" / path).stat().st_mode & 0o777 == 0o600, path
    before = {path: (project / "out" / path).read_bytes() for path in expected}
    done = fabric("compose", "--no-monitors", "-o", "out", cwd=project)
    assert (done.returncode, b"out: all is as it should be" in done.stderr) == (0, True)
    assert {path: (project / "out" / path).read_bytes() for path in expected} == before
    if os.geteuid() == 0:
        assert {(project / "out" / path).stat().st_uid for path in expected} == {65532}


def test_a_difference_is_shown_and_not_written(project: Path):
    """With --diff as a patch, with --dry-run as names; a worker that is gone leaves files, which are told."""
    assert fabric("compose", "--no-monitors", "-o", "out", cwd=project).returncode == 0
    changed = TEXT.replace('let f : !string -> !string = python { call: "code:f" }\n', "").replace("a ; f ;", "a ;")
    (project / "main.plumb").write_text(changed)
    before = (project / "out/compose.yaml").read_bytes()
    shown = fabric("compose", "--no-monitors", "-o", "out", "--diff", cwd=project)
    assert b'-let f : !string -> !string = python { call: "code:f" }\n' in shown.stdout
    assert b"no longer used: out/specs/f.json" in shown.stderr
    named = fabric("compose", "--no-monitors", "-o", "out", "--dry-run", cwd=project)
    assert b"would write out/compose.yaml" in named.stderr
    assert (project / "out/compose.yaml").read_bytes() == before


def test_each_host_gets_its_own_keys_and_no_other(project: Path):
    """The original of all is beside them."""
    (project / "fabric.toml").write_text(HOSTS)
    done = fabric("compose", "--no-monitors", "-o", "out", cwd=project)
    assert done.returncode == 0, done.stderr
    files = there(project / "out")
    assert {path for path in files if "keys/" in path} == {
        *(f"keys/{name}" for name in ("coordinator.json", "allowed.json", "workers/a.json", "workers/f.json")),
        "keys/.gitignore",
        *(f"one/keys/{name}" for name in ("coordinator.json", "allowed.json", "workers/a.json")),
        "two/keys/workers/f.json",
    }
    assert {path for path in files if path.startswith("two/app/")} == {
        "two/app/main.plumb",
        "two/app/code.py",
        "two/app/fabric.toml",
    }
    assert b"rsync -a two/ 10.0.0.2:talk/two/" in (project / "out/README.md").read_bytes()


def test_new_keys_reach_the_hosts_by_the_next_writing(project: Path):
    """`fabric keys --rotate` changes the original."""
    (project / "fabric.toml").write_text(HOSTS)
    write = ("compose", "--no-monitors", "-o", "out")
    assert fabric(*write, cwd=project).returncode == 0
    before = (project / "out/two/keys/workers/f.json").read_bytes()
    rotate = fabric("keys", "-o", "out/keys", "--rotate", "main.plumb", "f", cwd=project)
    assert rotate.returncode == 0, rotate.stderr
    done = fabric(*write, cwd=project)
    assert b"wrote out/two/keys/workers/f.json" in done.stderr
    after = (project / "out/two/keys/workers/f.json").read_bytes()
    assert after != before
    assert after == (project / "out/keys/workers/f.json").read_bytes()


@pytest.mark.parametrize("command", [("compose", "--no-monitors"), ("k8s",)])
def test_keys_of_a_deployment_are_rotated_where_they_are(project: Path, command: tuple[str, ...]):
    """As the runbook says it: one, or all with the fabric's own. Beside the coordinator these workers need no keys."""
    assert fabric(*command, "-o", "out", cwd=project).returncode == 0
    keys = project / "out/keys"
    files = [keys / name for name in ("coordinator.json", "workers/a.json", "workers/f.json")]
    texts = [file.read_bytes() for file in files]
    one = fabric("keys", "-o", "out/keys", "--rotate", "main.plumb", "f", cwd=project)
    assert one.returncode == 0, one.stderr
    assert [file.read_bytes() == text for file, text in zip(files, texts, strict=True)] == [True, True, False]
    whole = fabric("keys", "-o", "out/keys", "--rotate", "main.plumb", cwd=project)
    assert whole.returncode == 0, whole.stderr
    assert not {file.read_bytes() for file in files} & set(texts)
    again = fabric(*command, "-o", "out", cwd=project)
    assert (again.returncode, b"out: all is as it should be" in again.stderr) == (0, True), again.stderr


def test_nothing_to_rotate_is_no_success(project: Path):
    """Whoever rotates keys must not believe that it was done."""
    done = fabric("keys", "-o", "out/keys", "--rotate", "main.plumb", cwd=project)
    assert (done.returncode, "there are no keys of workers" in error(done)) == (2, True)
    assert not (project / "out").exists()


def test_the_file_of_an_only_host_is_printed(project: Path):
    """Of several there is none to print."""
    done = fabric("compose", "--no-monitors", cwd=project)
    assert (done.returncode, done.stdout.splitlines()[2]) == (0, b"services:")
    assert there(project) == {"main.plumb", "code.py", ".env"}
    (project / "fabric.toml").write_text(HOSTS)
    done = fabric("compose", "--no-monitors", cwd=project)
    assert (done.returncode, error(done)) == (2, "there is a file for each of several hosts: name a folder with -o DIR")


def test_manifests_are_written_and_hosts_are_told_to_be_left_out(project: Path):
    """They say nothing to Kubernetes."""
    (project / "fabric.toml").write_text(HOSTS)
    done = fabric("k8s", "-o", "out", cwd=project)
    assert (done.returncode, b"left out, for Kubernetes finds the nodes: hosts one, two" in done.stderr) == (0, True)
    files = there(project / "out")
    assert {
        "kustomization.yaml",
        "coordinator.yaml",
        "workers/a.yaml",
        "workers/f.yaml",
        "keys/workers/f.json",
    } <= files
    done = fabric("k8s", cwd=project)
    assert (done.returncode, error(done)) == (2, "there are several files: name a folder with -o DIR")


def test_what_a_container_would_miss_is_refused(project: Path):
    """Folders of the environment that lie somewhere else."""
    done = fabric("compose", cwd=project, env={"PLUMB_PATH": "/usr/lib"})
    assert done.returncode == 2
    assert error(done).startswith("PLUMB_PATH='/usr/lib' lies outside of the program's folder")


def test_nothing_secret_of_one_deployment_gets_into_another(project: Path):
    """Two in one project, keys of its own, and a file of its owner's: the second has none of them."""
    assert fabric("compose", "--no-monitors", "-o", "first", cwd=project).returncode == 0
    assert fabric("keys", "-o", "mykeys", "main.plumb", "--all", cwd=project).returncode == 0
    (project / "token.txt").touch(0o600)
    token = (project / "first/secrets/token").read_bytes().strip()
    shown = fabric("compose", "--no-monitors", "-o", "second", "--diff", cwd=project)
    assert shown.returncode == 0, shown.stderr
    assert token not in shown.stdout
    assert b"mykeys" not in shown.stdout
    for verb in ("compose", "k8s"):
        done = fabric(verb, "-o", verb, cwd=project)
        assert done.returncode == 0, done.stderr
        assert {path for path in there(project / verb) if path.startswith("app/")} == {"app/main.plumb", "app/code.py"}
        for said in (b"first/ (a deployment)", b"mykeys/ (keys)", b"token.txt (only its owner may read it)"):
            assert b"left out: " + said in done.stderr


def test_a_program_that_only_its_owner_may_read_is_refused(project: Path):
    """It would be missing, and the coordinator would not start."""
    (project / "main.plumb").chmod(0o600)
    done = fabric("compose", "-o", "out", cwd=project)
    assert (done.returncode, "taken for secrets: chmod go+r" in error(done)) == (2, True)


@pytest.mark.parametrize("output", [".", "..", "theirs"])
def test_what_is_there_is_not_written_over(project: Path, output: str):
    """The project's own folder, one above it, one with files of somebody else."""
    (project / "fabric.toml").write_text("[run]\nrestarts = 1\n")
    (project / "theirs").mkdir()
    (project / "theirs" / "README.md").write_text("mine")
    before = there(project.parent)
    done = fabric("compose", "--no-monitors", "-o", output, cwd=project)
    said = "files that we did not write: README.md" if output == "theirs" else "its files would be replaced"
    assert (done.returncode, said in error(done)) == (2, True)
    assert there(project.parent) == before
    assert (project / "theirs" / "README.md").read_text() == "mine"


@pytest.mark.parametrize("verb", ["compose", "k8s"])
def test_what_has_no_keys_is_told(project: Path, verb: str):
    """As everywhere, and by the same variable."""
    done = fabric(verb, "-o", "out", cwd=project, env={"FABRIC_INSECURE": "1"})
    assert (done.returncode, b"INSECURE: no keys" in done.stderr) == (0, True)
    assert not (project / "out/keys").exists()
