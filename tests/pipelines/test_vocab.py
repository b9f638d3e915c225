"""Vocabularies and what they suggest."""

import pytest

from fabric.pipelines.results import VocabSuggestion
from fabric.pipelines.vocab import Vocabulary, apply_vocab, build_vocab_hints


def novel(value: str, ideal: str | None = None) -> VocabSuggestion:
    return VocabSuggestion("plastic", value, None, "novel", ideal, "plastic")


def test_terms_are_known_as_a_set_and_kept_in_their_order():
    """Users compare sets; ties are decided by the order."""
    vocabulary = Vocabulary(known=["PET", "ABS"])
    assert vocabulary.known == {"PET", "ABS"}
    assert list(vocabulary.terms) == ["PET", "ABS"]
    assert list(Vocabulary(known={"b", "a", "c"}).terms) == ["a", "b", "c"]


def test_a_map_says_other_spellings():
    """They are taken for the term, and nothing is suggested."""
    vocabulary = Vocabulary.from_dict({"known": {"polystyrene": ["PS", "styrofoam"], "nylon": None, "wood": "timber"}})
    assert vocabulary.terms == {"polystyrene": ("PS", "styrofoam"), "nylon": (), "wood": ("timber",)}
    assert apply_vocab("ps", vocabulary, "f") == ("polystyrene", None, True, None)
    assert Vocabulary.from_dict({"known": ["nylon", {"wood": ["timber"]}]}).match("Timber") == ("wood", "exact")


def test_a_term_that_was_added_is_known_at_once():
    """In any letters."""
    vocabulary = Vocabulary(known=["PET"], denied=["HDPE"])
    vocabulary.add_term("HDPE")
    vocabulary.add_term("hdpe")
    assert list(vocabulary.terms) == ["PET", "HDPE"]
    assert vocabulary.denied == set()
    assert vocabulary.match("hdpe") == ("HDPE", "exact")


def test_a_snapshot_does_not_grow():
    """A run sees the terms of its beginning."""
    vocabulary = Vocabulary(known=["PET"])
    snapshot = vocabulary.snapshot()
    assert snapshot.same_terms(vocabulary)
    vocabulary.add_term("HDPE")
    vocabulary.deny("junk")
    assert snapshot.match("HDPE") == ("HDPE", "novel")
    assert not snapshot.denies("junk")
    assert not snapshot.same_terms(vocabulary)


@pytest.mark.parametrize(
    ("value", "stored", "rest", "matched", "kind"),
    [
        ("pet", "PET", None, True, None),
        ("PET film", "PET", None, True, "fuzzy"),
        ("wood", "wood", "wood", False, "novel"),
        ("junk", "junk", "junk", False, None),
    ],
)
def test_a_value_is_applied(value: str, stored: str, rest: str | None, matched: bool, kind: str | None):
    """What is taken for a term is one; what is nearly one, or none, is suggested, unless it is denied."""
    found = apply_vocab(value, Vocabulary(known=["PET"], label="plastic", denied=["junk"]), "f", "ideal")
    assert found[:3] == (stored, rest, matched)
    suggestion = found[3]
    assert (suggestion and suggestion.match_type) == kind
    if suggestion:
        assert (suggestion.field_name, suggestion.raw_value) == ("f", value)
        assert (suggestion.ideal_value, suggestion.vocab_label) == ("ideal", "plastic")


def test_a_denied_value_is_not_taken_for_a_term_that_it_is_like():
    """Somebody has said that it is none."""
    vocabulary = Vocabulary(known=["polyethylene"], denied=["polyethylenes"])
    assert vocabulary.match("Polyethylenes") == ("Polyethylenes", "novel")
    assert vocabulary.match("polyethylen") == ("polyethylene", "fuzzy")


def test_what_waits_is_counted_and_keeps_the_first_ideal():
    """A person reads the list, and each value stands there once."""
    vocabulary = Vocabulary(known=["PET"])
    for suggestion in (novel("HDPE"), novel("PP"), novel("HDPE", "polyethylene"), novel("HDPE", "another")):
        vocabulary.add_pending(suggestion)
    assert [(entry["raw_value"], entry["seen"], entry["ideal_value"]) for entry in vocabulary.pending] == [
        ("HDPE", 3, "polyethylene"),
        ("PP", 1, None),
    ]


def test_a_prompt_is_told_of_terms_reasons_and_exclusions():
    """Sorted, so the same vocabulary has the same prompt."""
    vocabulary = Vocabulary(known=["PP", "ABS"], label="plastic", description="Codes.", denied=["wood"])
    assert vocabulary.build_prompt_suffix() == (
        "Vocabulary constraint for `plastic`: choose from [ABS, PP].\n"
        "Description: Codes.\n"
        "Do not use [wood]: these are excluded."
    )
    assert "`k_ideal`" in vocabulary.build_prompt_suffix("k", capture_ideal=True)


def test_hints_leave_out_what_is_kept_out_of_prompts():
    """And without any there is no hint."""
    told, kept = Vocabulary(known=["a"], label="told"), Vocabulary(known=["b"], label="kept", inject_prompt=False)
    assert build_vocab_hints({"x": told, "y": kept}) == (
        "---\nVocabulary constraints:\nVocabulary constraint for `told`: choose from [a]."
    )
    assert build_vocab_hints({"y": kept}) == build_vocab_hints({}) == ""


def aliases_of_aliases() -> list[object]:
    """Return a list whose text would have 10 ** 30 characters."""
    data: list[object] = ["x"]
    for _ in range(30):
        data = [data] * 10
    return data


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"label": "x"}, "the key 'known' is missing"),
        ({"known": ["a"], "terms": ["a"]}, "expected 'known' or 'terms', got both"),
        ({"known": "PET"}, "known: expected a list of terms, got 'PET'"),
        ({"known": ["a", True]}, r"known\[1\]: expected a text, got True \(bool\): put it in quotes"),
        ({"known": ["a", 12]}, r"known\[1\]: expected a text, got 12"),
        ({"known": [["a"]]}, r"known\[0\]: expected a text"),
        ({"known": [" "]}, r"known\[0\]: expected a term, got an empty text"),
        ({"known": {"a": [1]}}, r"known\(a\): expected a text, got 1"),
        ({"known": ["a"], "denied": [None]}, r"denied\[0\]: expected a text, got nothing"),
        ({"known": ["a"], "fuzzy_match": "no"}, "fuzzy_match: expected bool, got 'no'"),
        ({"known": ["a"], "growth_policy": "maybe"}, "growth_policy: expected one of auto, human, llm"),
        ({"known": ["a"], "persist": 3}, "persist: expected bool or str, got 3"),
        ({"known": ["a"], "pending": ["b"]}, r"pending\[0\]: expected a map with a text as 'raw_value'"),
        ({"known": aliases_of_aliases()}, r"known\[0\]: expected a text"),
        (["a"], "a vocabulary: expected a map"),
    ],
)
def test_what_is_no_vocabulary_is_refused(data: object, said: str):
    """With the place, what was expected and what is there."""
    with pytest.raises(ValueError, match=said):
        Vocabulary.from_dict(data)  # type: ignore[arg-type]


def test_a_vocabulary_says_all_of_itself():
    """So it can be sent, and be made again."""
    vocabulary = Vocabulary(
        known={"a": ["A1"], "b": []}, label="l", description="d", growth_policy="llm", denied=["c"], capture_ideal=True
    )
    again = Vocabulary.from_dict(vocabulary.to_dict())
    assert again.to_dict() == vocabulary.to_dict()
    assert again.same_terms(vocabulary)
