"""Where bodies are, and how they are encoded.

What fetches and decodes is imported when the first body is asked for: many decisions need none.
"""

from __future__ import annotations

__all__ = ["BODY_TIMEOUT_S", "decoded", "fetched", "quoted"]

import sys

BODY_TIMEOUT_S = 60.0
"""How long the server of a body may be silent, in seconds. It is on this machine, or a bucket's."""

_REFUSED_PAUSES_S = (0.1, 0.2)
"""How long to wait after the first and the second refused connection: the server may be about to start anew."""


def fetched(url: str, timeout_s: float) -> bytes:
    """Return what is behind an URL: ``http:``, ``https:``, ``file:`` or ``data:``. Redirects are followed.

    Raises:
        OSError: it is not there, its server is not, or was silent for ``timeout_s``.
    """
    import time
    import urllib.error
    import urllib.request

    request = urllib.request.Request(url, headers=_trace_headers())  # noqa: S310 - the runtime named it
    for pause_s in (*_REFUSED_PAUSES_S, None):
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as response:  # noqa: S310
                body: bytes = response.read()
                return body
        except urllib.error.URLError as error:
            if pause_s is None or not isinstance(error.reason, ConnectionRefusedError):
                raise
        time.sleep(pause_s)
    raise AssertionError("the last attempt returns or raises")


def _trace_headers() -> dict[str, str]:
    """Return the headers by which a body's server joins the trace, if this program traces at all."""
    headers: dict[str, str] = {}
    if "opentelemetry" in sys.modules:
        from opentelemetry import propagate

        propagate.inject(headers)
    return headers


def decoded(body: bytes, encoding: str) -> bytes:
    """Return a stored body as it was before it was encoded: all members of gzip, all frames of zstd.

    Raises:
        OSError (gzip.BadGzipFile), EOFError, zlib.error, zstandard.ZstdError: it is not encoded so, or something of it
            is missing. They are what the libraries raise, so a handler that minds them need not know us.
    """
    if encoding == "gzip":
        return _gunzipped(body)
    if encoding == "zstd":
        return _unzstd(body)
    return body


def _gunzipped(body: bytes) -> bytes:
    import gzip
    import zlib

    try:
        return gzip.decompress(body)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise type(error)(f"a body of {len(body)} bytes is not gzip as its record says: {error}") from error


def _unzstd(body: bytes) -> bytes:
    import zstandard

    parts = []
    rest = body
    while rest:
        frame = zstandard.ZstdDecompressor().decompressobj()
        try:
            parts.append(frame.decompress(rest))
        except zstandard.ZstdError as error:
            message = f"a body of {len(body)} bytes is not zstd as its record says: {error}"
            raise zstandard.ZstdError(message) from error
        if not frame.eof:
            raise zstandard.ZstdError(f"a body of {len(body)} bytes ends in the middle of a frame of zstd")
        rest = frame.unused_data
    return b"".join(parts)


def quoted(name: str) -> str:
    """Return a name as a part of an URL's path."""
    from urllib.parse import quote

    return quote(name)
