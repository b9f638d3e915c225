"""How vocabularies grow after a run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.pipelines.results import VocabSuggestion
from fabric.pipelines.vocab import Vocabulary, apply_vocab
from fabric.pipelines.vocabularies.growth import grow, growth_questions, is_yes


def novel(value: str, name: str = "v", ideal: str | None = None) -> VocabSuggestion:
    return VocabSuggestion("f", value, None, "novel", ideal, "label", name)


def fuzzy(value: str, term: str) -> VocabSuggestion:
    return VocabSuggestion("f", value, term, "fuzzy", None, "label", "v")


def test_auto_adds_what_is_novel_and_nothing_else():
    """A value that was nearly a term would be one the next time, and the same input would give another output."""
    vocabulary = Vocabulary(["PET"], growth_policy="auto", denied=["junk"])
    growth = grow(
        [novel("HDPE"), fuzzy("PET film", "PET"), novel("junk"), novel("HDPE"), novel("pet")], {"v": vocabulary}
    )
    assert list(vocabulary.terms) == ["PET", "HDPE"]
    assert growth.added == {"v": {"HDPE": None}}
    assert (growth.refused, growth.queued) == ({}, {})


def test_human_queues_all_that_is_open():
    """What is nearly a term, too: a person may see that it is another one."""
    vocabulary = Vocabulary(["PET"], denied=["junk"])
    growth = grow([novel("HDPE"), fuzzy("PET film", "PET"), novel("junk"), novel("HDPE", ideal="x")], {"v": vocabulary})
    assert vocabulary.known == {"PET"}
    assert vocabulary.pending == [
        {"raw_value": "HDPE", "ideal_value": "x", "matched_to": None, "match_type": "novel", "seen": 2},
        {"raw_value": "PET film", "ideal_value": None, "matched_to": "PET", "match_type": "fuzzy", "seen": 1},
    ]
    assert [one.raw_value for one in growth.queued["v"]] == ["HDPE", "PET film", "HDPE"]


def test_a_model_is_asked_once_about_each_novel_value():
    """With all that it has to know."""
    vocabulary = Vocabulary(
        ["PET", "ABS"],
        label="plastic",
        description="Codes.",
        denied=["wood"],
        growth_policy="llm",
        growth_policy_model="m",
    )
    suggestions = [novel("HDPE", ideal="polyethylene"), fuzzy("PET film", "PET"), novel("HDPE"), novel("PP")]
    questions = growth_questions(suggestions, {"v": vocabulary})
    assert [(one.vocabulary, one.suggestion.raw_value, one.model) for one in questions] == [
        ("v", "HDPE", "m"),
        ("v", "PP", "m"),
    ]
    for known in ("'plastic'", "Codes.", "ABS, PET", "wood", "'HDPE'", "'polyethylene'", "yes or no"):
        assert known in questions[0].prompt
    growth = grow(suggestions, {"v": vocabulary}, [("v", "PP")])
    assert list(vocabulary.terms) == ["PET", "ABS", "PP"]
    assert growth.refused == {"v": {"HDPE": None, "PET film": None}}


@pytest.mark.parametrize(
    ("answer", "yes"),
    [
        ("yes", True),
        ("Yes, it is.", True),
        ('"YES"', True),
        ("**yes**", True),
        ("no", False),
        ("Not yes", False),
        ("", False),
        ("maybe", False),
        ("yesterday", False),
    ],
)
def test_a_yes_is_an_answer_that_begins_with_it(answer: str, yes: bool):
    """What is neither is a no."""
    assert is_yes(answer) is yes


def test_a_function_decides_about_each_suggestion():
    """One that fails decides nothing, and that is told."""
    asked: list[str] = []

    def policy(suggestion: VocabSuggestion) -> bool:
        asked.append(suggestion.raw_value)
        if suggestion.raw_value == "bad":
            raise KeyError("bad")
        return suggestion.raw_value == "HDPE"

    vocabulary = Vocabulary(["PET"], label="plastic", growth_policy=policy)
    growth = grow([novel("HDPE"), novel("bad"), novel("PP")], {"v": vocabulary})
    assert asked == ["HDPE", "bad", "PP"]
    assert list(vocabulary.terms) == ["PET", "HDPE"]
    assert growth.problems == ["growth_policy of 'plastic' on 'bad': KeyError: 'bad'"]
    assert growth.refused == {"v": {"bad": None, "PP": None}}


def test_a_suggestion_finds_its_vocabulary_by_name_then_by_label():
    """One that is of none changes nothing."""
    first, second = (Vocabulary(["a"], label="same", growth_policy="auto") for _ in range(2))
    by_label = VocabSuggestion("f", "x", None, "novel", None, "same")
    growth = grow([novel("y", "two"), by_label, novel("z", "gone")], {"two": second, "same": first})
    assert (first.known, second.known) == ({"a", "x"}, {"a", "y"})
    assert list(growth.seen) == ["two", "same"]


VALUES = st.lists(st.sampled_from(["PET", "pet film", "HDPE", "hdpe", "PP", "oak", "oaks", "junk"]), max_size=12)


@given(st.sampled_from(["auto", "human", "llm"]), VALUES)
def test_what_has_grown_takes_known_values_for_the_same(policy: str, values: list[str]):
    """A second run on the same values suggests no more than the first, and gives the same."""

    def run(vocabulary: Vocabulary) -> tuple[list[str], list[VocabSuggestion]]:
        snapshot = vocabulary.snapshot()
        found = [apply_vocab(value, snapshot, "f") for value in values]
        return [one[0] for one in found], [one[3] for one in found if one[3] is not None]

    vocabulary = Vocabulary(["PET", "oak"], label="v", growth_policy=policy, denied=["junk"])
    stored, suggestions = run(vocabulary)
    grow(suggestions, {"v": vocabulary}, [("v", value) for value in values])
    again, fewer = run(vocabulary)
    assert [value.casefold() for value in again] == [value.casefold() for value in stored]
    assert len(fewer) <= len(suggestions)


@given(VALUES, st.integers(0, 12))
def test_the_order_of_runs_is_that_of_their_inputs(values: list[str], cut: int):
    """So a batch may grow once at its end, and leaves what runs one after the other would."""
    once, twice = (Vocabulary(["PET"], label="v", growth_policy="auto") for _ in range(2))
    suggestions = [novel(value) for value in values]
    grow(suggestions, {"v": once})
    grow(suggestions[:cut], {"v": twice})
    grow(suggestions[cut:], {"v": twice})
    assert once.terms == twice.terms
    assert list(once.terms) == list(twice.terms)
