"""No text makes the compiler raise, and some things hold of all of them."""

from __future__ import annotations

import pytest
from any_text import ALPHABET, NESTS, examine, texts
from generated import programs
from hypothesis import example, given, settings
from hypothesis import strategies as st

INPUTS = 20_000
BATCHES = 20


@pytest.mark.parametrize("batch", range(BATCHES))
def test_what_holds_of_every_text_holds_of_many(batch):
    """The first inputs that tests/fuzz/language.py makes; again: ``language.py --seed 1 --only NUMBER``."""
    for number, kind, text in texts(1, batch * INPUTS // BATCHES, INPUTS // BATCHES):
        try:
            examine(text)
        except Exception as error:
            error.add_note(f"input {number} of seed 1, {kind}: {text!r}")
            raise


@given(st.text(max_size=200))
@example("\ufeff")
@example('"')
@example("(*")
@example('"\\ud83d\\')
def test_any_text_is_read(text):
    """Also text that is no program at all."""
    examine(text)


@given(st.lists(st.sampled_from(ALPHABET), max_size=60).map(" ".join))
@settings(max_examples=100)
def test_any_tokens_are_read(text):
    """Tokens in any order reach further into the parser; failures become small ones."""
    examine(text)


@given(programs)
@settings(max_examples=30, deadline=None)
def test_a_generated_program_checks_and_compiles(program):
    """So the others that it is mutated into are almost programs."""
    assert examine(program.main, program.files)


@pytest.mark.parametrize("nest", NESTS)
def test_deep_nesting_is_a_diagnostic(nest):
    """Whatever can be nested may be nested too deeply."""
    before, opening, inner, closing, after = nest
    examine(before + opening * 5000 + inner + closing * 5000 + after)


def test_names_cannot_nest_types_too_deeply_or_make_them_too_large():
    """Neither a long chain of aliases nor one that doubles each time gets through."""
    chain = "type T0 = int\n" + "".join(f"type T{i} = [T{i - 1}]\n" for i in range(1, 3000))
    assert not examine(chain + "let main : !T2999 -> !int = map(1)")
    doubling = "type T0 = int\n" + "".join(f"type T{i} = (T{i - 1}, T{i - 1})\n" for i in range(1, 60))
    assert not examine(doubling + "let main : !T59 -> !int = map(1)")


def test_bodies_cannot_nest_too_deeply_or_grow_too_large():
    """The same of nested bodies."""
    chain = "let p0 : !int -> !int = id\n" + "".join(
        f"let p{i} : !int -> !int = p{i - 1} ; id\n" for i in range(1, 3000)
    )
    assert not examine(chain + "let main : !int -> !int = p2999")
    doubling = "let p0 : !int -> !int = id\n" + "".join(
        f"let p{i} : !int -> !int = plumb(i, o) {{ spawn p{i - 1}(i, o) spawn p{i - 1}(i, o) }}\n" for i in range(1, 60)
    )
    assert not examine(doubling + "let main : !int -> !int = p59")


def test_long_programs_are_read():
    """Ten thousand bindings, wired in one body."""
    lines = [f"let a{i} : !string -> !string = agent {{ }}" for i in range(5000)]
    lines += ["let main : !string -> !string = plumb(i, o) {", "i ; a0"]
    lines += [f'  a{i} ; filter(value != "{i}") ; a{i + 1}' for i in range(4999)]
    assert examine("\n".join([*lines, "a4999 ; o", "}"]))
