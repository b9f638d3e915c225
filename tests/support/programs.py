"""Chunked programs: files that hold many, each with what is expected of it; see tests/programs/README.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fabric.compiler import Library
from fabric.lang.modules import Found, Missing
from fabric.lang.source import Source
from fabric.wire.lines import DATA

PROGRAMS = Path(__file__).parent.parent / "programs"
MARK = re.compile(r"\(\*! ([EW]\d{4}) ?(.*?) ?\*\)")
RUN_MARK = re.compile(r"\(\*(<<|<|>~|>!|>) ?(.*?) ?\*\)")
PORT = re.compile(r"([a-z]\w*): ")
FAILURE = re.compile(r"(?:(\d) )?(\w+) ?(.*)")


class Expected(NamedTuple):
    """What a port is expected to give: JSON texts, and whether their order is determined."""

    values: tuple[str, ...]
    ordered: bool


class Run(NamedTuple):
    """How a program is run.

    Attributes:
        lines: of its input.
        outputs: by port; ``DATA`` is the only one.
        failure: exit code, error code and words of the message; None if it ends well.
    """

    lines: tuple[str, ...]
    outputs: dict[str, Expected]
    failure: tuple[int, str, str] | None


def canonical(value: Any) -> str:
    """Return a value as text that tells 1 from 1.0 and from true, and knows no order of keys."""
    return json.dumps(value, sort_keys=True)


class Chunk:
    """One program. ``source`` is its main file, ``files`` are those that it uses, by path."""

    def __init__(self, text: str, path: str) -> None:
        main, *others = re.split(r"(?m)^--- (\S+)\n", text)
        self.source = Source(path, main.rstrip("\n"))
        self.files = dict(zip(others[::2], others[1::2], strict=True))

    def find(self, name: str, *, is_path: bool, importer: str) -> Found | Missing:
        """Return one of the files, or a module that is installed."""
        path = name.removeprefix("./") if is_path else f"{name}.plumb"
        if path in self.files:
            return Found(path, self.files[path])
        return Library().find(name, is_path=is_path, importer=importer)

    def marks(self) -> list[tuple[str, int, str, str]]:
        """Return what is expected: file, line, code, words of the message."""
        texts = {self.source.path: self.source.text, **self.files}
        return [
            (path, number, code, words)
            for path, text in texts.items()
            for number, line in enumerate(text.split("\n"), 1)
            for code, words in MARK.findall(line)
        ]

    def run(self) -> Run | None:
        """Return how the program is run; None if it is only checked."""
        marks = RUN_MARK.findall(self.source.text)
        lines: list[str] = []
        outputs: dict[str, Expected] = {}
        failure = None
        for sign, text in marks:
            match sign:
                case "<<":
                    lines.append(text)
                case "<":
                    port, values = _port_and_values(text)
                    given = values if port == DATA else [{"__port": port, "msg": value} for value in values]
                    lines += map(json.dumps, given)
                case ">!":
                    found = FAILURE.fullmatch(text)
                    assert found is not None
                    failure = int(found[1] or 1), found[2], found[3]
                case _:
                    port, values = _port_and_values(text)
                    before = outputs.get(port, Expected((), True))
                    texts = (*before.values, *map(canonical, values))
                    outputs[port] = Expected(texts, before.ordered and sign == ">")
        return Run(tuple(lines), outputs, failure) if marks else None

    def write(self, folder: Path) -> Path:
        """Write all files into a folder; return the path of the main one."""
        for path, text in {"program.plumb": self.source.text, **self.files}.items():
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8")
            if text.startswith("#!"):
                place.chmod(0o755)
        return folder / "program.plumb"


def _port_and_values(text: str) -> tuple[str, list[Any]]:
    port = PORT.match(text)
    return (port[1], list(_values(text[port.end() :]))) if port else (DATA, list(_values(text)))


def _values(text: str) -> Iterator[Any]:
    """Yield the JSON values of a text, which spaces separate."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        value, end = decoder.raw_decode(text, at)
        assert end == len(text) or text[end] == " ", text
        yield value
        at = end + 1


def chunks() -> dict[str, Chunk]:
    """Return all programs, by file and line."""
    found = {}
    for path in sorted(PROGRAMS.glob("*.plumb")):
        line = 1
        for text in re.split(r"(?m)^---\n", path.read_text(encoding="utf-8")):
            found[f"{path.stem}:{line}"] = Chunk(text, f"{path.name}+{line}")
            line += text.count("\n") + 1
    return found
