"""Files of vocabularies."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fabric.errors import ConfigError
from fabric.pipelines.loading.yaml_tree import VALUES_MAX
from fabric.pipelines.vocab import Vocabulary
from fabric.pipelines.vocabularies.files import load_vocabularies

COMMENTED = """\
# Who keeps this list: the laboratory.
label: plastic   # as in the prompts
known:
  - PET          # bottles
  - PE

# Decided in May.
denied: [wood]
unknown: stays
"""


def test_what_is_saved_is_read_again(tmp_path: Path):
    """With all that it says."""
    saved = Vocabulary(
        known=["PET", "PE"],
        label="plastic",
        description="Codes",
        growth_policy="auto",
        denied=["wood"],
        persist=True,
        pending=[{"raw_value": "PP", "seen": 2}],
    )
    saved.save(tmp_path / "made" / "plastic.yaml")
    assert Vocabulary.from_file(tmp_path / "made" / "plastic.yaml").to_dict() == saved.to_dict()


def test_a_file_keeps_what_has_not_changed(tmp_path: Path):
    """Comments and keys of others are its owner's."""
    path = tmp_path / "plastic.yaml"
    path.write_text(COMMENTED, encoding="utf-8")
    vocabulary = Vocabulary.from_file(path)
    vocabulary.pending = [{"raw_value": "PP", "seen": 1}]
    vocabulary.save(path)
    assert path.read_text(encoding="utf-8") == COMMENTED + "pending:\n- raw_value: PP\n  seen: 1\n"
    vocabulary.pending = []
    vocabulary.add_term("PP")
    vocabulary.save(path)
    text = path.read_text(encoding="utf-8")
    assert text == COMMENTED.replace("  - PE\n", "  - PE\n  - PP\n") + "pending: []\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "known:   # the terms\n  - a b  # first\n  - c\n# end\ndescription: x\n",
            "known:   # the terms\n  - a b  # first\n  - c\n  - 'd: e'\n# end\ndescription: x\n",
        ),
        (
            "known:   # the terms\n    a b: [ab]  # first\n    c: []\n\n",
            "known:   # the terms\n    a b: [ab]  # first\n    c: []\n    'd: e': []\n\n",
        ),
        ("known: [a b,  # first\n  c]\n", "known:\n- a b\n- c\n- 'd: e'\n"),
        ("a: &x {known: [c]}\n<<: *x\n", "a: &x {known: [c]}\n<<: *x\nknown:\n- c\n- 'd: e'\n"),
    ],
)
def test_a_list_that_grows_keeps_the_comments_in_it(tmp_path: Path, before: str, after: str):
    """Where each term has a line of its own; the key is written anew where it has not."""
    path = tmp_path / "v.yaml"
    path.write_text(before, encoding="utf-8")
    vocabulary = Vocabulary.from_file(path)
    vocabulary.add_term("d: e")
    vocabulary.save(path)
    assert path.read_text(encoding="utf-8") == after
    assert Vocabulary.from_file(path).terms == vocabulary.terms


def test_a_file_that_says_it_already_is_not_written(tmp_path: Path):
    """Its time stays, and so does a link to it."""
    path = tmp_path / "plastic.yaml"
    path.write_text(COMMENTED, encoding="utf-8")
    before = path.stat()
    Vocabulary.from_file(path).save(path)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_link_stays_a_link_and_a_mode_its_mode(tmp_path: Path):
    """Who shares a list between projects links it."""
    shared, link = tmp_path / "shared.yaml", tmp_path / "link.yaml"
    shared.write_text("known: [a]\n", encoding="utf-8")
    shared.chmod(0o640)
    link.symlink_to(shared)
    vocabulary = Vocabulary.from_file(link)
    vocabulary.add_term("b")
    vocabulary.save(link)
    assert link.is_symlink()
    assert Vocabulary.from_file(shared).known == {"a", "b"}
    assert shared.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.yaml", "shared.yaml"]


@pytest.mark.parametrize(
    "text",
    ["", "{known: [a], label: l}", "known: [a]\nlabel: l", "terms:\n- a\nlabel: l\n", "[broken", "a: b: c", "- x\n"],
)
def test_whatever_a_file_says_it_says_the_vocabulary_afterwards(tmp_path: Path, text: str):
    """Also one in one line, without an end of its last line, or none at all."""
    path = tmp_path / "v.yaml"
    path.write_text(text, encoding="utf-8")
    vocabulary = Vocabulary(known=["a", "b"], label="l", denied=["c"])
    vocabulary.save(path)
    assert Vocabulary.from_file(path).to_dict() == vocabulary.to_dict()


TERMS = st.lists(st.text(min_size=1, max_size=9).filter(str.strip), max_size=4, unique_by=str.casefold)


@given(TERMS, TERMS, TERMS, st.text(max_size=9))
def test_a_file_is_revised_to_what_a_vocabulary_says(first: list[str], then: list[str], denied: list[str], said: str):
    """Any text is written so that it is read as the same."""
    from fabric.pipelines.vocabularies.files import _revised

    old = Vocabulary(known=first, label="l", denied=denied, description=said)
    new = Vocabulary(known=then, label="l", denied=first, capture_ideal=True)
    text = _revised(_revised("# kept\n", old.to_dict(), "l"), new.to_dict(), "l")
    again = Vocabulary.from_dict(yaml.safe_load(text))
    assert (again.terms, again.denied, again.capture_ideal) == (new.terms, new.denied, True)


def test_files_are_known_by_their_names_and_by_their_labels(tmp_path: Path):
    """A file's name wins: it is what the documentation says."""
    for name, text in {
        "organism.yaml": "known: [E. coli]\nlabel: species",
        "material.yml": "known: [PET]",
        "species.yaml": "known: [dog]\nlabel: animal",
        "notes.txt": "known: [x]",
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    found, odd = load_vocabularies(tmp_path)
    assert {name: sorted(vocabulary.known) for name, vocabulary in found.items()} == {
        "material": ["PET"],
        "organism": ["E. coli"],
        "species": ["dog"],
        "animal": ["dog"],
    }
    assert found["material"].label == "material"
    assert odd == []


def test_a_file_that_is_no_vocabulary_is_left_out_with_a_warning(tmp_path: Path):
    """The others are there."""
    (tmp_path / "a.yaml").write_text("known: [", encoding="utf-8")
    (tmp_path / "b.yaml").write_text("known: [true]", encoding="utf-8")
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe\xff")
    (tmp_path / "d.yaml").write_text("known: [x]\nlabels: d", encoding="utf-8")
    (tmp_path / "d.yml").write_text("known: [y]", encoding="utf-8")
    (tmp_path / "e.yaml").write_text("known: [z]\nlabel: twice", encoding="utf-8")
    (tmp_path / "f.yaml").write_text("known: [z]\nlabel: twice", encoding="utf-8")
    (tmp_path / "g.yaml").write_text("known: [a]\n\nknown: [b]\n", encoding="utf-8")
    found, odd = load_vocabularies(tmp_path)
    assert list(found) == ["d", "e", "f", "twice"]
    assert found["twice"] is found["e"]
    assert [line.split(": ")[0].rsplit("/", 1)[-1] for line in odd] == [
        "left out",
        "b.yaml",
        "left out",
        "d.yaml",
        "d.yml",
        "left out",
        "f",
    ]
    assert "a.yaml:2:1: cannot be read: " in odd[0]
    assert "g.yaml:3:1: cannot be read: the key 'known' stands here twice" in odd[5]
    assert "known[0]: expected a text, got True" in odd[1]
    assert "unknown key 'labels'" in odd[3]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("known: " + "[" * 60_000 + "]" * 60_000, "levels deep"),
        (
            "x0: &x0 [a]\n" + "".join(f"x{n}: &x{n} [*x{n - 1}, *x{n - 1}]\n" for n in range(1, 40)) + "known: [b]\n",
            "with all aliases written out",
        ),
        ("known: [0x" + "F" * 9_000 + "]", "a number of 9,002 characters"),
    ],
)
def test_a_hostile_file_is_left_out(tmp_path: Path, text: str, said: str):
    """There are limits, and no process dies of it; who writes to such a file writes it anew."""
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    found, odd = load_vocabularies(tmp_path)
    assert found == {}
    assert said in odd[0]
    Vocabulary(known=["a"]).save(path)
    assert Vocabulary.from_file(path).known == {"a"}


def test_a_vocabulary_may_be_longer_than_a_pipeline(tmp_path: Path):
    """Lists of terms are long."""
    terms = [f"term {number}" for number in range(VALUES_MAX + 1)]
    (tmp_path / "a.yaml").write_text("known:\n" + "".join(f"- {term}\n" for term in terms), encoding="utf-8")
    found, odd = load_vocabularies(tmp_path)
    assert (len(found["a"].known), odd) == (len(terms), [])


def test_without_a_directory_there_are_none(tmp_path: Path):
    """It need not be there."""
    assert load_vocabularies(tmp_path / "vocabularies") == ({}, [])


def test_a_file_that_is_missing_or_wrong_is_an_error_for_who_reads_it(tmp_path: Path):
    """Each its own."""
    with pytest.raises(FileNotFoundError):
        Vocabulary.from_file(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- a\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"list\.yaml: expected a map with the key 'known', got list"):
        Vocabulary.from_file(tmp_path / "list.yaml")
