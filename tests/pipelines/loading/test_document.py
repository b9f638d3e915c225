"""YAML as a tree with places; and files that nobody writes in good faith."""

from __future__ import annotations

import codecs
from contextlib import suppress

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fabric.pipelines.errors import PipelineLoadError
from fabric.pipelines.loading.document import FILE_BYTES_MAX, decode, parse_document, read_document
from fabric.pipelines.loading.nodes import Fields, Items, plain
from fabric.pipelines.loading.problems import Problems
from fabric.pipelines.loading.yaml_tree import DEPTH_MAX, SCALAR_CHARS_MAX, VALUES_MAX


def parsed(text):
    problems = Problems("p.yaml")
    return parse_document(text, problems, "p.yaml"), problems


def refused(text):
    with pytest.raises(PipelineLoadError) as raised:
        parsed(text)
    return raised.value


def place(error):
    return error.line, error.column


_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8"), max_size=20),
)
_DATA = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc_é ", max_size=6), inner, max_size=4),
    max_leaves=12,
)


@given(_DATA)
def test_a_tree_has_what_yaml_means(data):
    """The same as PyYAML's safe loader gives for whatever it dumps."""
    text = yaml.safe_dump(data, allow_unicode=True)
    root, problems = parsed(text)
    assert plain(root) == data
    assert not problems.errors


@given(st.text(max_size=200))
def test_any_text_is_a_tree_or_an_error(text):
    """Nothing else ever comes of it."""
    with suppress(PipelineLoadError):
        parse_document(text, Problems("p.yaml"), "p.yaml")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_tree_or_an_error(tmp_path_factory, data):
    """Nothing else ever comes of a file."""
    path = tmp_path_factory.mktemp("any") / "p.yaml"
    path.write_bytes(data)
    with suppress(PipelineLoadError):
        read_document(path, Problems("p.yaml"))


def test_every_key_and_value_has_its_place():
    """Counted from 1, of the first character."""
    root, _ = parsed("a:\n  - x\n  - b: 'y'\n")
    assert isinstance(root, Fields)
    items = root.entries["a"].value
    assert isinstance(items, Items)
    inner = items.items[1]
    assert isinstance(inner, Fields)
    entry = inner.entries["b"]
    assert [(node.line, node.column) for node in (items.items[0], inner, entry.key, entry.value)] == [
        (2, 5),
        (3, 5),
        (3, 5),
        (3, 8),
    ]


def test_aliases_share_what_they_stand_for():
    """And the place is that of what they stand for."""
    root, _ = parsed("a: &x [1]\nb: *x\n")
    assert isinstance(root, Fields)
    assert root.entries["a"].value is root.entries["b"].value
    assert plain(root) == {"a": [1], "b": [1]}


def test_maps_are_merged():
    """What a map says itself goes first, then the first of those that are merged."""
    root, problems = parsed("a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc:\n  <<: [*a, *b]\n  x: 3\nd: {<<: *a}\n")
    assert plain(root)["c"] == {"x": 3, "y": 1, "z": 2}
    assert plain(root)["d"] == {"x": 1, "y": 1}
    assert not problems.errors


def test_only_maps_are_merged():
    """Anything else is an error where it stands."""
    assert place(refused("a:\n  <<: 3\n")) == (2, 7)


def test_keys_that_stand_twice_are_all_told():
    """The first one counts, and the reading goes on."""
    root, problems = parsed("a: 1\nb: {c: 1, c: 2}\na: 2\n")
    assert plain(root) == {"a": 1, "b": {"c": 1}}
    assert [(error.line, error.column) for error in problems.errors] == [(2, 11), (3, 1)]


def test_words_that_become_truth_values_are_warned_of():
    """For yes, no, on and off are words elsewhere; true and false are not warned of, nor what is in quotes."""
    _, problems = parsed("a: yes\nb: Off\nc: true\nd: 'no'\n")
    assert [warning.partition(" is read")[0] for warning in problems.warnings] == [
        "p.yaml:1:4: a: yes",
        "p.yaml:2:4: b: Off",
    ]


@pytest.mark.parametrize(
    ("text", "read"), [("12:30", "750"), ("0123", "83"), ("2024-01-02", "a date"), ("-0123", None), ("7", None)]
)
def test_numbers_that_do_not_look_like_it_are_warned_of(text, read):
    """By sixties, by eights, and dates."""
    _, problems = parsed(f"a: {text}\n")
    assert [f"{text} is read as" in warning for warning in problems.warnings] == ([] if read is None else [True])
    assert all(read in warning for warning in problems.warnings if read)


def test_an_expression_without_quotes_is_shown_with_them():
    """For YAML reads braces as maps."""
    error = refused("a:\n  b: {{ ctx.x }}\n")
    assert place(error) == (2, 6)
    assert error.suggestion == '"{{ ctx.x }}"'


def test_a_tab_is_called_a_tab():
    """YAML's own words for it help nobody."""
    assert "tab" in refused("a:\n\t- b\n").message


def test_a_byte_order_mark_is_no_text():
    """In both widths."""
    for data in (codecs.BOM_UTF8 + b"a: 1", "a: 1".encode("utf-16")):
        assert plain_of(data) == {"a": 1}


def plain_of(data):
    root = parse_document(decode(data, "p.yaml"), Problems("p.yaml"), "p.yaml")
    assert root is not None
    return plain(root)


def test_bytes_that_are_no_text_have_a_place(tmp_path):
    """The line and the column of the first one."""
    (tmp_path / "p.yaml").write_bytes("é: 1\nb: é".encode() + b"\xff")
    with pytest.raises(PipelineLoadError, match="UTF-8") as raised:
        read_document(tmp_path / "p.yaml", Problems("p.yaml"))
    assert place(raised.value) == (2, 5)


def test_control_characters_have_a_place():
    """NUL, say."""
    error = refused("a: 1\nb: \0\n")
    assert place(error) == (2, 4)
    assert "U+0000" in error.message


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_ends_early(opening):
    """However deep it is: nothing recurses."""
    error = refused(opening * 100_000)
    assert str(DEPTH_MAX) in error.message


def test_aliases_of_aliases_end_early():
    """A billion laughs are counted, not written out."""
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    error = refused("\n".join(lines))
    assert f"{VALUES_MAX:,}" in error.message
    assert error.line == 6


def test_a_long_text_named_often_counts_for_more():
    """For whoever writes it out has all its characters."""
    assert f"{VALUES_MAX:,}" in refused(f"a: &a {'x' * 64_000}\nb: [{', '.join(['*a'] * 100)}]\n").message


def test_an_alias_of_itself_never_ends():
    """So it is refused."""
    assert place(refused("a: &a [1, *a]")) == (1, 11)


def test_an_alias_names_an_anchor():
    """What was meant is said."""
    error = refused("a: &first 1\nb: *frist\n")
    assert (error.line, error.suggestion) == (2, "first")


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system", "!!python/name:os.system", "!mine", "!!binary", "!!set", "!!omap"]
)
def test_tags_make_no_objects(tag):
    """Only those of plain data are taken."""
    assert place(refused(f"a:\n  {tag} [x]\n")) == (2, 3)


def test_tags_of_plain_data_are_taken():
    """A number may be made a text."""
    root, _ = parsed("a: !!str 12\nb: !!int '3'\nc: !!seq [1]\n")
    assert root is not None
    assert plain(root) == {"a": "12", "b": 3, "c": [1]}


@pytest.mark.parametrize("value", ["9" * 5_000, "2024-13-45", "!!int x", "!!bool perhaps", "!!float x"])
def test_values_that_cannot_be_read_are_errors(value):
    """With the place, and the start of the value."""
    assert refused(f"a: {value}").line == 1


@pytest.mark.parametrize("value", ["1" + ":1" * 100_000, "0x" + "F" * 9_000, "9" * 400, "1" + "0" * 400 + ".0"])
def test_numbers_that_nobody_writes_are_not_read(value):
    """Those by sixties take quadratic time, and Python writes none of more than 4,300 digits."""
    assert "a number of" in refused(f"a: {value}").message


def test_of_a_long_line_only_what_is_near_is_looked_at():
    """For what to say of an error: a search through all of it takes quadratic time."""
    assert "in quotes" in refused("a: ['{{ y }}', c}").message
    assert "in quotes" not in refused("a: ['{{ y }}', " + "c, " * 100 + "}").message
    assert place(refused('x-a: "' + "{" * 400_000 + '" b\n')) == (1, 400_009)


def test_a_file_is_one_document():
    """An end of it may be marked."""
    assert place(refused("a: 1\n---\nb: 2\n")) == (2, 1)
    root, _ = parsed("---\na: 1\n...\n")
    assert root is not None
    assert plain(root) == {"a": 1}


@pytest.mark.parametrize("text", ["? [a]\n: 1", "? {a: 1}\n: 1"])
def test_keys_are_words(text):
    """No maps, no lists."""
    assert "a key is a word" in refused(text).message


def test_a_large_file_is_not_read(tmp_path):
    """A value of 100 MB is not worth a look."""
    path = tmp_path / "p.yaml"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(PipelineLoadError, match="100,000,000 bytes"):
        read_document(path, Problems("p.yaml"))


def test_a_large_value_is_refused():
    """Also in a file that is not too large as a whole."""
    assert 2 * SCALAR_CHARS_MAX < FILE_BYTES_MAX
    assert place(refused(f"a: 1\nb: {'x' * 2 * SCALAR_CHARS_MAX}")) == (2, 4)


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    """Also a directory, and a name that no file can have."""
    for path in (tmp_path / "none.yaml", tmp_path, tmp_path / "a\0b", tmp_path / ("x" * 5_000)):
        with pytest.raises(PipelineLoadError):
            read_document(path, Problems("p.yaml"))
