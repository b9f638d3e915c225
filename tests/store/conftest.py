"""Buckets that tests of stores and of what rests on them are run with."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_server import BUCKET, environment, serve_s3

from fabric.store.file import FileStore
from fabric.store.memory import MemoryStore
from fabric.store.objects import ObjectStore
from fabric.store.opening import open_store

KINDS = ("memory", "file", "file without links", "s3")


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    """A server that speaks S3, for all tests of a run."""
    with serve_s3() as port:
        yield port


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """An empty bucket of each kind."""
    return open_kind(request, tmp_path, monkeypatch)


def open_kind(request: pytest.FixtureRequest, directory: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """Return an empty bucket of the kind that a test is run with."""
    if request.param == "memory":
        return MemoryStore()
    if request.param == "file":
        return FileStore(directory / "bucket")
    if request.param == "file without links":
        return FileStore(directory / "bucket", link=refuse_links)
    for name, value in environment(request.getfixturevalue("s3_port")).items():
        monkeypatch.setenv(name, value)
    return open_store(f"s3://{BUCKET}/{secrets.token_hex(4)}")


def refuse_links(source: str, target: str) -> None:
    """Do as a file system without hard links does."""
    raise PermissionError(1, "Operation not permitted", source, None, target)
