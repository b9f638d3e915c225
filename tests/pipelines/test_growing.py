"""What has grown is written."""

import subprocess
import sys
from pathlib import Path

import pytest
import trio
import yaml

from fabric.pipelines.results import VocabSuggestion
from fabric.pipelines.vocab import Vocabulary
from fabric.pipelines.vocabularies.growing import grow_after_run, persist
from fabric.pipelines.vocabularies.growth import Growth, GrowthQuestion, grow


def novel(value: str, name: str = "v") -> VocabSuggestion:
    return VocabSuggestion("f", value, None, "novel", None, "label", name)


def grown(vocabulary: Vocabulary, directory: Path, *values: str) -> Growth:
    growth = grow([novel(value) for value in values], {"v": vocabulary})
    persist(growth, {"v": vocabulary}, directory)
    return growth


def read(path: Path) -> tuple[list[str], list[str]]:
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    return data["known"], [entry["raw_value"] for entry in data.get("pending") or ()]


def from_file(tmp_path: Path, text: str) -> Vocabulary:
    (tmp_path / "v.yaml").write_text(text, encoding="utf-8")
    return Vocabulary.from_file(tmp_path / "v.yaml")


def test_what_waits_for_a_person_is_written_to_the_file(tmp_path: Path):
    """Nobody would see it otherwise; a file that says ``persist: false`` stays as it is."""
    grown(from_file(tmp_path, "known: [a]\n"), tmp_path, "x", "x", "y")
    assert read(tmp_path / "v.yaml") == (["a"], ["x", "y"])
    grown(from_file(tmp_path, "known: [a]\npersist: false\n"), tmp_path, "x")
    assert read(tmp_path / "v.yaml") == (["a"], [])


def test_what_was_added_is_written_if_the_file_says_so(tmp_path: Path):
    """By default the next process begins with what the file says."""
    grown(from_file(tmp_path, "known: [a]\ngrowth_policy: auto\n"), tmp_path, "x")
    assert read(tmp_path / "v.yaml") == (["a"], [])
    grown(from_file(tmp_path, "known: [a]\ngrowth_policy: auto\npersist: true\nlabel: other\n"), tmp_path, "x")
    assert read(tmp_path / "v.yaml") == (["a", "x"], [])
    assert [path.name for path in tmp_path.iterdir()] == ["v.yaml"]


def test_a_vocabulary_without_a_file_is_written_below_the_pipeline(tmp_path: Path):
    """By its label, or where it says."""
    grown(Vocabulary(["a"], label="made", persist=True), tmp_path, "x")
    grown(Vocabulary(["a"], persist="kept/here.yaml"), tmp_path, "x")
    grown(Vocabulary(["a"]), tmp_path, "x")
    assert read(tmp_path / "vocabularies" / "made.yaml") == (["a"], ["x"])
    assert read(tmp_path / "kept" / "here.yaml") == (["a"], ["x"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "vocabularies"]


def test_what_others_wrote_meanwhile_stays(tmp_path: Path):
    """A term that was taken out does not come back, one that was denied is not added."""
    vocabulary = from_file(tmp_path, "known: [a, b]\ngrowth_policy: auto\npersist: true\n")
    (tmp_path / "v.yaml").write_text(
        "known: [a, c]\ngrowth_policy: auto\npersist: true\ndenied: [y]\n", encoding="utf-8"
    )
    grown(vocabulary, tmp_path, "x", "y")
    assert read(tmp_path / "v.yaml") == (["a", "c", "x"], [])


WRITER = """
import sys
from pathlib import Path
from fabric.pipelines.vocabularies.growing import persist
from fabric.pipelines.vocabularies.growth import grow
from fabric.pipelines.results import VocabSuggestion
from fabric.pipelines.vocab import Vocabulary

path = Path(sys.argv[1])
vocabulary = Vocabulary.from_file(path)
for number in range(40):
    suggestion = VocabSuggestion("f", f"term {sys.argv[2]}{number}", None, "novel", None, "label", "v")
    persist(grow([suggestion], {"v": vocabulary}), {"v": vocabulary}, path.parent)
"""


def test_two_processes_lose_nothing_of_each_other(tmp_path: Path):
    """Each term is in the file afterwards."""
    from_file(tmp_path, "known: [a]\ngrowth_policy: auto\npersist: true\n")
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, tmp_path / "v.yaml", side]) for side in "lr"]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    written = {f"term {side}{number}" for side in "lr" for number in range(40)}
    assert set(read(tmp_path / "v.yaml")[0]) == {"a", *written}


def test_what_cannot_be_written_is_a_problem_of_its_own(tmp_path: Path):
    """The others are written, and the run stands."""
    (tmp_path / "v.yaml").write_text("known: [", encoding="utf-8")
    broken = Vocabulary(["a"], persist="v.yaml")
    outside = Vocabulary(["a"], label="../up", persist=True)
    fine = Vocabulary(["a"], label="fine", persist=True)
    known = {"broken": broken, "outside": outside, "fine": fine}
    growth = grow([novel("x", name) for name in known], known)
    assert persist(growth, known, tmp_path) == [tmp_path / "vocabularies" / "fine.yaml"]
    assert [problem.split(":")[0] for problem in growth.problems] == [
        "vocabulary 'broken' is not written",
        "vocabulary 'outside' is not written",
    ]
    assert (tmp_path / "v.yaml").read_text(encoding="utf-8") == "known: ["


def test_models_are_asked_in_order_and_no_answer_is_a_no(tmp_path: Path):
    """What went wrong is told."""
    vocabulary = Vocabulary(["a"], label="v", growth_policy="llm", persist=True)
    asked: list[str] = []

    async def ask(question: GrowthQuestion) -> str:
        asked.append(question.suggestion.raw_value)
        if question.suggestion.raw_value == "down":
            raise ConnectionError("refused")
        return "Yes." if question.suggestion.raw_value == "good" else "No."

    async def run() -> Growth:
        return await grow_after_run([novel("bad"), novel("down"), novel("good")], {"v": vocabulary}, tmp_path, ask)

    growth = trio.run(run)
    assert asked == ["bad", "down", "good"]
    assert growth.problems == ["vocabulary 'v': no model decided about 'down': refused"]
    assert read(tmp_path / "vocabularies" / "v.yaml") == (["a", "good"], [])


def test_an_interrupt_is_no_answer(tmp_path: Path):
    """It goes up, as everywhere."""
    vocabulary = Vocabulary(["a"], label="v", growth_policy="llm")

    async def ask(_question: GrowthQuestion) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trio.run(grow_after_run, [novel("x")], {"v": vocabulary}, tmp_path, ask)
