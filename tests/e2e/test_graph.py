"""``fabric graph`` as a user meets it, and the examples that it draws."""

from __future__ import annotations

import importlib
import json
import stat
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest
from three_ways import fabric, run, simulated

COMPOSE = Path(__file__).parents[2] / "compose"
REVIEW = COMPOSE / "review" / "main.plumb"
DEBATE = COMPOSE / "debate" / "main.plumb"

pytestmark = pytest.mark.processes


def error(done: object) -> str:
    return json.loads(done.stderr.splitlines()[-1])["error"]  # type: ignore[attr-defined]


def test_a_picture_goes_to_stdout_or_into_a_file(tmp_path: Path):
    """The same bytes; UTF-8 whatever the terminal speaks."""
    shown = fabric("graph", "--format", "svg", REVIEW, env={"PYTHONIOENCODING": "ascii"})
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert ET.fromstring(shown.stdout).tag.endswith("svg")
    written = fabric("graph", "--format", "svg", "-o", tmp_path / "review.svg", REVIEW)
    assert (written.returncode, written.stdout, written.stderr) == (0, b"", b"")
    assert (tmp_path / "review.svg").read_bytes() == shown.stdout


def test_open_shows_a_picture_in_the_browser(tmp_path: Path):
    """The browser gets the address of a file that is there."""
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/address\n')
    browser.chmod(browser.stat().st_mode | stat.S_IXUSR)
    done = fabric("graph", "--open", REVIEW, env={"BROWSER": f"{browser} %s", "TMPDIR": str(tmp_path)})
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    address = (tmp_path / "address").read_text().strip()
    assert address.startswith("file:///")
    assert ET.parse(address.removeprefix("file://")).getroot().tag.endswith("svg")


def test_without_a_browser_the_picture_is_named(tmp_path: Path):
    """It has been drawn all the same."""
    environment = {"BROWSER": str(tmp_path / "none"), "TMPDIR": str(tmp_path), "PATH": "", "DISPLAY": ""}
    done = fabric("graph", "--open", REVIEW, env=environment)
    assert done.returncode == 2
    (picture,) = tmp_path.glob("fabric-*.svg")
    assert error(done) == f"no browser can be opened here; the picture is in {picture}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "png"], "--format png: expected mermaid, svg, ascii, dot, json"),
        (["--open", "--format", "dot"], "--open shows a picture: expected --format svg, got dot"),
        (["-o", "/nowhere/at/all.svg"], "cannot write /nowhere/at/all.svg: No such file or directory"),
    ],
)
def test_what_cannot_be_is_said(arguments: list[str], message: str):
    """With exit code 2."""
    done = fabric("graph", *arguments, REVIEW)
    assert (done.returncode, done.stdout, error(done)) == (2, b"", message)


def test_in_the_review_every_line_is_published_when_both_let_it_pass():
    """After two remarks; the loop ends."""
    published = [f"Those who tried {topic} liked it." for topic in ("tea", "the bridge", "rain")]
    assert run(REVIEW, ["tea", "the bridge", "rain"]) == published


def test_in_the_debate_every_question_is_ruled_on_as_if_alone(monkeypatch: pytest.MonkeyPatch):
    """At once or in a later round; the barrier never pairs speeches on two questions."""
    monkeypatch.syspath_prepend(DEBATE.parent)
    court = importlib.import_module("court")

    def ruling_on(question: str) -> str:
        heard, ruled = {"question": question, "round": 0}, {"settled": False, "ruling": ""}
        while not ruled["settled"]:
            heard = court.call_up(heard)
            ruled = court.rule((court.speak_for(heard), court.speak_against(heard)))
        return ruled["ruling"]

    questions = ["?" * length for length in range(1, 31)]
    expected = Counter(map(ruling_on, questions))
    assert Counter(run(DEBATE, questions)) == expected
    assert Counter(simulated(DEBATE, questions)) == expected
    assert {" ".join(ruling.split()[2:3]) for ruling in expected} == {"1", "2", "3"}


REACHED = """\
output published
can be reached from
  topic   topic -> composer -> checker -> critic -> published
by way of
  composer, checker, critic
not seen here: what else composer, checker, critic may do, programs of their own
"""


def test_reach_answers_in_words_or_as_an_object_or_draws_the_part():
    """On stdout; what there is not is exit code 2 with what may have been meant."""
    done = fabric("graph", "--reach", "published", REVIEW)
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, REACHED, b"")
    told = json.loads(fabric("graph", "--reach", "tool:sys.exec", "--format", "json", REVIEW).stdout)
    assert (told["reached_from"], told["not_reached_from"]) == ([], ["topic"])
    drawn = fabric("graph", "--reach", "critic", "--format", "mermaid", REVIEW)
    assert drawn.stdout.startswith(b"flowchart LR\n")
    wrong = fabric("graph", "--reach", "critc", REVIEW)
    assert (wrong.returncode, wrong.stdout) == (2, b"")
    assert error(wrong).endswith("Did you mean 'critic'?")
