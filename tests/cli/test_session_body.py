"""What is pushed: what it is taken for, and how it is stored."""

from __future__ import annotations

import gzip

import pytest
import zstandard

from fabric.cli.session_body import compress, guess_type, read_metadata
from fabric.errors import ConfigError


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"kind":"input","text":"hello"}\n', "application/json"),
        (b" 42 ", "application/json"),
        (b"null", "application/json"),
        (b'"\xc3\xa9"', "application/json"),
        (b"go", "text/plain"),
        (b"", "text/plain"),
        (b"{} {}", "text/plain"),
        (b"NaN", "text/plain"),
        (b"[" * 100_000, "text/plain"),
        ("Schrödinger\r\n".encode(), "text/plain"),
        (b"\xff\xfe", "application/octet-stream"),
        (b"a\0b", "application/octet-stream"),
        ("é".encode("latin-1"), "application/octet-stream"),
    ],
)
def test_a_body_is_taken_for_what_it_can_be(body: bytes, kind: str):
    """JSON, else text in UTF-8, else bytes."""
    assert guess_type(body) == kind


@pytest.mark.parametrize("body", [b"", b"x", bytes(range(256)) * 300])
def test_a_stored_body_can_be_decoded_and_is_the_same_each_time(body: bytes):
    """Or a push that is said again would be another one."""
    assert compress(body, None) == body
    assert gzip.decompress(compress(body, "gzip")) == body
    assert zstandard.ZstdDecompressor().decompress(compress(body, "zstd")) == body
    assert compress(body, "gzip") == compress(body, "gzip")


def test_an_encoding_that_nobody_decodes_is_refused():
    """Handlers would take it for the body itself."""
    with pytest.raises(ConfigError, match="--encoding br: expected gzip or zstd"):
        compress(b"", "br")


def test_metadata_are_pairs():
    """A value may have a sign of its own, or be empty."""
    assert read_metadata(["a=b=c", "d="], "--meta") == {"a": "b=c", "d": ""}


@pytest.mark.parametrize("pairs", [["a"], ["=b"], [""], ["a=1", "a=2"], ["a=\udcff"]])
def test_what_is_no_pair_is_refused(pairs: list[str]):
    """With the flag that said it."""
    with pytest.raises(ConfigError, match="--meta"):
        read_metadata(pairs, "--meta")
