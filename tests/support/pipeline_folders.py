"""Folders with a pipeline, as somebody would write them, and a model that plays answers and keeps what it hears."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fabric.pipelines import register_provider

_NUMBERS = itertools.count(1)

PROMPT = "Read this and answer in JSON: {{ ctx.text }}\n"


def folder_of(folder: Path, pipeline: str, files: Mapping[str, str] | None = None) -> Path:
    """Write a pipeline and the files beside it, and return its path. There is a prompt if none is given."""
    texts = {"prompts/extract.j2": PROMPT, **(files or {}), "pipeline.yaml": pipeline}
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"))
    return folder / "pipeline.yaml"


def mock(*replies: str, name: str = "default") -> str:
    """Return a block of models with one that plays these answers, to stand in front of ``steps``."""
    played = "".join(f"      - {reply!r}\n" for reply in replies)
    return f"models:\n  {name}:\n    provider: mock\n    model: played\n    mock_responses:\n{played}"


class Tape:
    """A client that plays answers, the last one over and over, and raises those that are exceptions.

    Args:
        replies: the answers.
        concurrent: whether it says of itself that it may be asked several questions at once.

    Attributes:
        provider: its name in a pipeline.
        calls: what it was asked.
        made: keyword arguments of each client that was made.
    """

    def __init__(self, *replies: str | Exception, concurrent: bool = False) -> None:
        self._replies = replies
        self.calls: list[dict[str, Any]] = []
        self.made: list[dict[str, Any]] = []
        self.chat = SimpleNamespace(completions=self)
        self.provider = f"tape{next(_NUMBERS)}"

        @register_provider(self.provider, concurrent=concurrent)
        def make(**settings: Any) -> Tape:
            self.made.append(settings)
            return self

    def create(self, **request: Any) -> Any:
        """Play the next answer."""
        self.calls.append(request)
        reply = self._replies[min(len(self.calls), len(self._replies)) - 1]
        if isinstance(reply, Exception):
            raise reply
        choice = SimpleNamespace(message=SimpleNamespace(content=reply), finish_reason="stop")
        usage = SimpleNamespace(prompt_tokens=7, completion_tokens=3, total_tokens=10)
        return SimpleNamespace(choices=[choice], usage=usage)

    @property
    def prompts(self) -> list[str]:
        """The last message of each question."""
        return [call["messages"][-1]["content"] for call in self.calls]

    def block(self, more: str = "") -> str:
        """Return a block of models with it as ``default``, to stand in front of ``steps``."""
        rest = textwrap.indent(textwrap.dedent(more), "    ")
        return f"models:\n  default:\n    provider: {self.provider}\n    model: taped\n    retry_delay: 0\n{rest}"
