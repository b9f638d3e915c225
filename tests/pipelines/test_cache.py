"""Answers that are kept in files."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest

from fabric.pipelines.cache import ResponseCache, cache_key

HELLO = [{"role": "user", "content": "hello"}]


def test_a_key_is_of_all_that_is_said() -> None:
    """The same question has the same key, whatever the order of its parts; any other has another one."""
    key = cache_key("p", "m", HELLO, {"temperature": 0.5, "seed": 1})
    assert key == cache_key("p", "m", [dict(reversed(HELLO[0].items()))], {"seed": 1, "temperature": 0.5})
    assert len(key) == 64
    others = [
        cache_key("q", "m", HELLO, {"temperature": 0.5, "seed": 1}),
        cache_key("p", "n", HELLO, {"temperature": 0.5, "seed": 1}),
        cache_key("p", "m", [*HELLO, *HELLO], {"temperature": 0.5, "seed": 1}),
        cache_key("p", "m", HELLO, {"temperature": 0.9, "seed": 1}),
        cache_key("p", "m", HELLO, {"temperature": 0.5, "seed": 1}, {"base_url": "b"}),
    ]
    assert len({key, *others}) == 6


def test_an_answer_is_kept_and_replaced(tmp_path: Path) -> None:
    """The latest counts; another cache of the same directory sees it."""
    cache = ResponseCache(tmp_path / "a" / "b")
    assert cache.get("p", "m", HELLO, {}) is None
    cache.set("p", "m", HELLO, {}, "one")
    cache.set("p", "m", HELLO, {}, "two")
    assert ResponseCache(tmp_path / "a" / "b").get("p", "m", HELLO, {}) == "two"
    assert len(list((tmp_path / "a" / "b").iterdir())) == 1


def test_answers_are_forgotten(tmp_path: Path) -> None:
    """One by one, or all at once."""
    cache = ResponseCache(tmp_path)
    for name in ("m", "n"):
        cache.set("p", name, HELLO, {}, "x")
    assert [cache.invalidate("p", "m", HELLO, {}) for _ in range(2)] == [True, False]
    assert [cache.clear(), cache.clear()] == [1, 0]


@pytest.mark.parametrize(("ttl_days", "answer"), [(1.0, None), (3.0, "x"), (None, "x")])
def test_an_answer_gets_old(tmp_path: Path, ttl_days: float | None, answer: str | None) -> None:
    """By the time of its file, which here is two days ago."""
    cache = ResponseCache(tmp_path, ttl_days)
    cache.set("p", "m", HELLO, {}, "x")
    (file,) = tmp_path.iterdir()
    then = file.stat().st_mtime - 2 * 86_400
    os.utime(file, (then, then))
    assert cache.get("p", "m", HELLO, {}) == answer


@pytest.mark.parametrize("text", ["", "{", "[]", '{"response": 1}', "\udc80"], ids=repr)
def test_a_file_that_cannot_be_read_is_no_answer(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is said, and the next answer replaces it."""
    cache = ResponseCache(tmp_path)
    (tmp_path / f"{cache_key('p', 'm', HELLO, {})}.json").write_bytes(text.encode(errors="surrogateescape"))
    assert cache.get("p", "m", HELLO, {}) is None
    assert "the model is asked" in caplog.text
    cache.set("p", "m", HELLO, {}, "x")
    assert cache.get("p", "m", HELLO, {}) == "x"


def test_the_first_answer_that_is_taken_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Once for each directory: a cache is for development."""
    cache = ResponseCache(tmp_path)
    cache.set("p", "m", HELLO, {}, "x")
    for _ in range(3):
        cache.get("p", "m", HELLO, {})
    said = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == 1
    assert "development" in said[0].getMessage()


def test_tokens_that_are_none_are_not_counted(tmp_path: Path) -> None:
    """Somebody may have edited the file; its answer is good all the same."""
    cache = ResponseCache(tmp_path)
    key = cache_key("p", "m", HELLO, {})
    (tmp_path / f"{key}.json").write_text('{"response": "x", "tokens": {"total_tokens": "many"}}')
    assert cache.entry(key) == {"response": "x", "tokens": None}


def test_files_are_whole(tmp_path: Path) -> None:
    """What is in a file is JSON with the answer and its tokens."""
    cache = ResponseCache(tmp_path)
    key = cache_key("p", "m", HELLO, {})
    cache.keep(key, "x", {"total_tokens": 3})
    assert json.loads((tmp_path / f"{key}.json").read_text()) == {"response": "x", "tokens": {"total_tokens": 3}}
    assert cache.entry(key) == {"response": "x", "tokens": {"total_tokens": 3}}
