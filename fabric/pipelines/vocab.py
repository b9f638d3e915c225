"""Vocabularies: what a field may say, what is taken for what, and what becomes of values that are no term.

    plastics = Vocabulary(known=["PET", "PE"], label="plastic", growth_policy="human")

    class Sample(BaseModel):
        plastic: str = VocabField(vocab=plastics)

A vocabulary grows after a run, never in it: a run works on snapshots (see ``growth``). How values are compared is said
in ``vocab_terms``.
"""

from __future__ import annotations

__all__ = ["VocabField", "VocabSuggestion", "Vocabulary", "apply_vocab", "build_vocab_hints"]

import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from pydantic_core import SchemaSerializer, core_schema

from fabric.pipelines.results import MatchType, VocabSuggestion
from fabric.pipelines.vocabularies.terms import Terms, spelling

GROWTH_POLICIES = ("auto", "human", "llm")

GrowthPolicy: TypeAlias = str | Callable[[VocabSuggestion], bool]

# What a file may say. ``terms`` is another name of ``known``.
KEYS = (
    "known",
    "terms",
    "label",
    "description",
    "fuzzy_match",
    "case_sensitive",
    "growth_policy",
    "growth_policy_model",
    "capture_ideal",
    "inject_prompt",
    "persist",
    "denied",
    "pending",
)


class Vocabularies(dict[str, "Vocabulary"]):
    """Those of a directory, by name.

    Attributes:
        left_out: why a file is no vocabulary, by its name.
    """

    def __init__(self) -> None:
        super().__init__()
        self.left_out: dict[str, str] = {}


class Vocabulary:
    """The terms of a vocabulary.

    Attributes:
        label: what it is called in prompts and suggestions.
        description: says models and people when a term belongs to it.
        fuzzy_match: whether a value that is nearly a term is taken for it.
        case_sensitive: whether capitals count.
        growth_policy: what becomes of values that are no term, after a run: ``auto`` adds them, ``human`` queues them
            in ``pending``, ``llm`` asks a model, a function decides.
        growth_policy_model: which model is asked; ``None``: the first one.
        capture_ideal: whether the model is asked what it would rather have said.
        inject_prompt: whether prompts are told of it.
        persist: whether its file is written after a run that changed it; a path: that file, below the pipeline's
            directory. ``None``: only if a person is to review it.
        pending: what waits for a review.
        path: its file, if it has been read from one.
    """

    def __init__(
        self,
        known: Iterable[str] | Mapping[str, Iterable[str]],
        label: str = "vocabulary",
        description: str | None = None,
        fuzzy_match: bool = True,
        case_sensitive: bool = False,
        growth_policy: GrowthPolicy = "human",
        growth_policy_model: str | None = None,
        capture_ideal: bool = False,
        inject_prompt: bool = True,
        persist: bool | str | Path | None = None,
        pending: Sequence[Mapping[str, Any]] = (),
        denied: Iterable[str] = (),
    ) -> None:
        """Make a vocabulary.

        Args:
            known: its terms, in an order that decides between terms that fit equally well; a set counts as sorted. A
                map says other spellings of each: ``{"Escherichia coli": ["E. coli"]}``.
            label, description, fuzzy_match, case_sensitive: see the attributes.
            growth_policy, growth_policy_model, capture_ideal, inject_prompt, persist, pending: see the attributes.
            denied: are no terms, and nobody is asked about them again.

        Raises:
            ValueError: there is no such policy, or a term is no text.
        """
        if isinstance(growth_policy, str) and growth_policy not in GROWTH_POLICIES:
            raise ValueError(
                f"growth_policy: expected one of {', '.join(GROWTH_POLICIES)} or a function, got {growth_policy!r}"
            )
        self.label = label
        self.description = description
        self.growth_policy = growth_policy
        self.growth_policy_model = growth_policy_model
        self.capture_ideal = capture_ideal
        self.inject_prompt = inject_prompt
        self.persist = persist
        self.path: Path | None = None
        self.pending: list[dict[str, Any]] = [dict(entry) for entry in pending]
        self._terms = Terms(_spellings(known), case_sensitive, fuzzy_match)
        self._denied = dict.fromkeys(_texts(denied, "denied"))
        self._denied_keys = frozenset(spelling(term, case_sensitive) for term in self._denied)

    @property
    def known(self) -> frozenset[str]:
        """Its terms. :meth:`add_term` adds one."""
        return frozenset(self._terms.known)

    @property
    def terms(self) -> Mapping[str, tuple[str, ...]]:
        """Its terms in their order, each with other spellings of it."""
        return self._terms.known

    @property
    def denied(self) -> frozenset[str]:
        """What is no term."""
        return frozenset(self._denied)

    @property
    def case_sensitive(self) -> bool:
        """Whether capitals count."""
        return self._terms.case_sensitive

    @property
    def fuzzy_match(self) -> bool:
        """Whether a value that is nearly a term is taken for it."""
        return self._terms.fuzzy_match

    # A model of pydantic has its vocabularies in its fields: in its JSON Schema they are their labels.
    __pydantic_serializer__: ClassVar[Any] = SchemaSerializer(
        core_schema.any_schema(serialization=core_schema.plain_serializer_function_ser_schema(lambda self: self.label))
    )

    def __repr__(self) -> str:
        return f"<Vocabulary {self.label!r}, {len(self._terms.known)} terms>"

    def snapshot(self) -> Vocabulary:
        """Return this vocabulary as it is now. Costs nothing: the terms are shared until one of the two changes."""
        copied = Vocabulary.__new__(Vocabulary)
        copied.__dict__.update(self.__dict__)
        copied.pending = []
        return copied

    def same_terms(self, other: Vocabulary) -> bool:
        """Whether another vocabulary takes each value for the same, and suggests the same."""
        return self._terms == other._terms and self._denied_keys == other._denied_keys and self.label == other.label

    def match(self, value: str) -> tuple[str, MatchType]:
        """Return the term that a value is taken for, and how: ``exact``, ``fuzzy`` or ``novel``.

        A denied value is taken for nothing, however much it is like a term.
        """
        if self.denies(value):
            return value, "novel"
        return self._terms.match(value)

    def knows(self, value: str) -> bool:
        """Whether a value is a term, or declared as another spelling of one."""
        return self._terms.knows(value)

    def denies(self, value: str) -> bool:
        """Whether a value is denied."""
        return spelling(value, self.case_sensitive) in self._denied_keys

    def add_term(self, term: str) -> None:
        """Add a term; it is denied no longer."""
        self.add_terms([term])

    def add_terms(self, terms: Iterable[str]) -> None:
        """Add terms, in this order; they are denied no longer."""
        added = _texts(terms, "known")
        self._terms = self._terms.with_terms(added)
        self._deny({term: None for term in self._denied if term not in added})

    def deny(self, term: str) -> None:
        """Say that something is no term."""
        self._deny({**self._denied, term: None})

    def _deny(self, denied: dict[str, None]) -> None:
        self._denied = denied
        self._denied_keys = frozenset(spelling(term, self.case_sensitive) for term in denied)

    def add_pending(self, suggestion: VocabSuggestion) -> None:
        """Queue a suggestion for review. One that is there is counted, and keeps the first ideal that was given."""
        self.queue([suggestion])

    def queue(self, suggestions: Iterable[VocabSuggestion]) -> None:
        """Queue suggestions for review, in this order; see :meth:`add_pending`."""
        waiting = {entry.get("raw_value"): entry for entry in reversed(self.pending)}
        for suggestion in suggestions:
            entry = waiting.get(suggestion.raw_value)
            if entry is not None:
                entry["seen"] = entry.get("seen", 1) + 1
                if suggestion.ideal_value and not entry.get("ideal_value"):
                    entry["ideal_value"] = suggestion.ideal_value
                continue
            entry = {
                "raw_value": suggestion.raw_value,
                "ideal_value": suggestion.ideal_value,
                "matched_to": suggestion.matched_to,
                "match_type": suggestion.match_type,
                "seen": 1,
            }
            waiting[suggestion.raw_value] = entry
            self.pending.append(entry)

    def build_prompt_suffix(self, field_name: str | None = None, capture_ideal: bool | None = None) -> str:
        """Return what a prompt says of this vocabulary.

        Args:
            field_name: of the schema's field; ``None``: it is called as the vocabulary is.
            capture_ideal: over that of the vocabulary.
        """
        name = field_name or self.label
        place = f"`{self.label}`" if name == self.label else f"`{self.label}` (field `{name}`)"
        lines = [f"Vocabulary constraint for {place}: choose from [{', '.join(sorted(self._terms.known))}]."]
        if self.description:
            lines.append(f"Description: {self.description}")
        if self._denied:
            lines.append(f"Do not use [{', '.join(sorted(self._denied))}]: these are excluded.")
        if self.capture_ideal if capture_ideal is None else capture_ideal:
            lines.append(f"Also return `{name}_ideal`: what you would answer if there were no such list.")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return what its file says. A function that decides on growth is left out."""
        known = self._terms.known
        data: dict[str, Any] = {
            "label": self.label,
            "description": self.description,
            "fuzzy_match": self.fuzzy_match,
            "case_sensitive": self.case_sensitive,
            "growth_policy": self.growth_policy if isinstance(self.growth_policy, str) else None,
            "growth_policy_model": self.growth_policy_model,
            "capture_ideal": self.capture_ideal,
            "inject_prompt": self.inject_prompt,
            "persist": str(self.persist) if isinstance(self.persist, Path) else self.persist,
            "known": {term: list(others) for term, others in known.items()} if any(known.values()) else list(known),
            "denied": list(self._denied),
            "pending": [dict(entry) for entry in self.pending],
        }
        return {key: value for key, value in data.items() if value is not None}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], label: str = "vocabulary") -> Vocabulary:
        """Return the vocabulary of what a file says.

        Args:
            data: of the file.
            label: if it says none.

        Raises:
            ValueError: it is not what it should be.
        """
        if not isinstance(data, Mapping):
            raise ValueError(f"a vocabulary: expected a map with the key 'known', got {_kind(data)}")
        if "known" in data and "terms" in data:
            raise ValueError("a vocabulary: expected 'known' or 'terms', got both")
        if "known" not in data and "terms" not in data:
            raise ValueError("a vocabulary: the key 'known' is missing: a list of its terms")
        _check_kinds(data)
        said = {key: value for key, value in data.items() if key in KEYS and key not in ("known", "terms")}
        said = {key: value for key, value in said.items() if value is not None}
        known = data.get("known", data.get("terms"))
        return cls(() if known is None else known, **{"label": label, **said})

    @classmethod
    def from_file(cls, path: str | Path) -> Vocabulary:
        """Return the vocabulary of a file; without a label of its own it is called as the file is.

        Raises:
            FileNotFoundError: there is no such file.
            ConfigError: it is no vocabulary.
        """
        from fabric.pipelines.vocabularies.files import read_vocabulary

        return read_vocabulary(Path(path))

    def save(self, path: str | Path) -> None:
        """Write this vocabulary to a file; its directory is made. What else the file says, and its comments, stay."""
        from fabric.pipelines.vocabularies.files import write_vocabulary

        write_vocabulary(self, Path(path))


def VocabField(  # noqa: N802  (called as pydantic's Field is)
    vocab: Vocabulary | str, capture_ideal: bool = False, default: Any = ..., **field_kwargs: Any
) -> Any:
    """Return a field of a pydantic model whose values are terms of a vocabulary.

    Args:
        vocab: the vocabulary, or the name of one of the pipeline's.
        capture_ideal: whether the model is asked what it would rather have said.
        default, field_kwargs: as for pydantic's ``Field``.
    """
    from pydantic import Field

    extra = dict(field_kwargs.pop("json_schema_extra", None) or {})
    extra["_pyconveyor_vocab_ref" if isinstance(vocab, str) else "_pyconveyor_vocab"] = vocab
    extra["_pyconveyor_capture_ideal"] = capture_ideal
    return Field(default, json_schema_extra=extra, **field_kwargs)


def apply_vocab(
    value: str, vocab: Vocabulary, field_name: str, ideal_value: str | None = None
) -> tuple[str, str | None, bool, VocabSuggestion | None]:
    """Return what a field says, the value if it is no term, whether it is one, and what is suggested.

    A value that is nearly a term is taken for it, and suggested, so that somebody can look at it. Nothing is suggested
    for values that are denied.

    Args:
        value: what the model said.
        vocab: of the field.
        field_name: is said in the suggestion.
        ideal_value: what the model would rather have said.
    """
    term, kind = vocab.match(value)
    if kind == "exact":
        return term, None, True, None
    suggestion = None
    if not vocab.denies(value):
        matched = term if kind == "fuzzy" else None
        suggestion = VocabSuggestion(field_name, value, matched, kind, ideal_value, vocab.label)
    if kind == "fuzzy":
        return term, None, True, suggestion
    return value, value, False, suggestion


HINTS_HEADER = "---\nVocabulary constraints:\n"


def build_vocab_hints(vocabularies: Mapping[str, Vocabulary]) -> str:
    """Return what a prompt says of vocabularies; those that are kept out of prompts are left out."""
    sections = [vocab.build_prompt_suffix() for vocab in vocabularies.values() if vocab.inject_prompt]
    return HINTS_HEADER + "\n\n".join(sections) if sections else ""


_KINDS: Mapping[str, tuple[type, ...]] = {
    "label": (str,),
    "description": (str,),
    "fuzzy_match": (bool,),
    "case_sensitive": (bool,),
    "growth_policy": (str,),
    "growth_policy_model": (str,),
    "capture_ideal": (bool,),
    "inject_prompt": (bool,),
    "persist": (bool, str),
    "pending": (list, tuple),
}


def _check_kinds(data: Mapping[str, Any]) -> None:
    for key, kinds in _KINDS.items():
        value = data.get(key)
        if value is not None and not isinstance(value, kinds):
            wanted = " or ".join(kind.__name__ for kind in kinds[:2])
            raise ValueError(f"{key}: expected {wanted}, got {_kind(value)}")
    for index, entry in enumerate(data.get("pending") or ()):
        if not isinstance(entry, Mapping) or not isinstance(entry.get("raw_value"), str):
            raise ValueError(f"pending[{index}]: expected a map with a text as 'raw_value', got {_kind(entry)}")


def _spellings(known: object) -> dict[str, tuple[str, ...]]:
    """Return terms with other spellings of each: of a map, or of a list whose entries are texts or maps."""
    found: dict[str, tuple[str, ...]] = {}
    entries: Iterable[object] = _listed(known, "known") if not isinstance(known, Mapping) else [known]
    for index, entry in enumerate(entries):
        place = "known" if isinstance(known, Mapping) else f"known[{index}]"
        pairs: Iterable[tuple[object, object]] = entry.items() if isinstance(entry, Mapping) else [(entry, ())]
        for said, others in pairs:
            term = _text(said, place)
            spellings = [others] if isinstance(others, str) else list(_listed(others or (), place))
            found[term] = (*found.get(term, ()), *(_text(other, f"{place}({term})") for other in spellings))
    return found


def _listed(data: object, place: str) -> Iterable[object]:
    if isinstance(data, (set, frozenset)):
        return sorted(data, key=str)
    if isinstance(data, (list, tuple, dict)):
        return data
    if not isinstance(data, (str, bytes)) and isinstance(data, Iterable):
        return list(data)
    raise ValueError(f"{place}: expected a list of terms, got {_kind(data)}")


def _texts(data: object, place: str) -> list[str]:
    return [_text(term, f"{place}[{index}]") for index, term in enumerate(_listed(data, place))]


def _text(data: object, place: str) -> str:
    if not isinstance(data, str):
        raise ValueError(f"{place}: expected a text, got {_kind(data)}: put it in quotes")
    if not data.strip():
        raise ValueError(f"{place}: expected a term, got an empty text")
    return data


def _kind(data: object) -> str:
    # reprlib: a text of a map with aliases of aliases would never end
    return "nothing" if data is None else f"{reprlib.repr(data)} ({type(data).__name__})"
