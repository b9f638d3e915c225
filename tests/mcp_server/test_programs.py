"""What a program of somebody else may do."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabric.errors import ConfigError
from fabric.lang.diagnostic import render_all
from fabric.mcp_server.programs import SOURCE_CHARS_MAX, Policy, Programs
from fabric.plan.plan import Plan

MAIN = "let main : !string -> !string = "


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """``docroot`` for programs, ``trusted`` of PLUMB_PATH, ``nowhere``, and what is none of theirs."""
    for folder in ("docroot/lib", "trusted", "nowhere"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("password")
    (tmp_path / "secret.plumb").write_text("let secret : !int -> !int = id\n")
    return tmp_path


def programs(folders: Path, *, docroot: bool = True, **policy: bool) -> Programs:
    root = folders / "docroot" if docroot else None
    return Programs(
        Policy(root, (folders / "trusted",), provider="eliza", **policy),  # type: ignore[arg-type]
        folders / "nowhere",
    )


def check(programs: Programs, text: str) -> str:
    """Return what is wrong with a program, in words; nothing if it is right."""
    compiled, diagnostics = programs.check(text)
    return "" if compiled is not None else programs.shown(render_all(diagnostics))


def plan(programs: Programs, text: str) -> Plan:
    compiled, diagnostics = programs.check(text)
    assert compiled is not None, render_all(diagnostics)
    return programs.plan(compiled, "/run")


REFUSED = {
    "a python function": ('python { call: "os:system" }', "python 'main' runs a program of its own"),
    "a worker": ('worker { command: ["sh"] transport: "stdio" }', "worker 'main' runs a program of its own"),
    "an MCP server": ('agent { mcp: [{ name: "x", command: "sh" }] }', "agent 'main' uses MCP servers"),
    "an MCP server elsewhere": ('agent { mcp: [{ name: "x", url: "http://x" }] }', "agent 'main' uses MCP servers"),
    "an endpoint": (
        'agent { provider: "openai" model: "m" endpoint: "http://evil.example" }',
        "agent 'main' sends the key of its provider to an endpoint",
    ),
    "a function as a script": (
        'agent { provider: "scripted" script: "os:getcwd" }',
        "agent 'main' has a function as its script",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_runs_programs_or_gives_keys_away_has_to_be_allowed(what: str, folders: Path):
    """It is said by which flag."""
    body, why = REFUSED[what]
    with pytest.raises(ConfigError, match=f"^{why}.*--allow-processes$"):
        plan(programs(folders), MAIN + body)


@pytest.mark.parametrize("what", [what for what in REFUSED if "MCP" not in what])
def test_it_can_be_allowed(what: str, folders: Path):
    """Then it is planned as any program is."""
    assert plan(programs(folders, allow_processes=True), MAIN + REFUSED[what][0]).workers


def test_what_does_not_run_is_not_refused(folders: Path):
    """A process that is declared and not used does nothing."""
    text = 'let never : !int -> !int = python { call: "os:system" }\n' + MAIN + "agent { }"
    assert [worker.name for worker in plan(programs(folders), text).workers] == ["main"]


def test_a_tool_made_of_a_process_is_looked_at(folders: Path):
    """An agent that calls it would run it."""
    text = (
        'let f : !int -> !int = python { call: "os:system" }\nlet t : int -> int = tool { process: f }\n'
        + MAIN
        + "agent { tools: [t] }"
    )
    with pytest.raises(ConfigError, match="runs a program of its own"):
        plan(programs(folders), text)


OUTSIDE = ["../secret.txt", "/etc/passwd", "./../secret.txt", "lib/../../secret.txt", "link/secret.txt", "lib/link.txt"]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("key", ["prompts", "script"])
def test_files_of_others_are_not_read(key: str, name: str, folders: Path):
    """By no name: upwards, absolute, through a link to a folder or to a file."""
    (folders / "docroot" / "link").symlink_to(folders)
    (folders / "docroot" / "lib" / "link.txt").symlink_to(folders / "secret.txt")
    value = f'prompts: ["{name}"]' if key == "prompts" else f'provider: "scripted" script: "{name}.jsonl"'
    if key == "script" and name == "lib/link.txt":
        (folders / "docroot" / "lib" / "link.txt.jsonl").symlink_to(folders / "secret.txt")
    with pytest.raises(ConfigError, match=r"agent 'main' reads '.*', which lies outside of --docroot"):
        plan(programs(folders), f"{MAIN}agent {{ {value} }}")


@pytest.mark.parametrize("name", ["../secret.plumb", "link.plumb", "/etc/passwd"])
@pytest.mark.parametrize("docroot", [True, False])
def test_modules_of_others_are_not_read_nor_quoted(name: str, docroot: bool, folders: Path):
    """A diagnostic would show a line of the file."""
    folder = folders / ("docroot" if docroot else "nowhere")
    (folder / "link.plumb").symlink_to(folders / "secret.plumb")
    said = check(programs(folders, docroot=docroot), f'use "{name}"\n{MAIN}agent {{ }}')
    assert "it lies outside of what this server reads: --docroot and PLUMB_PATH" in said
    assert "let secret" not in said
    assert "root:" not in said


def test_a_module_is_looked_for_in_the_docroot_then_in_plumb_path_then_in_the_library(folders: Path):
    """The first that is there counts; of a module in a folder below, too."""
    text = f"use words\n{MAIN}plumb(i, o) {{ i ; Words.say ; o }}"
    assert "there is no module 'words'" in check(programs(folders), text)
    (folders / "trusted" / "words.plumb").write_text('let say : !string -> !string = map("trusted")\n')
    say = "let say : !string -> !string = "
    (folders / "docroot" / "words.plumb").write_text(f'{say}agent {{ provider: "eliza" }}\n')
    assert plan(programs(folders), text).workers
    (folders / "docroot" / "words.plumb").unlink()
    assert not plan(programs(folders), text).workers
    (folders / "docroot" / "lib" / "far.plumb").write_text(f"use words\n{say}plumb(i, o) {{ i ; Words.say ; o }}\n")
    assert check(programs(folders), f'use "lib/far.plumb"\n{MAIN}plumb(i, o) {{ i ; Far.say ; o }}') == ""
    assert check(programs(folders), f"use mem\n{MAIN}agent {{ }}") == ""


def test_modules_of_plumb_path_may_run_programs_and_those_of_the_docroot_may_not(folders: Path):
    """Tools may write to the docroot; PLUMB_PATH is of whoever started the server."""
    module = 'let say : !string -> !string = python { call: "words:say" }\n'
    text = f"use words\n{MAIN}plumb(i, o) {{ i ; Words.say ; o }}"
    (folders / "trusted" / "words.plumb").write_text(module)
    assert plan(programs(folders), text).workers
    (folders / "docroot" / "words.plumb").write_text(module)
    with pytest.raises(ConfigError, match=r"python 'Words\.say' runs a program of its own"):
        plan(programs(folders), text)


def test_file_tools_work_in_the_docroot_and_without_one_not_at_all(folders: Path):
    """Else they would work in the folder of the program, and it has none."""
    text = f"use fs\n{MAIN}agent {{ tools: [Fs.read] }}"
    (tool,) = [worker for worker in plan(programs(folders), text).workers if worker.name != "main"]
    assert tool.spec.config["docroot"] == str(folders / "docroot")
    with pytest.raises(ConfigError, match=r"tool 'Fs\.read' works on files: start the server with --docroot"):
        plan(programs(folders, docroot=False), text)
    own = 'type Part = { path: string }\nlet r : Part -> string = tool { builtin: "fs.read" }\n'
    with pytest.raises(ConfigError, match="tool 'r' works on files"):
        plan(programs(folders, docroot=False), f"{own}{MAIN}agent {{ tools: [r] }}")


def test_a_prompt_of_the_docroot_is_read(folders: Path):
    """And one by a bare name comes from the resources."""
    (folders / "docroot" / "lib" / "p.md").write_text("be kind")
    (agent,) = plan(programs(folders), f'{MAIN}agent {{ prompts: ["./lib/p.md"] }}').workers
    assert [document.text for document in agent.spec.documents] == ["be kind"]


def test_messages_name_the_program_without_the_folders_of_the_server(folders: Path):
    """Its sender knows no such file."""
    said = check(programs(folders), MAIN + "agnet { }")
    assert "┌─ <source>:1:" in said
    assert str(folders) not in said


def test_a_program_that_is_too_long_is_not_even_read(folders: Path):
    """The check of a long one takes seconds."""
    with pytest.raises(ConfigError, match=f"at most {SOURCE_CHARS_MAX} characters"):
        programs(folders).check(" " * (SOURCE_CHARS_MAX + 1))
