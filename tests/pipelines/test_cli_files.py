"""What commands write costs nobody a file: none that is read, and no result of before if there is nothing new."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest
from click.testing import Result
from pipeline_folders import folder_of, mock
from typer.testing import CliRunner

from fabric.pipelines.cli import make_app

STEPS = "steps:\n  - {name: x, type: llm, model: default, prompt: prompts/extract.j2, schema: {a: int}}\n"
LINES = '{"id": 1, "text": ""}\n{"id": 2, "text": ""}\n'
OLD = '{"id": "of before"}\n'


def pipeline(*args: object, stdin: str | None = None) -> Result:
    """Run a command."""
    return CliRunner().invoke(make_app(), [*map(str, args)], input=stdin)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return folder_of(tmp_path, mock('{"a": 1}') + STEPS, {"in.jsonl": LINES, "out.jsonl": OLD})


def journal_of_before(good: Path) -> Path:
    journal = good.parent / "journal"
    assert pipeline("batch", good, "-i", good.parent / "in.jsonl", "--journal", journal).exit_code == 0
    return journal


@pytest.mark.parametrize("wrong", ["not-resumed", "nowhere", "no-journal", "damaged", "in-use"])
def test_a_mistake_with_the_journal_costs_no_results(good: Path, wrong: str):
    """The journal is opened before the output loses what it has."""
    journal = journal_of_before(good)
    with journal.open() as held:
        if wrong == "nowhere":
            journal = good.parent / "nowhere" / "journal"
        elif wrong == "no-journal":
            journal.write_text("a poem\n")
        elif wrong == "damaged":
            journal.write_text(journal.read_text().replace('"item"', "item", 1))
        elif wrong == "in-use":
            fcntl.flock(held, fcntl.LOCK_EX)
        resume = [] if wrong == "not-resumed" else ["--resume"]
        done = pipeline(
            "batch",
            good,
            "-i",
            good.parent / "in.jsonl",
            "-o",
            good.parent / "out.jsonl",
            "--journal",
            journal,
            *resume,
        )
    assert done.exit_code == 1
    assert "journal" in done.stderr
    assert (good.parent / "out.jsonl").read_text() == OLD


def test_what_an_output_had_is_replaced_by_the_first_result(good: Path):
    """As a whole, also if it was longer."""
    out = good.parent / "out.jsonl"
    out.write_text(OLD * 100)
    assert pipeline("batch", good, "-i", good.parent / "in.jsonl", "-o", out).exit_code == 0
    assert sorted(json.loads(line)["id"] for line in out.read_text().splitlines()) == [1, 2]


@pytest.mark.parametrize("what", ["input", "journal", "pipeline"])
@pytest.mark.parametrize("way", ["itself", "symlink", "hardlink"])
def test_the_output_of_a_batch_is_none_of_its_files(good: Path, what: str, way: str):
    """By any name; and nothing is lost."""
    lines, journal = good.parent / "in.jsonl", journal_of_before(good)
    target = {"input": lines, "journal": journal, "pipeline": good}[what]
    before = target.read_bytes()
    out = target if way == "itself" else good.parent / "other"
    if way == "symlink":
        out.symlink_to(target)
    elif way == "hardlink":
        out.hardlink_to(target)
    done = pipeline("batch", good, "-i", lines, "-o", out, "--journal", journal, "--resume")
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"is the {what}, which would be lost" in done.stderr
    assert target.read_bytes() == before


@pytest.mark.parametrize("option", ["-o", "--journal", "--metrics"])
def test_files_that_are_not_there_yet_are_not_the_same_either(good: Path, option: str):
    """The output, the journal and the metrics are three files."""
    new = good.parent / "new"
    args: dict[str, object] = {"-o": good.parent / "a", "--journal": good.parent / "b", "--metrics": good.parent / "c"}
    args |= {option: new, "--journal" if option != "--journal" else "-o": good.parent / "." / "sub" / ".." / "new"}
    (good.parent / "sub").mkdir()
    done = pipeline("batch", good, "-i", good.parent / "in.jsonl", *[part for pair in args.items() for part in pair])
    assert done.exit_code == 1
    assert "would be lost" in done.stderr
    assert not new.exists()


@pytest.mark.parametrize(
    "args",
    [
        ["run", "pipeline.yaml", "-i", "{}", "-o", "pipeline.yaml"],
        ["run", "pipeline.yaml", "-i", "in.json", "-o", "in.json"],
        ["run", "pipeline.yaml", "-i", "in.json", "--metrics", "in.json"],
        ["batch", "pipeline.yaml", "-i", "in.jsonl", "--journal", "in.jsonl"],
        ["batch", "pipeline.yaml", "-i", "in.jsonl", "--metrics", "pipeline.yaml"],
        ["graph", "pipeline.yaml", "-o", "pipeline.yaml"],
        ["schema", "infer", "pipeline.yaml", "--sample", "in.json", "-o", "in.json"],
    ],
    ids=lambda args: "-".join(args[:1] + args[-2:]),
)
def test_no_command_writes_over_what_it_reads(good: Path, monkeypatch: pytest.MonkeyPatch, args: list[str]):
    """It is refused, before anything is done."""
    (good.parent / "in.json").write_text('{"text": ""}')
    monkeypatch.chdir(good.parent)
    before = {path: path.read_bytes() for path in good.parent.iterdir() if path.is_file()}
    done = pipeline(*args)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "would be lost" in done.stderr
    assert {path: path.read_bytes() for path in good.parent.iterdir() if path.is_file()} == before


def test_two_batches_do_not_write_one_file(good: Path):
    """The second one is refused, and the file is that of the first."""
    out = good.parent / "out.jsonl"
    with out.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = pipeline("batch", good, "-i", good.parent / "in.jsonl", "-o", out)
    assert done.exit_code == 1
    assert "another batch" in done.stderr
    assert out.read_text() == OLD


def test_a_run_whose_output_has_no_folder_is_not_begun(good: Path):
    """Its answers would have been paid for."""
    done = pipeline(
        "run", good, "-i", '{"text": ""}', "-o", good.parent / "nowhere" / "x", "--metrics", good.parent / "m"
    )
    assert done.exit_code == 1
    assert "there is no folder" in done.stderr
    assert not (good.parent / "m").exists()


def test_results_go_where_no_file_is(good: Path):
    """Devices may be named twice."""
    done = pipeline("batch", good, "-i", good.parent / "in.jsonl", "-o", "/dev/null", "--metrics", "/dev/null")
    assert done.exit_code == 0, done.stderr


OUTPUTS = "outputs: {dir: '{{ ctx.dir }}'}\n"


def test_a_run_without_its_outputs_ends_with_1_and_says_so(good: Path):
    """It has not failed: what it gave is printed."""
    good.write_text(OUTPUTS + good.read_text())
    said = json.dumps({"text": "", "dir": str(good.parent / "in.jsonl")})
    done = pipeline("run", good, "-i", said)
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert told["steps"] == {"x": {"a": 1}}
    assert "no outputs were written" in told["summary"]["validation_warnings"][0]
    assert "outputs are missing" in done.stderr
    done = pipeline("run", good, "-i", json.dumps({"text": "", "dir": str(good.parent / "there")}))
    assert done.exit_code == 0
    assert (good.parent / "there" / "x.json").exists()


def test_lines_of_a_batch_say_why_outputs_are_missing(good: Path):
    """Those of items that have all of them do not."""
    good.write_text(OUTPUTS + good.read_text())
    dirs = [good.parent / "in.jsonl", good.parent / "there"]
    done = pipeline(
        "batch",
        good,
        stdin="".join(json.dumps({"id": str(each), "text": "", "dir": str(each)}) + "\n" for each in dirs),
    )
    assert done.exit_code == 0
    told = {line["id"]: line.get("outputs", "") for line in map(json.loads, done.stdout.splitlines())}
    assert "no outputs were written" in told[str(dirs[0])]
    assert told[str(dirs[1])] == ""


def test_a_batch_whose_items_share_a_directory_is_warned_of(good: Path):
    """Once at the start if it cannot be otherwise; else of each item that has that of an earlier one."""
    (good.parent / "one").mkdir()
    said = "".join(json.dumps({"id": n, "text": "", "dir": str(good.parent / "one")}) + "\n" for n in range(3))
    plain = good.read_text()
    good.write_text(OUTPUTS + plain)
    done = pipeline("batch", good, "-w", 1, stdin=said)
    assert "items 0 and 1 (from 0) have their outputs in" in done.stderr
    assert done.stderr.count("have their outputs in") == 2
    good.write_text(f"outputs: {{dir: '{good.parent}/one'}}\n" + plain)
    done = pipeline("batch", good, "-w", 1, stdin=said)
    assert done.stderr.count("does not depend on the input") == 1
    assert "have their outputs in" not in done.stderr


def test_a_batch_runs_what_failed_again(good: Path):
    """``--retry-failed`` is a ``--resume`` that does so."""
    journal = good.parent / "journal"
    bad = good.read_text().replace('{"a": 1}', "no JSON")
    good.write_text(bad)
    args = ["batch", good, "-i", good.parent / "in.jsonl", "--journal", journal]
    assert '"ok": true' not in pipeline(*args).stdout
    good.write_text(bad.replace("no JSON", '{"a": 1}'))
    assert '"ok": true' not in pipeline(*args, "--resume").stdout
    assert pipeline(*args, "--retry-failed").stdout.count('"ok": true') == 2
    assert pipeline(*args, "--resume").stdout.count('"ok": true') == 2
    done = pipeline(*args[:4], "--retry-failed")
    assert (done.exit_code, "--journal" in done.stderr) == (1, True)
