"""URLs of buckets, and buckets that do not do."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabric.errors import BucketUnfit, ConfigError
from fabric.store.file import FileStore
from fabric.store.memory import MemoryStore
from fabric.store.opening import SCHEMES, open_store
from fabric.store.probe import PROBED_KEY, probe


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("file:///var/x", "/var/x"), ("file://localhost/var/x", "/var/x"), ("file:///a%20b", "/a b"),
        ("file:/var/x", "/var/x"), ("file:x/y", "HERE/x/y"), ("file:~/x", "HOME/x"), ("/var/x", "/var/x"),
        ("x/y", "HERE/x/y"), ("./a:b", "HERE/a:b"), ("~/x", "HOME/x"), ("a%20b", "HERE/a%20b"),
    ],
)  # fmt: skip
def test_an_url_or_a_path_names_a_directory(url: str, root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Relative ones are seen from here; only an URL has escapes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    store = open_store(url)
    assert isinstance(store, FileStore)
    assert str(store.root) == root.replace("HERE", str(tmp_path)).replace("HOME", "/home/me")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("file://host/x", "expected file:///PATH, got the host 'host'"),
        ("file:", "expected the path of a directory"),
        ("", "expected the path of a directory"),
        ("~nobody-of-that-name/x", "bucket ~nobody-of-that-name/x: "),
        ("s4://b", "there is no scheme 's4'; did you mean s3:?"),
        ("quux:b", "there is no scheme 'quux'; expected file, memory, s3, gs, az; ./quux:b would be a path"),
    ],
)
def test_what_cannot_be_meant_is_refused(url: str, message: str):
    """With what is expected."""
    with pytest.raises(ConfigError) as refused:
        open_store(url)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "url",
    ["s3://me:hidden@b/p", "s3://me:hid/hidden@b", "az://c/p?sig=hidden", "s3a://k:hidden@b", "file://me:hidden@h/x",
     "quux:b#hidden", "gs://b?hidden\nhidden"],
)  # fmt: skip
def test_a_refused_url_is_told_without_what_is_secret(url: str):
    """It is often refused for the very reason that there is a password in it."""
    with pytest.raises(ConfigError, match=r"\*\*\*") as refused:
        open_store(url)
    assert "hid" not in str(refused.value)


def test_memory_with_a_name_is_the_same_everywhere_in_a_process():
    """Without one it is new each time."""
    assert open_store("memory:test-opening") is open_store("memory://test-opening/")
    assert open_store("memory:test-opening") is not open_store("memory:test-opening-2")
    assert open_store("memory:") is not open_store("memory:")


def test_programs_bring_their_own_buckets(monkeypatch: pytest.MonkeyPatch):
    """By a scheme of theirs."""
    monkeypatch.setitem(SCHEMES, "mine", lambda url: MemoryStore(url))
    assert open_store("mine:x").url == "memory:mine:x"


class _Careless(MemoryStore):
    """Ignores the condition, as some gateways do."""

    def create(self, key: str, body: bytes) -> bool:
        self.delete(key)
        return super().create(key, body)


class _Forgetful(MemoryStore):
    """Does not find what was just created."""

    def get(self, key: str) -> bytes | None:
        return None


class _Blind(MemoryStore):
    """Does not list what was just created."""

    def list(self, prefix: str, after: str = "") -> list[str]:
        return []


@pytest.mark.parametrize(
    ("store", "message"),
    [
        (_Careless(), r"the key fabric/probe/\w+ could be created twice: it ignores the condition of a create"),
        (_Forgetful(), "could not be read after it was created"),
        (_Blind(), "was not listed after it was created"),
    ],
)
def test_a_bucket_that_does_not_keep_its_promise_is_refused(store: MemoryStore, message: str):
    """And is asked again the next time: somebody may have mended it. Nothing of the trial stays."""
    for _ in range(2):
        with pytest.raises(BucketUnfit, match=message):
            probe(store)
    assert MemoryStore.list(store, "") == []
    assert MemoryStore.get(store, PROBED_KEY) is None
