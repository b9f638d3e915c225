"""Variables of the environment in files: ``${NAME}``, ``${NAME:-default}``, and ``.env`` beside the pipeline."""

from __future__ import annotations

__all__ = ["EXPANDED_CHARS_MAX", "Expander", "read_dotenv", "with_dotenv"]

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from fabric.pipelines.errors import PipelineLoadError
from fabric.pipelines.loading.document import decode, is_file, read_limited
from fabric.pipelines.loading.nodes import Entry, Items, Node, Scalar
from fabric.pipelines.loading.problems import Problems

# Of all values of a file together: a short file that names a long variable often is large, too.
EXPANDED_CHARS_MAX = 16 * 1024 * 1024
_DOTENV_BYTES_MAX = 1024 * 1024

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.]*)\s*=(.*)")
_QUOTED = re.compile(r"""'((?:[^'\\]|\\.)*)'\s*(?:\#.*)?|"((?:[^"\\]|\\.)*)"\s*(?:\#.*)?""")
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}


def read_dotenv(text: str) -> Iterator[tuple[str, str]]:
    """Return names and values of a ``.env`` file; a line that is no ``NAME=VALUE`` says nothing."""
    for line in text.splitlines():
        found = _ASSIGNMENT.fullmatch(line)
        if found is None or line.lstrip().startswith("#"):
            continue
        name, value = found[1], found[2].strip()
        quoted = _QUOTED.fullmatch(value)
        if quoted is None:
            yield name, re.split(r"(?:^|\s)#", value, maxsplit=1)[0].rstrip()
        elif quoted[1] is not None:
            yield name, quoted[1].replace("\\'", "'").replace("\\\\", "\\")
        else:
            yield name, _ESCAPE.sub(lambda escape: _ESCAPED.get(escape[1], escape[1]), quoted[2])


def with_dotenv(environment: Mapping[str, str], directory: Path, problems: Problems) -> dict[str, str]:
    """Return variables and, where there are none, those of ``.env``: of a directory, then of the working directory."""
    found = dict(environment)
    for place in dict.fromkeys((directory / ".env", Path(".env"))):
        if not is_file(place):
            continue
        try:
            text = decode(read_limited(place, str(place), _DOTENV_BYTES_MAX), str(place))
        except PipelineLoadError as error:
            problems.warn(error.message, error, file=str(place))
            continue
        for name, value in read_dotenv(text):
            found.setdefault(name, value)
    return found


class Expander:
    """Puts variables into the values of a tree.

    Args:
        environment: the variables.
        problems: are told when it is too much.

    Attributes:
        names: all that the file names, each once, in order.
        missing: those without a default that are not set, and where. They are left in place as they are written.
    """

    def __init__(self, environment: Mapping[str, str], problems: Problems) -> None:
        self.names: dict[str, None] = {}
        self.missing: dict[str, Scalar] = {}
        self._environment = environment
        self._problems = problems
        self._chars = 0

    def expand(self, node: Node) -> Node:
        """Return a tree with the variables put in. Keys stay as they are."""
        if isinstance(node, Scalar):
            return self._scalar(node)
        if isinstance(node, Items):
            items = tuple(self.expand(item) for item in node.items)
            return node if all(map(_same, items, node.items)) else msgspec.structs.replace(node, items=items)
        entries = {key: Entry(entry.key, self.expand(entry.value)) for key, entry in node.entries.items()}
        if all(entries[key].value is entry.value for key, entry in node.entries.items()):
            return node
        return msgspec.structs.replace(node, entries=entries)

    def _scalar(self, node: Scalar) -> Scalar:
        if not isinstance(node.value, str) or "${" not in node.value:
            return node
        text = self._text(node.value, node)
        return msgspec.structs.replace(node, value=text, expanded=text != node.value)

    def _text(self, text: str, node: Scalar) -> str:
        parts, end = [], 0
        # Behind the last brace there is none, and looking for its end would take quadratic time.
        for found in _VARIABLE.finditer(text, 0, text.rfind("}") + 1):
            parts.append(text[end : found.start()])
            parts.append(self._variable(found, node))
            end = found.end()
            self._chars += len(parts[-1])
            if self._chars > EXPANDED_CHARS_MAX:
                raise PipelineLoadError(
                    f"with its variables put in, the file has more than {EXPANDED_CHARS_MAX:,} characters",
                    self._problems.file,
                    node.line,
                    node.column,
                )
        return "".join([*parts, text[end:]])

    def _variable(self, found: re.Match[str], node: Scalar) -> str:
        name, default = found[1], found[2]
        self.names[name] = None
        value = self._environment.get(name)
        if value is not None and (value or default is None):
            return value
        if default is not None:
            return default
        self.missing.setdefault(name, node)
        return found[0]


def _same(one: Node, other: Node) -> bool:
    return one is other
