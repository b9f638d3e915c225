"""Buckets that earlier versions have written are read as they were, for ever."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from golden_bucket import LISTING, listing, write

from fabric.store.file import FileStore
from fabric.store.record import FORMAT

GOLDEN = Path(__file__).parent / "golden"
SESSIONS = sorted(path.parent for path in GOLDEN.glob(f"*/{LISTING}"))


@pytest.mark.parametrize("golden", SESSIONS, ids=lambda path: path.name)
@pytest.mark.parametrize("without", ["", "snap"])
def test_what_a_version_has_written_is_read_as_it_was(golden: Path, without: str, tmp_path: Path):
    """From its snapshot, and from the log alone."""
    bucket = Path(shutil.copytree(golden, tmp_path / "bucket"))
    for snapshots in [*bucket.glob(f"sessions/*/{without}")] if without else []:
        shutil.rmtree(snapshots)
    found = json.loads(json.dumps(listing(FileStore(bucket))))
    assert found == json.loads((golden / LISTING).read_text(encoding="utf-8"))


def test_this_version_has_its_bucket():
    """Which has one of everything."""
    assert [path.name for path in SESSIONS] == [f"v{number}" for number in range(1, FORMAT + 1)]


def test_what_is_written_today_is_what_was_written_then(tmp_path: Path):
    """As long as the format has the same number: else old versions read what they do not know."""
    write(tmp_path)
    golden = GOLDEN / f"v{FORMAT}"
    written = sorted(tmp_path.rglob("*.json"))
    assert len(written) > 20
    for path in written:
        name = path.relative_to(tmp_path)
        assert path.read_text(encoding="utf-8") == (golden / name).read_text(encoding="utf-8"), name
