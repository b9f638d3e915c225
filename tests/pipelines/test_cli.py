"""The commands: what they print, what they write, and what they end with."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from pipeline_folders import folder_of, mock
from typer.main import get_command
from typer.testing import CliRunner

from fabric.cli.app import make_app as make_fabric
from fabric.pipelines.cli import make_app
from fabric.pipelines.commands.vocab import read_choice
from fabric.pipelines.vocab import Vocabulary

STEPS = "steps:\n  - {name: x, type: llm, model: default, prompt: prompts/extract.j2, schema: {a: int}}\n"
CALL = "steps:\n  - {{name: x, type: transform, fn: 'os:getcwd', inputs: {{a: \"{}\"}}}}\n"
BAD = STEPS.replace("model: default", "model: defualt")


def pipeline(*args: object, stdin: str | None = None) -> Result:
    """Run a command."""
    return CliRunner().invoke(make_app(), [*map(str, args)], input=stdin)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return folder_of(tmp_path, mock('{"a": 1}') + STEPS)


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    return folder_of(tmp_path, mock("no JSON") + STEPS)


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    return folder_of(tmp_path, mock("{}") + BAD)


# --- run --------------------------------------------------------------------------------------------------------------


def test_run_prints_every_value_and_a_summary(good: Path):
    """As JSON, on stdout; the input stands on the command line, in a file, or on stdin."""
    (good.parent / "input.json").write_text('{"text": "hello"}')
    ways: list[tuple[list[object], str | None]] = [
        (["-i", '{"text": "hello"}'], None),
        (["--input", good.parent / "input.json"], None),
        (["-i", "-"], '{"text": "hello"}'),
        ([], '{"text": "hello"}'),
    ]
    for args, stdin in ways:
        done = pipeline("run", good, *args, stdin=stdin)
        assert (done.exit_code, done.stderr) == (0, "")
        told = json.loads(done.stdout)
        assert told["steps"] == {"x": {"a": 1}}
        assert {name: told["summary"][name] for name in ("steps_run", "steps_skipped", "llm_calls")} == {
            "steps_run": ["x"],
            "steps_skipped": [],
            "llm_calls": 1,
        }
        assert isinstance(told["summary"]["elapsed_seconds"], float)


def test_run_writes_a_file(good: Path):
    """And says so on stderr."""
    done = pipeline("run", good, "-i", '{"text": ""}', "-o", good.parent / "out.json")
    assert (done.exit_code, done.stdout) == (0, "")
    assert json.loads((good.parent / "out.json").read_text())["steps"] == {"x": {"a": 1}}


def test_a_dry_run_asks_nobody(failing: Path):
    """The value of a step that would ask is null."""
    done = pipeline("run", failing, "-i", '{"text": ""}', "--dry-run")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["steps"] == {"x": None}


@pytest.mark.parametrize("said", ["{bad", "[1]", "nowhere.json"])
def test_run_ends_with_1_if_the_input_is_wrong(good: Path, said: str):
    """In a line, and nothing is run."""
    done = pipeline("run", good, "-i", said)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "input" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["run", "validate", "batch"])
def test_commands_end_with_1_if_the_pipeline_is_wrong(bad: Path, command: str):
    """And say where, and what was meant."""
    done = pipeline(command, bad, *(["-i", '{"id": 1}'] if command == "run" else []), stdin='{"id": 1}\n')
    assert (done.exit_code, done.stdout) == (1, "")
    assert "pipeline.yaml:8" in done.stderr
    assert "'default'" in done.stderr


def test_run_ends_with_2_if_the_pipeline_fails(failing: Path):
    """And says which step and why; to a program, what the model said, too."""
    done = pipeline("run", failing, "-i", '{"text": ""}')
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Pipeline FAILED at step 'x': ParseError: " in done.stderr
    done = pipeline("run", failing, "-i", '{"text": ""}', "--format", "json")
    logged, told = (json.loads(line) for line in done.stderr.splitlines())
    assert logged["log"] == "warning"
    assert (done.exit_code, told["code"], told["step"], told["kind"]) == (2, "pipeline_failed", "x", "ParseError")
    assert told["answers"] == ["no JSON"] * 3


def test_an_input_that_is_nested_too_deeply_is_told(good: Path):
    """As any other that is no JSON; it is no bug of ours."""
    done = pipeline("run", good, "-i", '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "invalid input JSON: it is nested too deeply" in done.stderr


def test_a_command_line_that_is_none_ends_with_2(good: Path):
    """As everywhere."""
    assert pipeline("run", good, "--no-such-flag").exit_code == 2
    assert pipeline("run", good, "-i", "{}", "--format", "xml").exit_code == 2
    assert pipeline("wash", good).exit_code == 2


# --- validate and graph -----------------------------------------------------------------------------------------------


def test_validate_says_that_a_pipeline_is_valid(good: Path):
    """With a check mark; or as data."""
    done = pipeline("validate", good)
    assert (done.exit_code, done.stdout) == (0, f"✓ {good} is valid\n")
    told = json.loads(pipeline("validate", good, "--format", "json").stdout)
    assert (told["valid"], told["problems"], told["warnings"]) == (True, [], [])


def test_validate_tells_all_problems_as_data(bad: Path):
    """Each with its place."""
    bad.write_text(bad.read_text() + "  - {name: y, type: transform, fn: 'nowhere:f'}\n")
    done = pipeline("validate", bad, "--format", "json")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["valid"]) == (1, False)
    assert [(each["kind"], each["line"]) for each in told["problems"]] == [
        ("ModelRefError", 8),
        ("CallableImportError", 9),
    ]
    assert told["problems"][0]["suggestion"] == "default"


def test_validate_warns_of_what_is_odd(good: Path):
    """On stderr; it is valid all the same."""
    good.write_text(good.read_text().replace("schema:", "max_attempt: 3, schema:"))
    done = pipeline("validate", good)
    assert done.exit_code == 0
    assert "max_attempts" in done.stderr


HOSTILE = {
    "dunder": CALL.format("{{ ctx.__class__.__mro__ }}"),
    "deep": "steps: " + "[" * 10_000 + "]" * 10_000,
    "twice": "steps: []\nsteps: []\n",
    "aliases": "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in itertools.pairwise("abcdefgh")
    )
    + "steps: []\n",
    "code": "steps: !!python/object/apply:os.getcwd []\n",
    "large": "steps: []\nx: " + "y" * 10_000_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_validate_refuses_what_is_hostile_with_a_clear_error(tmp_path: Path, text: str):
    """In few words, with its place, and at once."""
    done = pipeline("validate", folder_of(tmp_path, text))
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"{tmp_path}/pipeline.yaml" in done.stderr
    assert len(done.stderr) < 1_000
    assert isinstance(done.exception, SystemExit)


@pytest.mark.parametrize("name", ["graph", "visualise", "visualize"])
def test_graph_prints_a_diagram(good: Path, name: str):
    """As Markdown, to stdout or to a file."""
    done = pipeline(name, good)
    assert (done.exit_code, done.stdout.splitlines()[2]) == (0, "```mermaid")
    assert "flowchart TD" in done.stdout
    assert pipeline(name, good, "-o", good.parent / "graph.md").exit_code == 0
    assert (good.parent / "graph.md").read_text() == done.stdout


# --- schema -----------------------------------------------------------------------------------------------------------


def test_schema_prints_the_json_schema_of_pipelines():
    """``emit`` is what is meant if nothing is said."""
    bare, emitted = pipeline("schema"), pipeline("schema", "emit", "--indent", "4")
    assert bare.exit_code == emitted.exit_code == 0
    assert json.loads(bare.stdout) == json.loads(emitted.stdout)
    assert emitted.stdout.startswith('{\n    "')
    step = json.loads(bare.stdout)["definitions"]["Step"]["properties"]
    assert {"llm", "ensemble", "http"} <= set(step["type"]["enum"])
    assert {"models", "steps", "outputs", "execution"} <= json.loads(bare.stdout)["properties"].keys()


@pytest.mark.parametrize(
    ("name", "text", "args", "line"),
    [
        ("a.json", '{"title": "x", "n": 1}', [], "class XSchema(BaseModel):"),
        ("a.json", '{"title": "x"}', ["--step", "my_own_step"], "class MyOwnStepSchema(BaseModel):"),
        ("a.jsonl", '{"title": "x"}\n{"n": 2}\n', [], "class XSchema(BaseModel):"),
        ("a.json", '{"steps": {"x": {"title": "x"}}, "summary": {}}', [], "class XSchema(BaseModel):"),
    ],
    ids=["object", "step", "first-of-lines", "what-run-printed"],
)
def test_schema_infer_makes_a_class_of_a_sample(good: Path, name: str, text: str, args: list[str], line: str):
    """Named for the step."""
    (good.parent / name).write_text(text)
    done = pipeline("schema", "infer", good, "--sample", good.parent / name, *args)
    assert done.exit_code == 0, done.stderr
    assert line in done.stdout
    assert "title: str" in done.stdout
    assert ("Warning" in done.stderr) is name.endswith("l")
    assert "summary" not in done.stdout


@pytest.mark.parametrize("text", ["[1, 2]", "{", None], ids=["no-object", "no-json", "not-there"])
def test_schema_infer_ends_with_1_if_the_sample_is_none(good: Path, text: str | None):
    """And says so."""
    if text is not None:
        (good.parent / "a.json").write_text(text)
    done = pipeline("schema", "infer", good, "--sample", good.parent / "a.json")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ")


# --- init -------------------------------------------------------------------------------------------------------------


def test_init_makes_a_folder_whose_pipeline_is_valid(tmp_path: Path):
    """And says what comes next; a second time it leaves everything as it is."""
    folder = tmp_path / "papers"
    done = pipeline("init", folder)
    assert done.exit_code == 0, done.stderr
    files = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert sorted(files) == [
        ".gitignore", ".vscode/settings.json", "pipeline.yaml", "prompts/extract.j2", "pyconveyor-schema.json",
        "schemas.py", "steps.py",
    ]  # fmt: skip
    assert (folder / "vocabularies").is_dir()
    assert pipeline("validate", folder / "pipeline.yaml").exit_code == 0
    dry = pipeline("run", folder / "pipeline.yaml", "--dry-run", "-i", '{"document": "On tea"}')
    assert (dry.exit_code, json.loads(dry.stdout)["steps"]) == (0, {"extract": None})
    (folder / "steps.py").write_text("mine = 1\n")
    again = pipeline("init", folder)
    assert again.exit_code == 0
    assert again.stdout.count("Skipped (exists)") == 6
    assert (folder / "steps.py").read_text() == "mine = 1\n"
    assert (folder / ".gitignore").read_text() == files[".gitignore"]


@pytest.mark.parametrize(("choice", "word"), [("1", "OPENAI"), ("2", "anthropic"), ("3", "11434"), ("99", "OPENAI")])
def test_init_asks_for_fields_and_writes_them_into_the_pipeline(tmp_path: Path, choice: str, word: str):
    """What is no field is refused with a reason; there is no ``schemas.py`` then."""
    typed = f"papers\ntitle:str\n123bad:str\nnocolon\nn:whatever\nscore: int | None\n\n{choice}\n"
    done = pipeline("init", tmp_path / "p", "-i", stdin=typed)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.count("not taken") == 3
    text = (tmp_path / "p" / "pipeline.yaml").read_text()
    assert "      title: str\n      score: int | None\n" in text
    assert "123bad" not in text
    assert word in text
    assert not (tmp_path / "p" / "schemas.py").exists()
    assert "schema_hint" in (tmp_path / "p" / "prompts" / "extract.j2").read_text()
    assert pipeline("validate", tmp_path / "p" / "pipeline.yaml").exit_code == 0


def test_init_without_fields_takes_those_of_the_example(tmp_path: Path):
    """Also at the end of the input."""
    assert pipeline("init", tmp_path / "p", "-i", stdin="").exit_code == 0
    assert "      title: str\n      key_points: list[str]\n" in (tmp_path / "p" / "pipeline.yaml").read_text()


# --- batch ------------------------------------------------------------------------------------------------------------


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_batch_writes_a_line_for_each_line(good: Path):
    """Empty ones aside; to stdout or to a file."""
    said = '\n{"doc": "a", "text": ""}\n\n{"doc": "b", "text": ""}\n'
    done = pipeline("batch", good, "-k", "doc", stdin=said)
    assert (done.exit_code, done.stderr) == (0, "")
    assert sorted(lines_of(done.stdout), key=lambda line: line["doc"]) == [
        {"doc": "a", "ok": True, "steps": {"x": {"a": 1}}},
        {"doc": "b", "ok": True, "steps": {"x": {"a": 1}}},
    ]
    (good.parent / "in.jsonl").write_text(said)
    out = good.parent / "out.jsonl"
    done = pipeline("batch", good, "-i", good.parent / "in.jsonl", "-o", out, "--key", "doc", "-w", "2")
    assert (done.exit_code, done.stdout) == (0, "")
    assert {line["doc"] for line in lines_of(out.read_text())} == {"a", "b"}
    assert "2 succeeded, 0 failed" in done.stderr


def test_batch_tells_of_failed_items_and_ends_with_0(failing: Path):
    """Their ``ok`` is false."""
    done = pipeline("batch", failing, stdin='{"id": 7, "text": ""}\n')
    (line,) = lines_of(done.stdout)
    assert (done.exit_code, line["id"], line["ok"]) == (0, 7, False)
    assert line["error"].startswith("Pipeline aborted at step 'x': ")


@pytest.mark.parametrize(
    ("said", "args", "word"),
    [
        ('{"id": 1}\nno\n', [], "line 2"),
        ('["a"]\n', [], "not a JSON object"),
        ("\n\n", [], "no items"),
        ('{"ok": 1}\n', ["--key", "ok"], "reserved"),
        ('{"id": 1}\n', ["--resume"], "--journal"),
        ('{"id": 1}\n', ["-i", "nowhere.jsonl"], "nowhere.jsonl"),
    ],
)
def test_batch_ends_with_1_before_anything_runs_if_the_input_is_wrong(
    good: Path, said: str, args: list[str], word: str
):
    """All of it is looked at first."""
    done = pipeline("batch", good, *args, stdin=said)
    assert (done.exit_code, done.stdout) == (1, "")
    assert word in done.stderr


NOTE = """
def note(id, into):
    with open(into, "a") as file:
        file.write(id)
    return id
"""


def test_batch_goes_on_where_its_journal_ends(tmp_path: Path):
    """What is in it is not run again, and stands in the output all the same."""
    text = "steps:\n  - {name: x, type: io, fn: 'steps:note', inputs: {id: '{{ ctx.id }}', into: '{{ ctx.into }}'}}\n"
    path = folder_of(tmp_path, text, {"steps.py": NOTE})
    lines = [json.dumps({"id": name, "into": str(tmp_path / "ran")}) + "\n" for name in "abcd"]
    journal = tmp_path / "journal"
    assert pipeline("batch", path, "-w", 1, "--journal", journal, stdin="".join(lines[:2])).exit_code == 0
    done = pipeline("batch", path, "-w", 1, "--journal", journal, "--resume", stdin="".join(lines))
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "ran").read_text() == "abcd"
    assert sorted(line["id"] for line in lines_of(done.stdout)) == ["a", "b", "c", "d"]


def test_a_batch_with_a_file_as_output_has_its_journal_beside_it(tmp_path: Path):
    """The same command goes on with --resume, and begins anew without."""
    text = "steps:\n  - {name: x, type: io, fn: 'steps:note', inputs: {id: '{{ ctx.id }}', into: '{{ ctx.into }}'}}\n"
    path = folder_of(tmp_path, text, {"steps.py": NOTE})
    lines = [json.dumps({"id": name, "into": str(tmp_path / "ran")}) + "\n" for name in "abcd"]
    out = tmp_path / "out.jsonl"
    for words, given, ran in [([], 2, "ab"), (["--resume"], 4, "abcd"), (["--resume"], 4, "abcd"), ([], 1, "abcda")]:
        done = pipeline("batch", path, "-w", 1, "-o", out, *words, stdin="".join(lines[:given]))
        assert done.exit_code == 0, done.stderr
        assert (tmp_path / "ran").read_text() == ran
        assert sorted(line["id"] for line in lines_of(out.read_text())) == [*"abcd"[:given]]
    assert (tmp_path / "out.jsonl.journal").exists()


@pytest.mark.parametrize("command", ["run", "batch"])
def test_what_runs_took_is_written_for_prometheus(good: Path, command: str):
    """In a file that a collector reads."""
    written = good.parent / "pipeline.prom"
    done = pipeline(command, good, "--metrics", written, stdin='{"text": "hello"}\n')
    assert done.exit_code == 0, done.stderr
    lines = written.read_text().splitlines()
    assert f'fabric_pipeline_runs_total{{outcome="ok",spec="{good.parent.name}"}} 1.0' in lines
    assert any(line.startswith("fabric_llm_requests_total{") and line.endswith(" 1.0") for line in lines)


# --- vocab ------------------------------------------------------------------------------------------------------------

PENDING = """
known: [PCR]
label: method
description: Methods of the laboratory.
pending:
  - {raw_value: CRISPR, match_type: novel, seen: 3, ideal_value: CRISPR-Cas9}
  - {raw_value: immunoblotting, match_type: fuzzy, matched_to: Western blot}
  - {raw_value: sorcery, match_type: novel}
"""


def test_vocab_review_accepts_and_denies_what_is_typed(tmp_path: Path):
    """What is not decided waits on."""
    path = folder_of(tmp_path, "steps: []\n", {"vocabularies/method.yaml": PENDING})
    done = pipeline("vocab", "review", path, stdin="9\n1 d3\n")
    assert done.exit_code == 0, done.stderr
    for said in ("Methods of the laboratory.", "'CRISPR' (ideal: 'CRISPR-Cas9') — novel (seen 3×)", "'Western blot'"):
        assert said in done.stdout
    assert "there is no suggestion 9" in done.stdout
    found = Vocabulary.from_file(tmp_path / "vocabularies/method.yaml")
    assert found.known == {"PCR", "CRISPR"}
    assert found.denied == {"sorcery"}
    assert [each["raw_value"] for each in found.pending] == ["immunoblotting"]


def test_vocab_review_accepts_all_without_asking(tmp_path: Path):
    """And has nothing to do the next time."""
    path = folder_of(tmp_path, "steps: []\n", {"vocabularies/method.yaml": PENDING})
    assert pipeline("vocab", "review", path, "--auto-accept").exit_code == 0
    found = Vocabulary.from_file(tmp_path / "vocabularies/method.yaml")
    assert (found.known, list(found.pending)) == ({"PCR", "CRISPR", "immunoblotting", "sorcery"}, [])
    assert "No pending suggestions" in pipeline("vocab", "review", path).stdout


def test_vocab_review_without_an_answer_changes_nothing(tmp_path: Path):
    """Enter, or the end of the input."""
    path = folder_of(tmp_path, "steps: []\n", {"vocabularies/method.yaml": PENDING})
    before = (tmp_path / "vocabularies/method.yaml").read_text()
    for said in ("\n", ""):
        assert pipeline("vocab", "review", path, stdin=said).exit_code == 0
        assert (tmp_path / "vocabularies/method.yaml").read_text() == before


@pytest.mark.parametrize(
    ("said", "accepted", "denied"),
    [
        ("", [], []),
        ("1", [0], []),
        ("1,3", [0, 2], []),
        ("d2", [], [1]),
        ("3,1 d2", [0, 2], [1]),
        ("d1,2 3", [2], [0, 1]),
    ],
)
def test_numbers_are_accepted_and_those_behind_a_d_denied(said: str, accepted: list[int], denied: list[int]):
    """Separated by commas and spaces."""
    assert read_choice(said, 3) == (accepted, denied)


@pytest.mark.parametrize("said", ["x", "4", "0", "1 d1", "d", "1;2"])
def test_what_is_no_choice_is_refused(said: str):
    """With a reason."""
    with pytest.raises(ValueError, match=r"suggestion|expected"):
        read_choice(said, 3)


# --- all of them ------------------------------------------------------------------------------------------------------


def test_fabric_has_them_as_a_group(good: Path):
    """``fabric pipeline validate``."""
    done = CliRunner().invoke(make_fabric("pipeline"), ["--no-dotenv", "pipeline", "validate", str(good)])
    assert (done.exit_code, done.stdout) == (0, f"✓ {good} is valid\n")


def test_every_command_tells_what_it_does_and_what_it_ends_with():
    """In its help."""
    app: Any = get_command(make_app())
    for name, command in app.commands.items():
        for one in getattr(command, "commands", {name: command}).values():
            assert one.help
            assert "Exit codes: 0" in one.help


# --- without the extra ------------------------------------------------------------------------------------------------

WITHOUT = """
import sys
sys.modules["yaml"] = sys.modules["jinja2"] = None
from fabric.cli import main
main()
"""


@pytest.mark.parametrize("words", [["--help"], ["pipeline", "--help"], ["pipeline", "validate", "pipeline.yaml"]])
def test_without_the_extra_there_is_help_and_one_line_that_names_it(words: list[str], good: Path):
    """For all commands: the list of them has this one, too."""
    done = subprocess.run([sys.executable, "-c", WITHOUT, *words], cwd=good.parent, capture_output=True, check=False)
    if "--help" in words:
        assert (done.returncode, done.stderr) == (0, b"")
    else:
        assert done.returncode == 1
        assert done.stderr == b"Error: it needs pyyaml and jinja2: pip install 'plumb-fabric[pipelines]'\n"
