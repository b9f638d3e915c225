"""Answers of models that are kept in files, for development: one file for each question."""

from __future__ import annotations

__all__ = ["ResponseCache", "cache_key", "canonical"]

import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

_log = logging.getLogger("fabric.pipelines")

_DAY_S = 86_400

_SUFFIX = ".json"


def cache_key(
    provider: str,
    model: str,
    messages: Sequence[Mapping[str, Any]],
    sampling: Mapping[str, Any],
    others: Mapping[str, Any] | None = None,
) -> str:
    """Return what a question is kept by: SHA-256 of all that its answer depends on, as 64 digits.

    Args:
        provider: by name.
        model: by its id.
        messages: all of them.
        sampling: how the model draws.
        others: what else the answer depends on: the server, further parameters.
    """
    said: dict[str, Any] = {
        "provider": provider,
        "model": model,
        "messages": [dict(message) for message in messages],
        "sampling": dict(sampling),
    }
    if others:
        said["others"] = dict(others)
    return hashlib.sha256(canonical(said).encode()).hexdigest()


_cache_key = cache_key


def canonical(value: Any) -> str:
    """Return a text that is the same for the same value, whatever the order of its keys; for any value of YAML."""
    plain = json.loads(json.dumps(value, default=repr))  # keys become texts, which can be sorted
    return json.dumps(plain, sort_keys=True)


class ResponseCache:
    """A directory of answers. Files are written as a whole or not at all, so processes may share it.

    Args:
        directory: is made if it is not there.
        ttl_days: how long an answer is good; ``None``: for ever.
    """

    def __init__(self, directory: str | os.PathLike[str], ttl_days: float | None = None) -> None:
        self.directory = Path(directory)
        self.ttl_days = ttl_days
        self._warned = False
        self.directory.mkdir(parents=True, exist_ok=True)

    def get(
        self,
        provider: str,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        sampling: Mapping[str, Any],
        others: Mapping[str, Any] | None = None,
    ) -> str | None:
        """Return the answer to a question; ``None``: there is none that is good."""
        entry = self.entry(cache_key(provider, model, messages, sampling, others))
        return None if entry is None else entry["response"]

    def set(
        self,
        provider: str,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        sampling: Mapping[str, Any],
        response: str,
        others: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep the answer to a question, in the place of an earlier one."""
        self.keep(cache_key(provider, model, messages, sampling, others), response)

    def invalidate(
        self,
        provider: str,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        sampling: Mapping[str, Any],
        others: Mapping[str, Any] | None = None,
    ) -> bool:
        """Forget the answer to a question. Return whether there was one."""
        return self.forget(cache_key(provider, model, messages, sampling, others))

    def clear(self) -> int:
        """Forget all answers. Return how many there were."""
        count = 0
        for path in sorted(self.directory.glob(f"*{_SUFFIX}")):
            with suppress(FileNotFoundError):
                path.unlink()
                count += 1
        return count

    def entry(self, key: str) -> dict[str, Any] | None:
        """Return what is kept by a key: ``response`` and ``tokens``; ``None``: nothing that is good."""
        path = self._path(key)
        try:
            if self.ttl_days is not None and time.time() - path.stat().st_mtime > self.ttl_days * _DAY_S:
                return None
            entry = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            _log.warning("the kept answer %s cannot be read, so the model is asked: %s", path, error)
            return None
        if not isinstance(entry, dict) or not isinstance(entry.get("response"), str):
            _log.warning("the kept answer %s has no 'response', so the model is asked", path)
            return None
        if not self._warned:
            self._warned = True
            _log.warning("answers are taken from %s instead of a model: for development only", self.directory)
        tokens = entry.get("tokens")
        counted = isinstance(tokens, dict) and all(isinstance(count, int) for count in tokens.values())
        return {"response": entry["response"], "tokens": tokens if counted else None}

    def keep(self, key: str, response: str, tokens: Mapping[str, int] | None = None) -> None:
        """Keep an answer by a key."""
        data = json.dumps({"response": response, "tokens": None if tokens is None else dict(tokens)})
        handle, temporary = tempfile.mkstemp(dir=self.directory, prefix=".", suffix=".tmp")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(data)
            Path(temporary).replace(self._path(key))
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise

    def forget(self, key: str) -> bool:
        """Forget what is kept by a key. Return whether there was something."""
        try:
            self._path(key).unlink()
        except FileNotFoundError:
            return False
        return True

    def _path(self, key: str) -> Path:
        return self.directory / f"{key}{_SUFFIX}"
