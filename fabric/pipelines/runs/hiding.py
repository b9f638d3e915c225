"""Texts for logs: what a variable of the environment holds that the files name, and keys of models, by their names."""

from __future__ import annotations

__all__ = ["Hiding", "hiding_of"]

import re
from collections.abc import Mapping

from fabric.pipelines.remote.packing import NAMED_MIN
from fabric.pipelines.spec import ModelSpec, Pipeline


class Hiding:
    """Puts names where a text has what they stand for: a server may say the key that it was given in its error.

    Args:
        held: texts by name; what is short is in many texts, and is no secret.
    """

    def __init__(self, held: Mapping[str, str]) -> None:
        self._names = {text: name for name, text in reversed(list(held.items())) if len(text) >= NAMED_MIN}
        longest_first = sorted(self._names, key=lambda text: (-len(text), text))
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, text: object) -> str:
        """Return a text without them. Classes of the user's may raise whatever they are asked for."""
        try:
            said = str(text)
        except Exception:  # noqa: BLE001 - see above
            said = f"a {type(text).__name__} whose text cannot be had"
        return said if self._pattern is None else self._pattern.sub(lambda found: f"${{{self._names[found[0]]}}}", said)


def hiding_of(pipeline: Pipeline, models: Mapping[str, ModelSpec]) -> Hiding:
    """Return what hides the keys of a run; its models are those with what it overrides."""
    keys = {f"models.{name}.api_key": model.api_key for name, model in models.items() if model.api_key}
    return Hiding({**pipeline.env, **keys})
