"""What `session push` pushes: its bytes, what they are, and how they are stored."""

from __future__ import annotations

__all__ = ["check_text", "compress", "guess_type", "read_body", "read_metadata", "write_bytes"]

import gzip
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from fabric.cli.entry_lines import escape, is_text
from fabric.cli.report import print_line
from fabric.errors import ConfigError, OutputClosed

ENCODINGS = ("gzip", "zstd")


def read_body(said: str | None, file: Path | None) -> bytes:
    """Return the bytes that are to be pushed: of the argument, of a file, or else of stdin; none is left out or added.

    Raises:
        ConfigError: both are given, or the file cannot be read; or stdin is empty, as it is where nobody has sent
            anything: who means an empty body says so.
    """
    if said not in (None, "-"):
        if file is not None:
            raise ConfigError("the body is given twice, as an argument and with --file: give one of them")
        assert said is not None
        return os.fsencode(said)
    try:
        if file is not None and str(file) != "-":
            return file.read_bytes()
        if os.isatty(0):
            print_line("the body is read from here: type it, and Ctrl-D at the start of a line ends it")
        body = sys.stdin.buffer.read()
    except OSError as error:
        raise ConfigError(f"cannot read {file or 'stdin'}: {error.strerror}") from None
    if not body:
        raise ConfigError("stdin is empty, and nothing was pushed: an empty body is pushed by fabric session push ''")
    return body


def guess_type(body: bytes) -> str:
    """Return the content type of a body of which nobody says it: JSON, else text in UTF-8, else just bytes."""
    text = is_text(body)
    if text is None:
        return "application/octet-stream"
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return "text/plain"
    return "application/json"


def compress(body: bytes, encoding: str | None) -> bytes:
    """Return a body as it is to be stored: equal bytes give equal bytes, so that a push can be said again.

    Raises:
        ConfigError: there is no such encoding.
    """
    if encoding is None:
        return body
    if encoding == "gzip":
        return gzip.compress(body, mtime=0)
    if encoding == "zstd":
        import zstandard

        return zstandard.ZstdCompressor().compress(body)
    raise ConfigError(f"--encoding {encoding}: expected {' or '.join(ENCODINGS)}")


def read_metadata(pairs: Iterable[str], flag: str) -> dict[str, str]:
    """Return what ``k=v`` says, of each.

    Raises:
        ConfigError: one is no such pair, or says of a name what another says, too.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not (name and sign):
            raise ConfigError(f"{flag} {pair}: expected NAME=VALUE")
        if name in found:
            raise ConfigError(f"{flag} {pair}: {name!r} is given twice")
        found[name] = value
    check_text({f"{flag} {name}=": f"{name}{value}" for name, value in found.items()})
    return found


def check_text(said: Mapping[str, str]) -> None:
    """Check that what flags say is text: a command line may have any bytes.

    Raises:
        ConfigError: one is none; it is named.
    """
    for flag, text in said.items():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ConfigError(f"{escape(flag)}: expected UTF-8 text, got {text!r}") from None


def write_bytes(body: bytes) -> None:
    """Write a body to stdout, as it is. Who reads may have seen enough, which is no failure.

    Raises:
        OutputClosed: it cannot be written for another reason.
    """
    view = memoryview(body)
    try:
        while view:
            view = view[os.write(1, view) :]
    except BrokenPipeError:
        pass
    except OSError as error:
        raise OutputClosed(f"cannot write the output: {error.strerror}") from None
