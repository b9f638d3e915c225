"""What values are taken for."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.pipelines.vocabularies.terms import Terms


def terms(*known: str, **said: bool) -> Terms:
    return Terms(dict.fromkeys(known, ()), **said)


@pytest.mark.parametrize(
    ("known", "value", "found"),
    [
        (["Apple"], "apple", ("Apple", "exact")),
        (["STRASSE"], "straße", ("STRASSE", "exact")),
        (["banana_fruit"], "banana", ("banana_fruit", "fuzzy")),
        (["knockout", "knockdown"], "gene knockout", ("knockout", "fuzzy")),
        (["PE", "PET"], "HDPE", ("HDPE", "novel")),
        (["PE", "PET"], "PET (recycled)", ("PET", "fuzzy")),
        (["in vitro", "in vivo"], "in-vivo", ("in vivo", "fuzzy")),
        (["Escherichia coli", "Bacillus subtilis"], "E. coli", ("Escherichia coli", "fuzzy")),
        (["Escherichia coli", "Bacillus subtilis"], "E coli", ("Escherichia coli", "fuzzy")),
        (["Escherichia coli"], "Esch. coli", ("Escherichia coli", "fuzzy")),
        (["E. coli"], "Escherichia coli", ("E. coli", "fuzzy")),
        (["Escherichia coli"], "E. c.", ("E. c.", "novel")),
        (["Escherichia coli"], "Escherichia colli", ("Escherichia coli", "fuzzy")),
        (["cat", "dog"], "cats", ("cat", "fuzzy")),
        (["HDPE", "PP"], "LDPE", ("LDPE", "novel")),
        (["phase 1", "phase 2"], "phase 3", ("phase 3", "novel")),
        (["PA6"], "PA66", ("PA66", "novel")),
        (["apple", "banana"], "mango", ("mango", "novel")),
        ([], "anything", ("anything", "novel")),
        (["---"], "- -", ("- -", "novel")),
        (["apple"], "   ", ("   ", "novel")),
    ],
)
def test_a_value_is_taken_for(known: list[str], value: str, found: tuple[str, str]):
    """Whole, by words, as an abbreviation, by likeness; else it is novel, and stays as it is."""
    assert terms(*known).match(value) == found


def test_capitals_count_if_they_are_said_to():
    """Then a term in other letters is only like it."""
    assert terms("Apple", case_sensitive=True).match("Apple") == ("Apple", "exact")
    assert terms("Apple", case_sensitive=True, fuzzy_match=False).match("apple") == ("apple", "novel")


def test_without_fuzzy_match_only_spellings_count():
    """Those that are declared, too."""
    known = Terms({"Escherichia coli": ("E. coli",)}, fuzzy_match=False)
    assert known.match("e. COLI") == ("Escherichia coli", "exact")
    assert known.match("Escherichia colli") == ("Escherichia colli", "novel")


def test_a_value_that_is_like_a_declared_spelling_is_taken_for_its_term():
    """The term stands in the result, not the spelling."""
    assert Terms({"polystyrene": ("styrofoam",)}).match("styrofoams") == ("polystyrene", "fuzzy")


def test_a_term_wins_over_another_spelling_of_a_different_one():
    """Whoever wrote the term down meant it."""
    assert Terms({"polyethylene": ("PE",), "PE": ()}).match("pe") == ("PE", "exact")


def test_of_terms_that_fit_the_one_that_is_most_alike_is_taken():
    """Wherever it stands in the list."""
    assert terms("coli", "Escherichia coli").match("Escherichia coli K12")[0] == "Escherichia coli"
    assert terms("Escherichia coli", "coli").match("Escherichia coli K12")[0] == "Escherichia coli"


def test_of_terms_that_are_equally_alike_the_first_is_taken():
    """So the order in the file decides, and nothing else."""
    assert terms("S. aureus B", "S. aureus A").match("S. aureus") == ("S. aureus B", "fuzzy")
    assert terms("S. aureus A", "S. aureus B").match("S. aureus") == ("S. aureus A", "fuzzy")


@given(st.lists(st.text(max_size=8), max_size=6), st.text(max_size=8))
def test_what_comes_out_is_a_term_or_the_value(known: list[str], value: str):
    """Exact and fuzzy are terms; novel is the value, letter for letter."""
    found, kind = terms(*known).match(value)
    assert found == value if kind == "novel" else found in known


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=6))
def test_every_term_is_taken_for_one_that_is_spelled_alike(known: list[str]):
    """And if no two are spelled alike, for itself."""
    for term in known:
        found, kind = terms(*known).match(term)
        assert kind == "exact"
        assert found.casefold() == term.casefold()


@given(st.lists(st.text(max_size=6), max_size=5), st.lists(st.text(max_size=6), max_size=5), st.text(max_size=6))
def test_terms_that_are_added_leave_the_others_as_they_are(known: list[str], added: list[str], value: str):
    """What was exact stays so, and what is shared is not changed."""
    before = terms(*known)
    found = before.match(value)
    after = before.with_terms(added)
    assert before.match(value) == found
    if found[1] == "exact":
        assert after.match(value) == found


def test_a_page_is_no_term():
    """It is not even compared: a model that repeats itself costs nothing; as a whole it counts."""
    page = "apple " * 200_000
    known = terms("apple", page)
    assert known.match(page + "x") == (page + "x", "novel")
    assert known.match(page) == (page, "exact")
    assert known.match("apple " * 100) == ("apple", "fuzzy")


@given(st.lists(st.sampled_from(["a", "ab", "A B", "a.", "abcdef", "abcdeg"]), max_size=8))
def test_what_was_asked_before_changes_nothing(values: list[str]):
    """What is remembered is what would be found again."""
    known = terms("a b", "abcdefg", "b")
    assert [known.match(value) for value in values] == [terms("a b", "abcdefg", "b").match(value) for value in values]


def test_no_order_of_hashes_counts():
    """Another process, with other hashes, takes the same value for the same term."""
    code = (
        "from fabric.pipelines.vocab import Vocabulary\n"
        "known = Vocabulary(known={f'phase {letter}' for letter in 'abcdefghijkl'})\n"
        "print(known.match('phase'), known.match('phases'))"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    ]
    assert told[0] == told[1] == told[2] == "('phase a', 'fuzzy') ('phase a', 'fuzzy')\n"
