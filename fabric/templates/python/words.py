"""Functions that are workers: one call for each message."""

from collections import Counter
from collections.abc import Iterator

SEEN: Counter[str] = Counter()


def split(sentence: str) -> Iterator[str]:
    """Yield any number of messages for one."""
    yield from sentence.lower().split()


def tally(word: str) -> dict[str, object]:
    """Return one message for one; what it keeps in between is said by ``state: true`` in the program."""
    SEEN[word] += 1
    return {"word": word, "seen": SEEN[word]}
