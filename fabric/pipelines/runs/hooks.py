"""Functions of the caller's that are told what a run does. What they raise is logged, and changes nothing."""

from __future__ import annotations

__all__ = ["Hooks", "attempt", "expect_hook"]

import logging
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, TypeVar

from fabric.errors import ConfigError
from fabric.pipelines.errors import CallableImportError
from fabric.pipelines.loading.references import expect_called

_log = logging.getLogger("fabric.pipelines")

Kind: TypeAlias = Literal["on_run_start", "on_run_end", "on_step_end", "on_llm_call"]
F = TypeVar("F", bound=Callable[..., Any])


class Hooks:
    """Hooks of a runner, in the order in which they were added."""

    def __init__(self) -> None:
        self._hooks: dict[Kind, list[Callable[..., Any]]] = {}

    def add(self, kind: Kind, hook: F) -> F:
        """Add one; return it, so that this decorates.

        Raises:
            ConfigError: it cannot be called, or has to be awaited.
        """
        expect_hook(kind, hook)
        self._hooks.setdefault(kind, []).append(hook)
        return hook

    @property
    def any(self) -> bool:
        """Whether there are any."""
        return bool(self._hooks)

    def fire(self, kind: Kind, *arguments: object) -> None:
        """Call all of a kind."""
        for hook in self._hooks.get(kind, ()):
            attempt(f"a hook of {kind}", hook, *arguments)


def expect_hook(kind: str, hook: Callable[..., Any]) -> None:
    """Refuse what would not do anything when it is called.

    Raises:
        ConfigError: it cannot be called, or has to be awaited.
    """
    try:
        expect_called(hook, f"the hook of {kind}, {getattr(hook, '__qualname__', hook)!r},")
    except CallableImportError as error:
        raise ConfigError(error.message) from None


def attempt(what: str, function: Callable[..., Any], *arguments: object) -> None:
    """Call a function of the user's whose failure changes nothing: it is logged."""
    try:
        function(*arguments)
    except Exception as error:  # noqa: BLE001 - see above
        _log.warning("%s failed, the run goes on: %s: %s", what, type(error).__name__, error, exc_info=error)
