"""Texts that are no programs, almost programs, or odd ones; and what holds of each."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

import msgspec
from generated import program
from programs import chunks

import fabric.lang
from fabric.compiler import INSTALLED
from fabric.errors import ConfigError
from fabric.graph import passes
from fabric.lang.check import check_source
from fabric.lang.diagnostic import Report, render_all, to_json
from fabric.lang.format import format_source
from fabric.lang.lexer import RESERVED, Lexed
from fabric.lang.modules import Found, Missing
from fabric.lang.parser import read
from fabric.lang.source import Source, Span
from fabric.lang.token_cursor import NESTING_MAX
from fabric.plan.make import Surroundings, make_plan
from fabric.wire.spec import Document

ROOT = Path(__file__).parents[2]

# --- what holds of every text -----------------------------------------------------------------------------------------


class Files:
    """Finds files among texts, by their names without folder and ending."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def find(self, name: str, *, is_path: bool, importer: str) -> Found | Missing:
        stem = PurePath(name).stem if is_path else name
        return Found(f"{stem}.plumb", self._texts[stem]) if stem in self._texts else Missing("no such file")


INSTALLED_TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in INSTALLED.glob("*.plumb")}


def same_tree(one: Any, other: Any) -> bool:
    """Say whether two syntax trees are the same but for their places in the text."""
    work = [(one, other)]
    while work:
        one, other = work.pop()
        if isinstance(one, Span) and isinstance(other, Span):
            continue
        if type(one) is not type(other):
            return False
        if isinstance(one, msgspec.Struct):
            work += [(getattr(one, name), getattr(other, name)) for name in one.__struct_fields__]
        elif isinstance(one, tuple):
            if len(one) != len(other):
                return False
            work += zip(one, other, strict=True)
        elif one != other:
            return False
    return True


def comments_of(text: str, lexed: Lexed) -> list[str]:
    """Return the comments of a text, without the spaces around their lines."""
    comments = (text[span.start : span.end] for span in lexed.comments)
    return ["\n".join(line.strip() for line in comment.split("\n")) for comment in comments]


def examine(text: str, files: Mapping[str, str] = INSTALLED_TEXTS) -> bool:
    """Assert whatever holds of a text: read, checked, formatted, compiled if it checks. Return whether it does."""
    source = Source("x.plumb", text)
    module, diagnostics = check_source(source, Files(files))
    assert (module is None) == any(found.severity == "error" for found in diagnostics)
    for found in diagnostics:
        places = [(found.source, found.span), *((where, span) for where, span, _ in found.related)]
        assert all(w.start <= span.start <= span.end <= w.end.start for w, span in places)
        to_json(found)
    render_all(diagnostics)
    formatted = examine_format(source)
    if module is None:
        return False
    assert formatted is not None
    graph = passes.build(module)
    passes.validate(graph)
    prompts = {
        (binding.name, name): Document(name, "")
        for binding in module.bindings.values()
        for name in binding.config.get("prompts", ())
    }
    with suppress(ConfigError):  # a provider that cannot be used yet
        make_plan(module, graph, Surroundings("python", "RUN", ".", provider="eliza", documents=prompts))
    return True


def _examine_tokens(source: Source, lexed: Lexed, report: Report) -> None:
    """Tokens and comments stand in their order; what is between them is space, or was reported."""
    spans = sorted([*(token.span for token in lexed.tokens), *lexed.comments])
    at = 0
    for span in spans:
        assert at <= span.start <= span.end <= len(source.text)
        assert report.has_errors or not source.text[at : span.start].strip(" \t\r\n\ufeff")
        at = span.end
    assert at == len(source.text)


def examine_format(source: Source) -> str | None:
    """Read and format a text, and look at what comes out."""
    report = Report(source)
    tree, lexed = read(source, report)
    _examine_tokens(source, lexed, report)
    text, mistakes = format_source(source)
    assert (text is None) == report.has_errors == bool(mistakes)
    if text is None:
        return None
    printed = Source("x.plumb", text)
    remarks = Report(printed)
    tree_again, lexed_again = read(printed, remarks)
    assert same_tree(tree, tree_again), f"another tree:\n{text}"
    assert not remarks.diagnostics(), f"a remark on printed text:\n{text}"
    assert comments_of(source.text, lexed) == comments_of(text, lexed_again), f"other comments:\n{text}"
    assert format_source(printed) == (text, ()), f"no fixpoint:\n{text}"
    assert text.endswith("\n") or not text
    return text


# --- texts ------------------------------------------------------------------------------------------------------------

SIGNS = re.findall(r"\S+", '<-> -> → || && == != <= >= ! | ( ) { } [ ] , : ; . = < > + - * / % @ ? " (* *)')
WORDS = re.findall(
    r"\S+",
    """
    main a b i o string int number bool unit json T Mem value id copy merge merge_all merge_any discard empty barrier
    map filter project mux python worker select offer not null 0 1 2.5 1e9 source input output ctrl telemetry
    """,
)
PHRASES = ['"x"', '"\n"', "(* c *)", "let main : !string -> !string = ", "plumb(i, o) {", "i ; o", "\n", "\n\n", "\t"]
ALPHABET = [*SIGNS, *WORDS, *sorted(RESERVED), *PHRASES]
CHARACTERS = ' \t\r\n\f"\\(*)!|{}[],:;.=<>+-%@?/_#aZ09é→“\ufeff\u2028\u202e\U0001f600\x00\ud83d'
PIECE = re.compile(r"\s+|\(\*|\*\)|->|\w+|\"(?:[^\"\\]|\\.)*\"|[^\w\s]", re.DOTALL)

NESTS = [
    ("let main : !int -> !int = map(", "(", "1", ")", ")"),
    ("let main : !int -> !int = map(", "[", "1", "]", ")"),
    ("let main : !int -> !int = map(", "{ a: ", "1", "}", ")"),
    ("let main : !int -> !int = map(", "-", "1", "", ")"),
    ("let main : !int -> !bool = map(", "! ", "true", "", ")"),
    ("let main : !int -> !int = map(", "1 + ", "1", "", ")"),
    ("let main : !int -> !int = map(", "1 + (", "1", ")", ")"),
    ("let main : !json -> !json = map(value", "", "", ".a", ")"),
    ("let main : !json -> !json = map(value", "", "", "[0]", ")"),
    ("let main : ", "!", "int", "", " -> !int = id"),
    ("type A = ", "{ a: ", "int", "}", ""),
    ("type A = ", "(int, ", "int", ")", ""),
    ("type A = ", "[", "int", "]", ""),
    ("type A = ", "(", "int", ")", ""),
    ("let main : !int -> !int = ", "(", "id", ")", ""),
    ("let main : !int -> !int = ", "(id * ", "id", ")", ""),
    ("let main : !int -> !int = agent { tools: ", "[", "", "]", "}"),
    ("let main : !int -> !int = agent { x: ", "{ x: ", "1", "}", "}"),
    ("protocol P = ", "{ a: ", "end", "}", ""),
    ("protocol P = ", "send int . select { a: ", "end", "}", ""),
    ("", "(* ", "", "*) ", ""),
    ("", "let main : !int -> !int = plumb(i, o) { ", "", "", ""),
    ("let main : !int -> !int = plumb(i, o) {", "i ; ", "o", "", "}"),
    ("type A = ", "int | ", "int", "", ""),
]


def _language_examples() -> list[str]:
    text = (Path(fabric.lang.__file__).parent / "LANGUAGE.md").read_text(encoding="utf-8")
    return re.findall(r"```plumb(?: error)?\n(.*?)```", text, re.DOTALL)


PROGRAMS = [
    *(chunk.source.text for chunk in chunks().values()),
    *_language_examples(),
    *(
        path.read_text(encoding="utf-8")
        for folder in ("compose", "fabric")
        for path in sorted((ROOT / folder).rglob("*.plumb"))
    ),
]


def _characters(rng: random.Random) -> str:
    return "".join(rng.choices(CHARACTERS, k=rng.randrange(60)))


def _bytes(rng: random.Random) -> str:
    return rng.randbytes(rng.randrange(60)).decode("utf-8", errors="replace")


def _tokens(rng: random.Random) -> str:
    return " ".join(rng.choices(ALPHABET, k=rng.randrange(50)))


def _some_program(rng: random.Random) -> str:
    return program(rng).main if rng.random() < 0.1 else rng.choice(PROGRAMS)


def _mutated(rng: random.Random) -> str:
    pieces = PIECE.findall(_some_program(rng))
    for _ in range(rng.choice([1, 1, 2, 3, 8])):
        at = rng.randrange(len(pieces) + 1)
        match rng.randrange(5):
            case 0:
                del pieces[at : at + rng.choice([1, 1, 3])]
            case 1:
                pieces[at:at] = pieces[at : at + rng.choice([1, 3, 10])]
            case 2:
                pieces[at : at + 2] = pieces[at : at + 2][::-1]
            case 3:
                pieces.insert(at, rng.choice(ALPHABET))
            case 4:
                pieces[at : at + 1] = [rng.choice(ALPHABET)]
    return "".join(pieces)


def respaced(rng: random.Random) -> str:
    """Other spaces, line ends and comments between the tokens: what the formatter has to put in order."""
    out = []
    for piece in PIECE.findall(_some_program(rng)):
        if piece.isspace() and rng.random() < 0.6:
            piece = rng.choice([" ", "\n", "\n\n\n", "\t", "\r\n", " (* c *) ", "\n(* d\n   e *)\n", " (* f *)\n"])
        elif rng.random() < 0.02:
            piece += rng.choice(["\n", " (* g *)\n", "(*h*)"])
        out.append(piece)
    return "".join(out)


def _spliced(rng: random.Random) -> str:
    one, other = PIECE.findall(_some_program(rng)), PIECE.findall(_some_program(rng))
    return "".join(one[: rng.randrange(len(one) + 1)] + other[rng.randrange(len(other) + 1) :])


def nested(rng: random.Random) -> str:
    before, opening, inner, closing, after = rng.choice(NESTS)
    depth = rng.choice([rng.randrange(10), NESTING_MAX // 2, *range(NESTING_MAX - 4, NESTING_MAX + 3), 500])
    return before + opening * depth + inner + closing * (depth + rng.choice([0, 0, 0, 1, -1])) + after


def _generated(rng: random.Random) -> str:
    return program(rng).main


KINDS: dict[str, tuple[Callable[[random.Random], str], int]] = {
    # kind: what makes it, how many of a hundred
    "bytes": (_bytes, 5),
    "characters": (_characters, 15),
    "tokens": (_tokens, 20),
    "mutated": (_mutated, 35),
    "respaced": (respaced, 8),
    "spliced": (_spliced, 12),
    "nested": (nested, 3),
    "generated": (_generated, 2),
}


def text_of(seed: int, number: int) -> tuple[str, str]:
    """Return the kind and the text of one input; the same for the same numbers."""
    rng = random.Random(f"{seed}:{number}")
    (kind,) = rng.choices(list(KINDS), [share for _, share in KINDS.values()])
    return kind, KINDS[kind][0](rng)


def texts(seed: int, first: int, count: int) -> Iterator[tuple[int, str, str]]:
    """Return inputs: number, kind, text."""
    for number in range(first, first + count):
        yield number, *text_of(seed, number)
