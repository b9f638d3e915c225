"""Files of templates: below the directory of the pipeline, each read once."""

from __future__ import annotations

__all__ = ["TEMPLATE_BYTES_MAX", "Below"]

import posixpath
from collections.abc import Callable
from pathlib import Path
from typing import Final

from jinja2 import BaseLoader, Environment, TemplateNotFound

from fabric.pipelines.errors import PipelineLoadError

TEMPLATE_BYTES_MAX: Final = 4 * 2**20
"""Of one file. A prompt with hundreds of examples has a tenth of it."""


class Below(BaseLoader):
    """The templates below a directory, by their paths from there."""

    def __init__(self, root: Path) -> None:
        self._given = root
        self._root = root.resolve()
        self._texts: dict[str, str] = {}

    def name_of(self, path: Path) -> str:
        """Return the name of a file that was read."""
        return path.resolve().relative_to(self._root).as_posix()

    def path_of(self, name: str) -> str:
        """Return the path of a template, as the directory was given."""
        return str(self._given / name)

    def read(self, path: Path) -> str:
        """Return the text of a file.

        Raises:
            PipelineLoadError: it is not there, not below the directory, too large, or no text.
        """
        full = self._resolved(path)
        if not full.is_relative_to(self._root):
            raise PipelineLoadError(
                f"template {str(path)!r} is not below the directory of the pipeline, {str(self._given)!r}"
            )
        try:
            if full.stat().st_size > TEMPLATE_BYTES_MAX:
                raise PipelineLoadError(
                    f"a template has at most {TEMPLATE_BYTES_MAX:,} bytes, this one has {full.stat().st_size:,}",
                    str(path),
                )
            return full.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise PipelineLoadError(f"template {str(path)!r} is not there") from error
        except UnicodeDecodeError as error:
            raise PipelineLoadError(f"a template is UTF-8: {error}", str(path)) from error
        except OSError as error:
            raise PipelineLoadError(f"template {str(path)!r} cannot be read: {error.strerror}") from error

    @staticmethod
    def _resolved(path: Path) -> Path:
        try:
            return path.resolve()
        except (OSError, ValueError) as error:  # no file can have such a name
            raise PipelineLoadError(f"template {str(path)[:80]!r} is not there: {error}") from error

    def _is_file(self, name: str) -> bool:
        try:
            return (self._root / name).is_file()
        except (OSError, ValueError):
            return False

    def beside(self, name: str, parent: str) -> str:
        """Return the name of a template that another one names: from the directory of the pipeline, or beside it."""
        if not parent or self._is_file(name):
            return name
        return posixpath.normpath(posixpath.join(posixpath.dirname(parent), name))

    def get_source(self, environment: Environment, template: str) -> tuple[str, str | None, Callable[[], bool] | None]:
        """Return the text of a template, for Jinja."""
        if template not in self._texts:
            try:
                self._texts[template] = self.read(self._root / template)
            except PipelineLoadError as error:
                raise TemplateNotFound(template, error.message) from error
        return self._texts[template], template, lambda: True
