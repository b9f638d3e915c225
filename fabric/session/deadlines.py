"""What has to be done by when, if everything may take equally long: the first that came is the first that is late."""

from __future__ import annotations

__all__ = ["Deadlines"]

from fabric.session.events import SetTimer


class Deadlines:
    """Deadlines of one kind, with at most one timer at a time.

    Args:
        key: of the timer.
        limit_s: how long each may take.
    """

    def __init__(self, key: tuple[str, str], limit_s: float) -> None:
        self._key = key
        self._limit_s = limit_s
        self._due_s: dict[int, float] = {}
        self._armed = False

    def begin(self, number: int, now_s: float) -> list[SetTimer]:
        """Something begins; return what follows."""
        self._due_s[number] = now_s + self._limit_s
        return self._arm()

    def shorten(self, limit_s: float, now_s: float) -> list[SetTimer]:
        """From now on nothing may take longer than this, also what has begun; return what follows."""
        self._limit_s = min(self._limit_s, limit_s)
        self._due_s = {number: min(due_s, now_s + limit_s) for number, due_s in self._due_s.items()}
        self._armed = False
        return self._arm()

    def done(self, number: int) -> None:
        """It is done; also if it never began, or was late."""
        self._due_s.pop(number, None)

    def timer(self, now_s: float) -> tuple[list[int], list[SetTimer]]:
        """The time asked for is over. Return what is late, which is forgotten by that, and what follows."""
        self._armed = False
        late = [number for number, due_s in self._due_s.items() if now_s >= due_s]
        for number in late:
            del self._due_s[number]
        return late, self._arm()

    def _arm(self) -> list[SetTimer]:
        if not self._due_s or self._armed:
            return []
        self._armed = True
        return [SetTimer(self._key, next(iter(self._due_s.values())))]
