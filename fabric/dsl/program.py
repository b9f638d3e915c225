"""A program that is built in Python, and what is done with it."""

from __future__ import annotations

__all__ = ["Program"]

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fabric.dsl.declarations import Declarations
from fabric.dsl.tracing import BuiltCheckError, traced
from fabric.errors import CheckError, ConfigError
from fabric.lang import syntax
from fabric.lang.source import Source

if TYPE_CHECKING:  # to render a program takes neither loop nor sockets
    from fabric.client.approving import Approve
    from fabric.client.pipeline import Pipeline
    from fabric.client.results import CheckResult


class Program(Declarations):
    """A program of the language, built in Python.

    ``let``, ``type``, ``protocol``, ``use`` and ``raw`` add to it. It is rendered when it is needed: it may grow.

    Args:
        directory: what the program names (prompts, scripts, modules, other programs) is relative to it. Left out, the
            working directory.
    """

    def check(
        self,
        search_path: Iterable[str | Path] | None = None,
        binary: str | None = None,
        *,
        env: Mapping[str, str] | None = None,
    ) -> CheckResult:
        """Check the program; nothing is started. Arguments as of :func:`fabric.check`.

        Raises:
            BuiltCheckError: it does not check. Says where in the text, and where in Python that was built.
        """
        from fabric.client.results import check

        tree, source = self._rendered()
        with _tracing(tree, source):
            result = check(source, search_path, binary, env=env)
        return msgspec.structs.replace(result, warnings=traced(result.warnings, tree, source)[0])

    async def call(
        self,
        input: object,  # noqa: A002
        auto_approve: bool = False,
        search_path: Iterable[str | Path] | None = None,
        binary: str | None = None,
        env: Mapping[str, str] | None = None,
        *,
        port: str | None = None,
        approve: Approve | None = None,
    ) -> list[Any]:
        """Run it on one message and return all outputs. Arguments and errors as of :func:`fabric.call`."""
        from fabric.client.calls import call

        tree, source = self._rendered()
        with _tracing(tree, source):
            return await call(source, input, auto_approve, search_path, binary, env, port=port, approve=approve)

    def call_sync(
        self,
        input: object,  # noqa: A002
        auto_approve: bool = False,
        search_path: Iterable[str | Path] | None = None,
        binary: str | None = None,
        env: Mapping[str, str] | None = None,
        *,
        port: str | None = None,
        approve: Approve | None = None,
    ) -> list[Any]:
        """Do as :meth:`call`, and wait for it."""
        from fabric.client.calls import call_sync

        tree, source = self._rendered()
        with _tracing(tree, source):
            return call_sync(source, input, auto_approve, search_path, binary, env, port=port, approve=approve)

    async def run(
        self,
        auto_approve: bool = False,
        verbose: bool = True,
        search_path: Iterable[str | Path] | None = None,
        binary: str | None = None,
        env: Mapping[str, str] | None = None,
        *,
        extra: Iterable[str] = (),
        approve: Approve | None = None,
    ) -> Pipeline:
        """Start it, ready to be sent messages. Arguments and errors as of :func:`fabric.run`."""
        from fabric.client.calls import run

        tree, source = self._rendered()
        with _tracing(tree, source):
            return await run(source, auto_approve, verbose, search_path, binary, env, extra=extra, approve=approve)

    def _repr_svg_(self) -> str | None:
        """Show its graph in a notebook; nothing if it does not check yet."""
        result = self._sound()
        return None if result is None else result._repr_svg_()

    def _repr_html_(self) -> str | None:
        """Show it as an image, with what the checker remarked."""
        result = self._sound()
        return None if result is None else result._repr_html_()

    def _sound(self) -> CheckResult | None:
        try:
            return self.check()
        except (CheckError, ConfigError):
            return None


@contextmanager
def _tracing(tree: syntax.Program, source: Source) -> Iterator[None]:
    """Say of what does not check where it was built."""
    try:
        yield
    except CheckError as error:
        raise BuiltCheckError(*traced(error.diagnostics, tree, source)) from None
