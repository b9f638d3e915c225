"""``fabric new`` as a user meets it, and ``config``, ``completion`` and ``.env`` in what it makes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from terminals import Terminal, terminal
from three_ways import environment, fabric

from fabric.cli.template import TEMPLATES

pytestmark = pytest.mark.processes


def error(done: object) -> str:
    return json.loads(done.stderr.splitlines()[-1])["error"]  # type: ignore[attr-defined]


def made(template: str, folder: Path) -> Path:
    done = fabric("new", template, "made", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "made"


def test_what_is_made_is_told(tmp_path: Path):
    """The files on stdout, what to do next on stderr; with --dry-run they are not there."""
    dry = fabric("new", "--dry-run", cwd=tmp_path)
    assert (dry.returncode, dry.stderr, list(tmp_path.iterdir())) == (0, b"", [])
    done = fabric("new", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, dry.stdout)
    assert done.stderr == b"made hello; next: cd hello && fabric check\n"
    files = [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    assert sorted(done.stdout.decode().splitlines()) == [str(path.relative_to(tmp_path)) for path in files]


def test_nothing_is_overwritten(tmp_path: Path):
    """One file that is there already, be it a link to nowhere, and none is made."""
    for there in ("hello.plumb", "fabric.toml"):
        (tmp_path / "hello").mkdir(exist_ok=True)
        (tmp_path / "hello" / there).symlink_to("/nowhere")
    done = fabric("new", "hello", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert error(done) == (
        "hello has fabric.toml, hello.plumb already, and nothing is overwritten; name another folder"
    )
    assert len(list((tmp_path / "hello").iterdir())) == 2


def test_a_folder_that_is_there_may_take_a_project(tmp_path: Path):
    """The one that we are in, too."""
    (tmp_path / "notes.txt").touch()
    done = fabric("new", "hello", ".", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"made .; next: fabric check\n")
    assert fabric("check", cwd=tmp_path).stdout == b"hello.plumb: ok (0 types, 2 bindings)\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["helo"], "there is no template 'helo'; did you mean 'hello'?"),
        (["nothing"], "there is no template 'nothing'; expected hello, python, review, tools"),
        (["hello", "my project"], "such as 'my-project'"),
        (["hello", "file/below"], "cannot write file/below: Not a directory"),
    ],
)
def test_what_cannot_be_made_is_said(tmp_path: Path, arguments: list[str], message: str):
    """With a hint, and exit code 2."""
    (tmp_path / "file").touch()
    done = fabric("new", *arguments, cwd=tmp_path)
    assert (done.returncode, message in error(done)) == (2, True)


def test_the_templates_are_listed():
    """A line each."""
    lines = fabric("new", "--list").stdout.decode().splitlines()
    assert [line.split()[0] for line in lines] == list(TEMPLATES)


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_tests_of_a_project_pass(template: str, tmp_path: Path):
    """Without a key, in a pytest of its own."""
    project = made(template, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--confcutdir", project, "-o", "addopts="],
        cwd=project,
        env=environment(),
        capture_output=True,
        timeout=120,
    )
    assert (done.returncode, b" passed" in done.stdout) == (0, True), done.stdout.decode()


def test_the_program_in_python_is_the_one_of_the_file(tmp_path: Path):
    """Comments aside."""
    project = made("python", tmp_path)
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=project, env=environment(), capture_output=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")
    rendered = done.stdout.decode().rpartition("\n[")[0]
    assert rendered.strip() == (project / "words.plumb").read_text().split("*)\n", 1)[1].strip()


def test_settings_are_shown_with_their_origin(tmp_path: Path):
    """Of all places; a flag of the command line may name another .env, or none."""
    project = made("hello", tmp_path)
    (project / "fabric.toml").write_text('spec = "hello.plumb"\n[run]\ngrace = 4\nrestarts = 1\nstall = 9\n')
    (project / ".env").write_text("FABRIC_GRACE=5\nFABRIC_RESTARTS=2\nOPENAI_API_KEY=hunter2hunter2\n")
    (project / "other.env").write_text("FABRIC_GRACE=7\n")
    user = tmp_path / "config" / "fabric" / "config.toml"
    user.parent.mkdir(parents=True)
    user.write_text('[run]\nstall = 8\ntool_timeout = "5s"\n')
    variables = {"FABRIC_GRACE": "6", "XDG_CONFIG_HOME": str(tmp_path / "config")}

    def shown(*flags: str, **more: str) -> dict[str, list[object]]:
        done = fabric(*flags, "config", "show", "--format", "json", cwd=project, env=more)
        assert (done.returncode, done.stderr, b"hunter2" in done.stdout) == (0, b"", False)
        rows = json.loads(done.stdout)["settings"]
        return {row["name"]: [row["value"], row["source"], row.get("place", "")] for row in rows}

    found = shown(**variables)
    assert found["run.grace"] == [6.0, "environment", "FABRIC_GRACE"]
    assert found["run.restarts"] == [2, "dotenv", f"FABRIC_RESTARTS, {project}/.env:2"]
    assert found["run.stall"] == [9.0, "project", f"{project}/fabric.toml:5"]
    assert found["run.tool_timeout"] == [5.0, "user", f"{user}:3"]
    assert found["run.ready_timeout"] == [30.0, "default", ""]
    assert found["OPENAI_API_KEY"] == [True, "dotenv", f"OPENAI_API_KEY, {project}/.env:3"]
    assert shown()["run.grace"] == [5.0, "dotenv", f"FABRIC_GRACE, {project}/.env:1"]
    assert shown("--no-dotenv")["run.grace"] == [4.0, "project", f"{project}/fabric.toml:3"]
    assert shown("--env-file", "other.env")["run.grace"][0] == 7.0
    assert shown("--env-file", "other.env")["run.restarts"][0] == 1
    text = fabric("config", "show", "--origin", cwd=project).stdout.decode().splitlines()
    assert [line.split() for line in text if line.startswith("run.grace")] == [
        ["run.grace", "5", "FABRIC_GRACE,", ".env:1"]
    ]


def test_variables_of_env_count_below_the_folder_of_the_project_and_not_without_one(tmp_path: Path):
    """It is beside the settings, or in the working directory if there are none."""
    project = made("hello", tmp_path)
    (project / ".env").write_text("FABRIC_GRACE=5\n")
    (project / "notes").mkdir()
    show = ("config", "show", "--origin")
    assert b"FABRIC_GRACE, " in fabric(*show, cwd=project / "notes").stdout
    assert b"FABRIC_GRACE, " not in fabric(*show, cwd=tmp_path).stdout
    (tmp_path / ".env").write_text("FABRIC_GRACE=5\n")
    assert b"FABRIC_GRACE, " in fabric(*show, cwd=tmp_path).stdout


def test_a_key_in_env_comes_to_the_agent_that_needs_it(tmp_path: Path):
    """And the error without it names the variable, not the file."""
    project = made("hello", tmp_path)
    program = (project / "hello.plumb").read_text().replace('"eliza", model: "doctor"', '"openai", model: "m"')
    (project / "hello.plumb").write_text(program)
    missing = fabric("call", "hello.plumb", '"hi"', cwd=project)
    assert (missing.returncode, b"OPENAI_API_KEY" in missing.stderr) == (2, True)
    (project / ".env").write_text("OPENAI_API_KEY=none\nPLUMB_ENDPOINT=http://127.0.0.1:9/v1\n")
    tried = fabric("call", "hello.plumb", '"hi"', cwd=project)
    assert (tried.returncode, b"OPENAI_API_KEY" in tried.stderr) == (69, False)


def test_variables_of_env_are_those_of_flags_and_of_python(tmp_path: Path):
    """A flag takes its variable from there; so does a program that is called from Python, and its check."""
    project = made("hello", tmp_path)
    program = (project / "hello.plumb").read_text().replace('provider: "eliza", model: "doctor"', "")
    (project / "hello.plumb").write_text(f"use far\n{program}")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "far.plumb").write_text("type Far = string\n")
    variables = f"PLUMB_PROVIDER=eliza\nPLUMB_PATH={tmp_path / 'lib'}\n"
    (project / ".env").write_text(variables)
    assert fabric("run", cwd=project, stdin=b'"hi"\n').returncode == 0
    text = "import fabric; fabric.check('hello.plumb'); print(len(fabric.call_sync('hello.plumb', 'hi')))"
    done = subprocess.run([sys.executable, "-c", text], cwd=project, env=environment(), capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, b"1\n"), done.stderr
    (project / ".env").write_text(f"{variables}FABRIC_GRACE=soon\n")
    wrong = fabric("run", cwd=project)
    assert (wrong.returncode, b"FABRIC_GRACE" in wrong.stderr) == (2, True)


@pytest.mark.parametrize("flags", [[], ["--env-file", ".env"]])
def test_a_mistake_in_env_is_told_where_it_is(tmp_path: Path, flags: list[str]):
    """Commands that look at no settings go on; so does one that is told not to read it."""
    project = made("hello", tmp_path)
    (project / ".env").write_text("A=1\nhunter2 is my key\n")
    done = fabric(*flags, "check", cwd=project)
    assert done.returncode == 2
    assert error(done).endswith(".env:2: expected NAME=value, with quotes that are closed, or a comment")
    assert b"hunter2" not in done.stderr
    assert fabric("explain", "E0412", cwd=project).returncode == 0
    assert fabric("--no-dotenv", "check", cwd=project).returncode == 0


def test_an_env_file_that_is_not_there_is_an_error(tmp_path: Path):
    """One that was named; and not both can be meant."""
    missing = fabric("--env-file", "x.env", "check", cwd=tmp_path)
    assert (missing.returncode, error(missing)) == (2, "--env-file x.env: there is no such file")
    both = fabric("--env-file", "x.env", "--no-dotenv", "check", cwd=tmp_path)
    assert (both.returncode, error(both).startswith("--env-file names a file, --no-dotenv wants none")) == (2, True)


def test_the_workers_of_services_that_run_are_known(project: Path):
    """For completion; none where nothing runs."""
    made("hello", project)
    assert fabric("completion", "workers", cwd=project / "made").stdout == b""
    state = {"FABRIC_STATE_DIR": str(project / ".fabric")}  # where the fixture looks for what is left
    assert fabric("up", "-d", cwd=project / "made", env=state).returncode == 0
    assert fabric("completion", "workers", cwd=project / "made", env=state).stdout == b"doctor\n"
    assert fabric("down", cwd=project / "made", env=state).returncode == 0


@pytest.mark.parametrize(
    ("shell", "start"),
    [
        ("bash", ["bash", "--norc", "--noprofile", "-i"]),
        ("zsh", ["zsh", "-f", "-i"]),
    ],
)
def test_a_shell_completes_at_a_terminal(tmp_path: Path, shell: str, start: list[str]):
    """Commands, flags, values of flags, programs."""
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    (tmp_path / "only.plumb").touch()
    (tmp_path / "other.txt").touch()
    prepare = "autoload -Uz compinit && compinit -D && " if shell == "zsh" else ""
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp_path), "PS1": "> "}
    with terminal(start, tmp_path, {**environment(), **path}) as (process, descriptor):
        person = Terminal(process, descriptor)
        person.type(f'{prepare}eval "$(fabric completion {shell})"; echo loa""ded\r')
        person.expect("loaded")
        person.type("fabric() { printf '[%s]' \"$@\"; }\r")  # says what it gets
        for typed, got in [
            ("doc", "[doctor]"),
            ("check on", "[check][only.plumb]"),
            ("graph --format mer", "[graph][--format][mermaid]"),
            ("dead li", "[dead][list]"),
            ("run --prov", "[run][--provider]"),
        ]:
            person.type(f"fabric {typed}\t\r")
            person.expect(got)
        person.type("exit\r")
        assert person.end() == 0
