"""YAML that any reader reads as it was meant."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fabric.manifests.yaml import write_yaml

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(
        [
            *("no", "Yes", "on", "OFF", "y", "N", "null", "~", "true", "1e3", "0x1F", "0o17", "012", "1_000", "12:30"),
            *(".inf", ".nan", "-", "- a", "? a", "a: b", "a #b", "#", "%", "@", "`", "&a", "*a", "!a", "<<", "=", "|"),
            *("", " ", "'", '"', "\\", "\n", "a\n\nb\n", "\t", "\x00", "\x85", "\u2028", "\ufeff", "{a}", "[a]", "a,b"),
            *("2026-11-22", "$HOME", "${X:-y}", "😀", "ü", "---", "...", "\r\n", "\x1b[31m", "tcp://[::1]:5600", "1.0"),
        ]
    ),
)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False, min_value=-1e9, max_value=1e9)
NODES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(NODES)
def test_what_is_written_is_read_again(node):
    """By a reader of YAML 1.1, for which most words and numbers are something else than text."""
    assert yaml.safe_load(write_yaml(node)) == node


@pytest.mark.parametrize("word", ["main", "fabric.worker", "/run/secrets/key.json", "io", "PLUMB_X", "e3", "a-b"])
def test_names_and_paths_need_no_quotes(word: str):
    """Somebody reads them."""
    assert write_yaml(word) == f"{word}\n"


def test_the_form_is_that_of_people():
    """Blocks, a dash where its item begins, nothing behind the key of what is empty."""
    node = {"a": {"b": [{"c": 1, "d": ["x", None]}, [], {}]}, "e": None, "f": True, "g": 1.5}
    lines = ["# above", "#", "# it", "a:", "  b:", "    - c: 1", "      d:", "        - x", "        - null"]
    lines += ["    - []", "    - {}", "e:", "f: true", "g: 1.5"]
    assert write_yaml(node, "above\n\nit").splitlines() == lines


def test_lists_in_lists_begin_in_one_line():
    """As any writer of blocks does it."""
    assert yaml.safe_load(write_yaml([["a", ["b"]], [{"c": ["d"]}]])) == [["a", ["b"]], [{"c": ["d"]}]]
