"""What a code of the checker means, at length: the text of a file of ``explanations``.

Such a file is a heading, which says in a line what is wrong, and paragraphs with two programs: a block ``plumb error``
that fails with this code and no other, and a block ``plumb`` that passes. In a program a line ``--- lib.plumb`` begins
a further file. Reading the files is the caller's.
"""

from __future__ import annotations

__all__ = ["Explanation", "codes_meant", "parse_explanation"]

import re

import msgspec

from fabric.lang.diagnostic import CODES, Category

_BLOCK = re.compile(r"(?ms)^```plumb( error)?\n(.*?)^```$")
_SLOPPY = re.compile(r"([ew]?)(\d{3,4})", re.IGNORECASE)


class Explanation(msgspec.Struct, frozen=True):
    """A code, explained.

    Attributes:
        title: one line.
        text: everything behind the title, as Markdown.
        fails, passes: programs.
    """

    code: str
    slug: str
    category: Category
    title: str
    text: str
    fails: str
    passes: str


def parse_explanation(code: str, text: str) -> Explanation:
    """Return what a file says.

    Raises:
        ValueError: it does not have the form.
    """
    heading, _, body = text.partition("\n")
    blocks = _BLOCK.findall(body)
    if not heading.startswith("# ") or [kind for kind, _ in blocks] != [" error", ""]:
        raise ValueError(f"{code}: expected a heading, a block 'plumb error' and a block 'plumb'")
    slug, category = CODES[code]
    return Explanation(code, slug, category, heading[2:], body.strip(), blocks[0][1], blocks[1][1])


def codes_meant(name: str) -> list[str]:
    """Return the codes that somebody means by a code or a slug, however sloppily written; none if there are none.

    ``e412`` and ``412`` are ``E0412``; a number alone means an error rather than a warning.
    """
    match = _SLOPPY.fullmatch(name.strip().strip("[]"))
    if match is None:
        slug = name.strip().lower().replace("-", "_")
        return [code for code, (of_code, _) in CODES.items() if of_code == slug]
    letters = match[1].upper() or "EW"
    return [code for letter in letters if (code := f"{letter}{match[2]:0>4}") in CODES][:1]
