"""Dead letters on disk: what was added is there, what was dropped is gone, whatever happens in between."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.errors import ConfigError
from fabric.runtime.dead_letters import SMALL_BYTES, DeadLetters, Letter, dead_directory


def letter(id_: int, worker: str = "judge", payload: bytes = b'{"a":1}') -> Letter:
    return Letter(id_, worker, "poison", "boom", 3, "2026-11-21T11:00:00Z", "2026-11-21T10:00:00Z", "ab" * 16,
                  msgspec.Raw(payload), ("last", "words"))  # fmt: skip


def line(*arguments: Any, **more: Any) -> bytes:
    return msgspec.json.encode(letter(*arguments, **more)) + b"\n"


def ids(letters: DeadLetters) -> list[int]:
    with letters.open() as found:
        return list(found.heads)


@pytest.fixture
def letters(tmp_path: Path) -> DeadLetters:
    return DeadLetters(dead_directory(tmp_path, "demo"))


def test_where_none_ever_was_there_is_none(letters: DeadLetters):
    """And looking makes no files."""
    with letters.open() as found:
        assert (found.heads, found.last_id, found.damaged) == ({}, 0, 0)
    assert letters.drop(lambda _: True) == []
    assert not letters.directory.exists()


def test_what_was_added_is_read_back(letters: DeadLetters):
    """Whole, by its number, and told by its worker."""
    assert letters.add([line(1), line(2, "critic", payload=b'"\xc3\xa9"')]) == (2, None)
    with letters.open() as found:
        assert [(head.id, head.worker) for head in found.heads.values()] == [(1, "judge"), (2, "critic")]
        assert found.read(found.heads[2]) == letter(2, "critic", b'"\xc3\xa9"')


def test_nobody_else_may_read_them(letters: DeadLetters):
    """They are the user's data."""
    letters.add([line(1)])
    letters.drop(lambda _: False)
    modes = [path.stat().st_mode for path in (letters.directory.parent, letters.directory)]
    assert [stat.S_IMODE(mode) for mode in modes] == [0o700, 0o700]
    assert {stat.S_IMODE(path.stat().st_mode) for path in letters.directory.iterdir()} == {0o600}


def test_the_last_line_of_a_number_counts(letters: DeadLetters):
    """A letter that is one again keeps its number."""
    letters.add([line(1), line(2), line(1, payload=b"7")])
    with letters.open() as found:
        assert list(found.heads) == [1, 2]
        assert bytes(found.read(found.heads[1]).payload) == b"7"


def test_what_was_dropped_is_gone_from_the_disk(letters: DeadLetters):
    """Its number is not used again."""
    letters.add([line(1), line(2, payload=b'"secret"')])
    assert [head.id for head in letters.drop(lambda head: head.id == 2)] == [2]
    assert ids(letters) == [1]
    assert not any(b"secret" in path.read_bytes() for path in letters.directory.iterdir())
    with letters.open() as found:
        assert found.last_id == 2


def test_what_was_struck_out_of_a_small_log_is_gone_from_the_disk(letters: DeadLetters):
    """Of a large one when most of it is useless."""
    letters.add([line(1, payload=b'"secret"'), line(2)])
    letters.strike([1])
    log = letters.directory / "letters.jsonl"
    assert ids(letters) == [2]
    assert b"secret" not in log.read_bytes()
    large = b'"' + b"x" * SMALL_BYTES + b'"'
    letters.add([line(id_, payload=large) for id_ in (3, 4, 5)])
    letters.strike([3])
    assert (ids(letters), log.stat().st_size > 3 * SMALL_BYTES) == ([2, 4, 5], True)
    letters.strike([4])
    assert (ids(letters), log.stat().st_size < 2 * SMALL_BYTES) == ([2, 5], True)


def test_a_line_that_a_kill_cut_hides_no_other(letters: DeadLetters):
    """It is counted once something was written behind it."""
    letters.add([line(1)])
    log = letters.directory / "letters.jsonl"
    log.write_bytes(log.read_bytes() + line(2)[:20])
    with letters.open() as found:
        assert (list(found.heads), found.damaged) == ([1], 0)  # it may be being written
    assert letters.add([line(2)]) == (1, None)
    with letters.open() as found:
        assert (list(found.heads), found.damaged) == ([1, 2], 1)


def test_a_full_log_takes_what_fits_and_says_how_to_make_room(tmp_path: Path):
    """What was taken is whole."""
    letters = DeadLetters(tmp_path / "dead" / "demo", 2 * len(line(1)))
    written, error = letters.add([line(1), line(2), line(3)])
    assert written == 2
    assert error is not None
    assert "fabric dead drop makes room" in str(error)
    assert ids(letters) == [1, 2]
    letters.drop(lambda head: head.id == 1)
    assert letters.add([b"\n"]) == (1, None)


def test_a_place_that_cannot_be_written_is_an_error_and_no_exception(tmp_path: Path):
    """Nothing is written."""
    (tmp_path / "dead").write_text("a file where a folder should be")
    letters = DeadLetters(tmp_path / "dead" / "demo")
    written, error = letters.add([line(1)])
    assert (written, isinstance(error, OSError)) == (0, True)


def test_a_log_that_cannot_be_read_says_which(letters: DeadLetters):
    """A folder of its name."""
    (letters.directory / "letters.jsonl").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"cannot read .*letters\.jsonl"):
        letters.open()


def test_a_letter_that_somebody_has_spoiled_is_told_by_its_number(letters: DeadLetters):
    """The others can be read."""
    letters.add([b'{"id":1,"worker":"judge"}\n', line(2)])
    with letters.open() as found:
        with pytest.raises(ConfigError, match="dead letter 1 cannot be read"):
            found.read(found.heads[1])
        assert found.read(found.heads[2]) == letter(2)


STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "strike", "drop"]), st.integers(1, 6)), min_size=1, max_size=12
)  # fmt: skip


@settings(max_examples=30)
@given(steps=STEPS)
def test_it_holds_what_a_set_would(steps: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory):
    """Whatever is added, struck out and dropped, and the highest number is remembered."""
    letters, model, last = DeadLetters(tmp_path_factory.mktemp("d") / "dead" / "demo"), set(), 0
    for step, id_ in steps:
        if step == "add":
            letters.add([line(id_)])
            model.add(id_)
            last = max(last, id_)
        else:
            if step == "strike":
                letters.strike([id_])
                last = max(last, id_)
            else:
                letters.drop(lambda head, wanted=id_: head.id == wanted)
            model.discard(id_)
        with letters.open() as found:
            assert (list(found.heads), found.last_id) == (sorted(model), last)
