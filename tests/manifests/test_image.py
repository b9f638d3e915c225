"""What images are built from, and one that is built."""

import io
import json
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from engine import Engine
from three_ways import fabric
from wheels import write_wheels

from fabric.errors import ConfigError
from fabric.manifests.image import context_files, dockerfile, pack_context, write_context
from fabric.manifests.own_wheel import AGENT_NEEDS, own_requirements, pack_wheel

PROGRAM = """
let work : !string -> !int = python { call: "functions:work" }
let main : !string -> !int = plumb(i, o) { i ; work ; o }
"""


def test_the_wheel_has_what_is_installed_here_and_is_always_the_same() -> None:
    """Both packages, their data, the command; an engine finds what it has built of it before."""
    name, content = pack_wheel()
    assert (name, content) == pack_wheel()
    with zipfile.ZipFile(io.BytesIO(content)) as wheel:
        names = set(wheel.namelist())
        about = f"plumb_fabric-{metadata.version('plumb-fabric')}.dist-info"
        assert {"fabric/cli/image.py", "plumb_agent/worker.py", "fabric/lang/grammar.txt", f"{about}/RECORD"} <= names
        recorded = {line.split(",")[0] for line in wheel.read(f"{about}/RECORD").decode().splitlines()}
        assert recorded == names
        assert not any("__pycache__" in name for name in names)


def test_a_worker_needs_less_than_everything() -> None:
    """What it needs is a part of what we need, and each is one of those that were looked up."""
    agent, everything = own_requirements()
    assert len(agent) == len(AGENT_NEEDS) < len(everything)
    assert set(agent) < set(everything)


def test_a_programs_folder_goes_along_without_what_is_not_the_programs(tmp_path: Path) -> None:
    """No hidden file, where keys are, no cache; its own folders are there."""
    for name in ("main.plumb", "prompts/a.md", ".env", ".fabric/keys/x", "__pycache__/a.pyc", "node_modules/b.js"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "run.sh").write_text("run")
    (tmp_path / "run.sh").chmod(0o755)
    (tmp_path / "secret.json").write_text("{}")
    (tmp_path / "secret.json").chmod(0o600)
    files, left_out = context_files(tmp_path, None)
    assert ("secret.json", "only its owner may read it") in left_out
    assert sorted(name for name in files if name.startswith("app/")) == [
        "app/.keep",
        "app/main.plumb",
        "app/prompts/a.md",
        "app/run.sh",
    ]
    with tarfile.open(fileobj=io.BytesIO(pack_context(files))) as tar:
        modes = {info.name: info.mode for info in tar}
    assert modes == {name: 0o755 if name == "app/run.sh" else 0o644 for name in files}
    write_context(files, tmp_path / "out")
    assert (tmp_path / "out/app/run.sh").stat().st_mode & 0o777 == 0o755


def test_extras_go_along_if_they_are_asked_for() -> None:
    """That for spans into the images of workers, too."""
    agent, everything = own_requirements()
    more, all_of_it = own_requirements(["otel", "mcp"])
    assert {text.partition(">")[0] for text in more} - {text.partition(">")[0] for text in agent} == {
        "opentelemetry-sdk",
        "opentelemetry-exporter-otlp-proto-http",
    }
    assert {text.partition(">")[0] for text in set(all_of_it) - set(everything) - set(more)} == {"mcp", "hypercorn"}
    with pytest.raises(ConfigError, match=r"there is no extra 'otl'; there are all, .*otel"):
        own_requirements(["otl"])


def test_what_cannot_be_packed_is_said(tmp_path: Path) -> None:
    """A folder of wheels without any, a folder to write to that has something in it."""
    with pytest.raises(ConfigError, match="there are no wheels; fill it with: pip download"):
        context_files(None, tmp_path)
    (tmp_path / "something").touch()
    with pytest.raises(ConfigError, match="is not empty"):
        write_context({}, tmp_path)


def test_both_targets_are_stages_of_the_file() -> None:
    """And neither stage that is run has an entry point: a container says all of its command."""
    text = dockerfile().decode()
    assert "\nFROM ${BASE} AS agent\n" in text
    assert "\nFROM ${BASE} AS fabric\n" in text
    assert not any(line.startswith("ENTRYPOINT") for line in text.splitlines())


@pytest.mark.processes
def test_images_are_built_without_a_network_and_run(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The small one, for workers, has no command line, and runs a program; the whole one has the command."""
    monkeypatch.setenv("DOCKER_HOST", engine.host)
    wheels, project = tmp_path / "wheels", tmp_path / "demo"
    wheels.mkdir()
    write_wheels(wheels)
    project.mkdir(mode=0o755)
    (project / "demo.plumb").write_text(PROGRAM)
    (project / "functions.py").write_text("def work(text):\n    return len(text)\n")
    (project / "fabric.toml").write_text('[run]\nrunner = "container"\nimage = "small"\n')
    how = ("--base", engine.base(), "--wheels", str(wheels))
    small = fabric("image", "demo.plumb", "-t", "small", "--target", "agent", *how, cwd=project)
    assert (small.returncode, "built small (" in small.stderr.decode()) == (0, True), small.stderr.decode()
    whole = fabric("image", "-t", "whole", *how, cwd=project)
    assert whole.returncode == 0, whole.stderr.decode()

    def sized(tag: str) -> int:
        return json.loads(engine.docker("image", "inspect", tag))[0]["Size"]

    assert sized(engine.base()) < sized("small") < sized("whole")
    alone = ("run", "--rm", "--network=none", "--read-only")
    assert engine.docker(*alone, "small", "ls", "/app").split() == ["demo.plumb", "fabric.toml", "functions.py"]
    assert engine.docker(*alone, "small", "id", "-u").strip() == "65532"
    missing = (
        "import importlib.util as u; print([n for n in ('typer', 'pydantic', 'prometheus_client') if u.find_spec(n)])"
    )
    assert engine.docker(*alone, "small", "python", "-c", missing).strip() == "[]"
    assert "fabric" in engine.docker(*alone, "whole", "fabric", "version")
    done = fabric("run", "demo.plumb", cwd=project, stdin=b'"four"\n')
    assert (done.returncode, done.stdout) == (0, b"4\n"), done.stderr.decode()


def test_what_cannot_be_built_is_said(tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the engine's words: exit code 4. A target that there is not: 2, before anybody is asked."""
    monkeypatch.setenv("DOCKER_HOST", engine.host)
    failed = fabric("image", "--base", "nobody.invalid/has:it", cwd=tmp_path)
    assert (failed.returncode, "could not build plumb-fabric" in failed.stderr.decode()) == (4, True), failed.stderr
    assert fabric("image", "--target", "both", cwd=tmp_path).returncode == 2


def test_the_folder_of_the_project_goes_along(tmp_path: Path) -> None:
    """The one that --program-in-image expects: that of the settings which name the program."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src/main.plumb").write_text(PROGRAM)
    (tmp_path / "fabric.toml").write_text('spec = "src/main.plumb"\n')
    done = fabric("image", "src/main.plumb", "-o", "context", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "context/app/src/main.plumb").is_file()


def test_what_it_is_built_from_can_be_written_down(tmp_path: Path) -> None:
    """Nothing is built then, and no engine is asked."""
    done = fabric("image", "-o", "context", cwd=tmp_path, env={"DOCKER_HOST": "unix:///nowhere"})
    assert done.returncode == 0
    assert "docker build --target fabric -t plumb-fabric context" in done.stderr.decode()
    assert (tmp_path / "context" / "Dockerfile").read_bytes() == dockerfile()
