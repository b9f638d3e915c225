"""What ``doctor`` prints, to the letter."""

from __future__ import annotations

import pytest

from fabric.cli.diagnosis import examine, render_chains, render_checks
from fabric.runtime.checkup import Check
from fabric.runtime.processes import Process
from fabric.runtime.services import WorkerRecord
from fabric.session.causes import Chain, Link, is_stuck

OUTPUT = Link("output", "o", "nothing came to output 'o' for 3 s")
SILENT = Link("worker", "judge", "worker 'judge' has 1 message", "silent", 1, 3.0)
PAUSED = Link("worker", "judge", "worker 'judge' is paused", "paused", 1, 3.0, True, "fabric ctl judge resume")
JUDGE = WorkerRecord("judge", "python", "m:f", "ready", Process(7, "1@b"))


def test_a_check_has_a_line_and_one_for_what_to_do():
    """Help only where something is wrong."""
    checks = [Check("python", True, "3.11.7", "x"), Check("keys", None, "none"), Check("libzmq", False, "4.2", "mend")]
    assert list(render_checks(checks, color=False)) == [
        " ✔ python      3.11.7",
        " - keys        none",
        " ✘ libzmq      4.2",
        "               = help: mend",
    ]
    assert next(render_checks(checks, color=True)).startswith(" \x1b[32m✔\x1b[0m python")


@pytest.mark.parametrize(
    ("state", "words", "help_"),
    [
        ("T", "is stopped: state T in /proc, as after SIGSTOP or Ctrl-Z", "kill -CONT 7 lets it go on"),
        ("D", "waits for a disk or a network file system: state D in /proc", "nothing ends it before that answers"),
        ("Z", "has ended, and nobody has taken note of it: state Z in /proc", "fabric restart judge"),
        ("", "is gone", "fabric restart judge"),
    ],
)
def test_a_process_that_cannot_go_on_is_the_cause(state: str, words: str, help_: str):
    """At once, however short the silence is."""
    chain = examine(Chain((OUTPUT, SILENT)), JUDGE, state)
    assert not is_stuck(Chain((OUTPUT, SILENT)))
    assert is_stuck(chain)
    assert list(render_chains([chain], color=False)) == [
        "✘ nothing came to output 'o' for 3 s",
        "  ← worker 'judge' has 1 message",
        f"  ← its process 7 (python m:f) {words}",
        f"  = help: {help_}",
    ]


@pytest.mark.parametrize("state", ["R", "S"])
def test_a_process_that_works_or_waits_proves_nothing(state: str):
    """The silence alone does."""
    chain = examine(Chain((OUTPUT, SILENT)), JUDGE, state)
    assert f"state {state} in /proc" in chain.root.text
    assert not is_stuck(chain)


def test_of_an_agent_it_is_said_that_its_model_may_think():
    """It often does."""
    agent = WorkerRecord("judge", "agent", "eliza/doctor", "ready", Process(7, "1@b"))
    assert examine(Chain((SILENT,)), agent, "S").root.text.endswith("; its model may be thinking")


def test_what_is_no_matter_of_a_process_is_left_as_it_is():
    """A pause; a cause that is no worker; one without a process."""
    assert examine(Chain((PAUSED,)), JUDGE, "S") == Chain((PAUSED,))
    assert examine(Chain((OUTPUT,)), None, None) == Chain((OUTPUT,))
    assert examine(Chain((SILENT,)), WorkerRecord("judge", "python", "m:f"), None) == Chain((SILENT,))


def test_what_is_stuck_comes_first():
    """What may be gone in a moment has no help."""
    lines = list(render_chains([Chain((SILENT,)), Chain((PAUSED,))], color=False))
    assert lines == [
        "✘ worker 'judge' is paused",
        "  = help: fabric ctl judge resume",
        "- worker 'judge' has 1 message",
    ]
