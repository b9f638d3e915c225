"""The examples under compose/, run as their READMEs say, without a key and without a network."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from three_ways import fabric, run

COMPOSE = Path(__file__).parents[2] / "compose"

pytestmark = pytest.mark.processes


def test_review_ends_with_what_both_readers_let_pass():
    """Two ways back into one process, nothing left in the loop."""
    assert len(run(COMPOSE / "review" / "main.plumb", ["tea", "the new bridge"])) == 2


def test_debate_ends_with_a_ruling_for_each_question():
    """A barrier inside a loop."""
    assert len(run(COMPOSE / "debate" / "main.plumb", ["tea or coffee", "pipes or channels"])) == 2


def test_essay_takes_a_task_and_two_kinds_of_remarks():
    """A sum type on the input that two loops lead to."""
    assert run(COMPOSE / "essay" / "main.plumb", ["the bridge", "tea"]) == [
        "the bridge is old, as the archive says",
        "tea is old, as the archive says, and people still like it",
    ]


def test_heat_ends_although_its_dial_is_a_loop():
    """Temperatures come back through ``@ctrl_in`` and keep nobody waiting."""
    assert run(COMPOSE / "heat" / "main.plumb", ["tea in the afternoon"]) == [
        "after 3 rounds: yes to tea in the afternoon, once more, once more"
    ]


def test_memory_is_replaced_while_the_talk_goes_on(tmp_path: Path):
    """Every answer comes, and every replacement is a whole one; how many there are is a matter of time."""
    said = [
        "my brother laughs at me all day",
        "he says that I will never finish anything",
        "my mother agrees with him and so does everybody",
        "perhaps they are right about me and I should give up",
        "I remember that my father used to believe in me",
        "he was kind and he liked what I did",
    ]
    assert len(run(COMPOSE / "memory" / "main.plumb", said)) == len(said)
    (tmp_path / "clerk.py").write_text((COMPOSE / "memory" / "clerk.py").read_text())
    text = (COMPOSE / "memory" / "main.plumb").read_text()
    text = text.replace("!string = plumb(said, answer)", "!json = plumb(said, seen)")
    watched = tmp_path / "watched.plumb"
    watched.write_text(text.replace("said ; doctor ; answer", "said ; doctor\n  doctor@ctrl_out ; seen"))
    kinds = [reply["kind"] for reply in run(watched, said)]
    assert kinds == ["pause_ack", "memory", "memory_set", "resume_ack"] * max(1, len(kinds) // 4)


def test_clerk_reads_by_itself_and_writes_what_somebody_approves(tmp_path: Path):
    """Where nobody can be asked the agent is told so, and the run says it by its exit code."""
    shutil.copytree(COMPOSE / "clerk", tmp_path, dirs_exist_ok=True)
    program, note = tmp_path / "main.plumb", tmp_path / "notes" / "remembered.txt"
    assert run(program, ["when are you open?"]) == [
        "The notes say: Monday to Friday from nine to five.\nClosed in August."
    ]
    done = fabric("run", str(program), stdin=b'"remember the door"\n')
    assert (done.returncode, note.exists()) == (6, False)
    assert b"I could not do that: Fs.write has effects and was not approved" in done.stdout
    done = fabric("run", "--auto-approve", str(program), stdin=b'"remember the door"\n')
    assert (done.returncode, done.stdout, note.read_text()) == (0, b'"Noted."\n', "the door\n")
