"""A bucket of which something is lost, and one at whose n-th operation the process is killed.

    SCHEMES["faulty"] = lambda url: FaultyStore(open_store(rest), fault_at(7, "kill_after"))

An *operation* is a call of one of the five methods; they are counted from 1. So whatever a program does with a bucket
can be cut off before and after each of them, one run for each count, until a run comes to its end untouched.
"""

from __future__ import annotations

__all__ = ["FaultyStore", "StoreFault", "StoreFaults", "StoreOperation", "draw_store_faults", "fault_at"]

import os
import random
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeAlias, TypeVar, get_args

from fabric.errors import StoreFailed, StoreUnsure
from fabric.store.objects import ObjectStore

Method: TypeAlias = Literal["create", "get", "list", "delete", "link"]

StoreFault: TypeAlias = Literal["lose_request", "lose_answer", "fail", "kill_before", "kill_after"]
"""What happens: it is not done, or done, and there is no answer; it is refused; the process is killed."""


class StoreOperation(NamedTuple):
    """One call of a store.

    Attributes:
        number: from 1.
        method: of the store.
        key: or prefix.
    """

    number: int
    method: Method
    key: str


StoreFaults: TypeAlias = Callable[[StoreOperation], StoreFault | Callable[[], None] | None]
"""Says what happens at an operation. A function is called before it is done: for what others do meanwhile."""

_Result = TypeVar("_Result")


def fault_at(number: int, fault: StoreFault | Callable[[], None]) -> StoreFaults:
    """Let one operation fail: the one with this number."""
    return lambda operation: fault if operation.number == number else None


def draw_store_faults(
    rng: random.Random, share: float, among: Sequence[StoreFault] = ("lose_request", "lose_answer", "fail")
) -> StoreFaults:
    """Let a share of all operations fail.

    Args:
        rng: seeded.
        share: 0 to 1.
        among: what may happen, each as often as the others.
    """
    assert set(among) <= set(get_args(StoreFault)), among
    return lambda _: rng.choice(among) if rng.random() < share else None


class FaultyStore:
    """A store in which some operations go wrong, as is told before each. Any thread may use it.

    Args:
        inner: does what is done.
        faults: says what goes wrong.

    Attributes:
        operations: what was asked for, in order, whether or not it was done.
    """

    def __init__(self, inner: ObjectStore, faults: StoreFaults = lambda _: None) -> None:
        self.url = inner.url
        self.operations: list[StoreOperation] = []
        self._inner = inner
        self._faults = faults
        self._lock = threading.Lock()

    def create(self, key: str, body: bytes) -> bool:
        """Create an object if there is none."""
        return self._do("create", key, lambda: self._inner.create(key, body))

    def get(self, key: str) -> bytes | None:
        """Return an object, or ``None``."""
        return self._do("get", key, lambda: self._inner.get(key))

    def list(self, prefix: str, after: str = "") -> list[str]:
        """Return the keys that begin with a prefix."""
        return self._do("list", prefix, lambda: self._inner.list(prefix, after))

    def delete(self, key: str) -> None:
        """Delete an object, if there is one."""
        self._do("delete", key, lambda: self._inner.delete(key))

    def link(self, key: str) -> str:
        """Return an URL of the object."""
        return self._do("link", key, lambda: self._inner.link(key))

    def _do(self, method: Method, key: str, act: Callable[[], _Result]) -> _Result:
        with self._lock:
            operation = StoreOperation(len(self.operations) + 1, method, key)
            self.operations.append(operation)
            fault = self._faults(operation)
        told = f"{self.url}: operation {operation.number}, {method} {key}"
        if fault == "fail":
            raise StoreFailed(f"{told}: refused")
        if fault == "lose_request":
            raise self._silence(method, told)
        if fault == "kill_before":
            os.kill(os.getpid(), signal.SIGKILL)
        if callable(fault):
            fault()
        result = act()
        if fault == "kill_after":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "lose_answer":
            raise self._silence(method, told)
        return result

    def _silence(self, method: Method, told: str) -> StoreFailed:
        return (StoreUnsure if method == "create" else StoreFailed)(f"{told}: no answer")
