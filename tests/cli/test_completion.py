"""What the scripts of completion know of our commands."""

from __future__ import annotations

import pytest

from fabric.cli.completion import _CHOICES, _bucket_of, _verbs
from fabric.cli.progress import PROGRESS

VERBS = {verb.name: verb for verb in _verbs()}
FLAGS = {(verb.name, flag.names[-1]): flag for verb in VERBS.values() for flag in verb.flags}


def test_every_command_is_known_with_its_flags():
    """Those of groups, too, and the flags before a command."""
    assert {"", "run", "dead", "dead list", "config show", "completion"} <= VERBS.keys()
    assert VERBS["pipeline schema"].words == ("emit", "infer")
    assert ("pipeline schema infer", "--sample") in FLAGS
    assert "pipeline visualize" not in VERBS
    assert VERBS["dead"].words == ("drop", "list", "retry", "show")
    assert {"--env-file", "--no-dotenv", "--help"} <= {name for verb, name in FLAGS if verb == ""}
    assert all(verb.says for name, verb in VERBS.items() if name)


def test_every_format_has_its_words():
    """They are read from the help, which lists them."""
    found = {verb: flag.choices for (verb, name), flag in FLAGS.items() if name == "--format"}
    assert found["check"] == ("text", "json", "sarif")
    assert found["approve"] == ("table", "json")
    assert found["graph"] == ("mermaid", "svg", "ascii", "dot", "json")
    assert all("json" in words and len(words) >= 2 for words in found.values())
    assert _CHOICES["--progress"] == PROGRESS


def test_workers_are_offered_where_they_are_meant():
    """As arguments, and as values of flags."""
    assert [name for name, verb in VERBS.items() if verb.takes_worker] == [
        "attach", "ctl", "logs", "restart", "start", "stop",
    ]  # fmt: skip
    assert FLAGS["dead list", "--worker"].is_worker
    assert FLAGS["up", "--no-attach"].is_worker


def test_sessions_are_offered_where_they_are_meant():
    """As arguments, and as values of flags."""
    assert [name for name, verb in VERBS.items() if verb.takes_session] == [
        "session delete", "session export", "session use", "session verify",
    ]  # fmt: skip
    assert FLAGS["session push", "--session"].is_session
    assert "push" in VERBS["session"].words


@pytest.mark.parametrize(
    ("line", "bucket"),
    [
        ("fabric session log -s ", None),
        ("fabric session log -b file:///tmp/pug -s ", "file:///tmp/pug"),
        ("fabric session use --bucket=s3://a/b ", "s3://a/b"),
        ("fabric session use --bucket './a b' t", "./a b"),
        ("fabric session use -bpug t", "pug"),
        ("fabric session push 'not closed", None),
        ("fabric session log -b", None),
    ],
)
def test_sessions_are_those_of_the_bucket_that_a_line_names(line: str, bucket: str | None):
    """As far as it is typed."""
    assert _bucket_of(line) == bucket
