"""What the hosted providers have in common: bounds, the words of a failure, the end of an answer, the output's schema.

A *dialect* is one provider's API, as data in both directions: it writes the body of a request, and has assemblers that
turn the events of a stream into a reply. It sends nothing. An answer is whole or it is a failure: an assembler gives a
reply only after the event that ends the message, and never one without a block in it. A failure repeats what a server
sent at full length: it is made short, and free of the key, where it leaves the provider.
"""

from __future__ import annotations

__all__ = [
    "ERROR_BYTES_MAX",
    "ERROR_CHARS_MAX",
    "EVENT_BYTES_MAX",
    "REPLY_BYTES_MAX",
    "Assembler",
    "Dialect",
    "Timeouts",
    "finish",
    "locate",
    "malformed",
    "read_arguments",
    "read_json",
    "refused",
    "retry_after_s",
    "shorten",
    "stream_error",
    "strict_schema",
]

import math
import re
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Literal, Protocol, TypeVar
from urllib.parse import urlsplit, urlunsplit

import msgspec

from fabric.errors import ConfigError
from plumb_agent.messages import (
    Block,
    Reply,
    Request,
    StopReason,
    TextBlock,
    ThinkingBlock,
    Usage,
    tool_uses,
)
from plumb_agent.providers import ProviderFailed

_T = TypeVar("_T")

EVENT_BYTES_MAX = 1 << 20
"""Of one event of a stream. An event has a few tokens in it; the largest is a block of encrypted thinking."""

REPLY_BYTES_MAX = 32 << 20
"""Of all events of one answer, or of an answer in one piece: 128,000 tokens in an event of 200 bytes each are 26 MB."""

ERROR_BYTES_MAX = 64 << 10
"""Of the body of an error that is read."""

ERROR_CHARS_MAX = 600
"""Of a provider's own words that are repeated."""


class Timeouts(msgspec.Struct, frozen=True):
    """How long an attempt waits.

    Attributes:
        connect_s: for a connection, with its name lookup and its handshake.
        idle_s: for the next bytes. A provider that thinks sends pings meanwhile.
        total_s: for the whole answer.
    """

    connect_s: float = 10.0
    idle_s: float = 120.0
    total_s: float = 900.0


class Assembler(Protocol):
    """Turns the events of one stream into a reply."""

    @property
    def done(self) -> bool:
        """Whether the message has ended; what comes behind that is not needed."""
        ...

    def feed(self, event: str, data: str) -> None:
        """Take an event.

        Raises:
            ProviderFailed: it cannot be read, or says that something went wrong.
        """
        ...

    def reply(self) -> Reply:
        """Return the reply, after the stream has ended.

        Raises:
            ProviderFailed: it was cut off, or there was nothing in it.
        """
        ...


class Dialect(Protocol):
    """One provider's API. Frozen: what a server does not take makes another dialect."""

    @property
    def provider(self) -> str:
        """Name of the provider, for messages."""
        ...

    def headers(self, key: str) -> dict[str, str]:
        """Return the headers of a request."""
        ...

    def body(self, request: Request) -> bytes:
        """Return the body of a request."""
        ...

    def assembler(self, request: Request) -> Assembler:
        """Return what reads the answer to a request as a stream."""
        ...

    def whole(self, request: Request, data: bytes) -> Reply:
        """Read an answer that came in one piece.

        Raises:
            ProviderFailed: it cannot be read, or there is nothing in it.
        """
        ...

    def without(self, request: Request, words: str) -> Dialect | None:
        """Return how to ask a server that refused a request with these words, ``None`` if they are about nothing else.

        Only what the agent's author did not ask for is given up.
        """
        ...


# --- Failures -----------------------------------------------------------------------------------------------------

_TRANSIENT = (408, 409, 429)


class _ErrorObject(msgspec.Struct):
    message: Any = None
    type: Any = None
    code: Any = None
    param: Any = None


class _ErrorBody(msgspec.Struct):
    error: _ErrorObject | str | None = None
    message: str | None = None
    detail: Any = None


def _words(data: bytes) -> str:
    """Return what the body of an error says, in the shapes that servers use; any other text as it is."""
    text = data.decode("utf-8", "replace").strip()
    try:
        body = msgspec.json.decode(data, type=_ErrorBody)
    except (msgspec.DecodeError, RecursionError):
        return text
    match body.error:
        case _ErrorObject(message, type_, code, param):
            named = " ".join(f"{name}={value}" for name, value in (("type", type_), ("param", param)) if value)
            said = message or code
            return f"{said} ({named})" if said and named else str(said or named or text)
        case str(said) if said:
            return said
    return body.message or (str(body.detail) if body.detail else text)


def shorten(text: str, length: int = ERROR_CHARS_MAX) -> str:
    """Return the beginning of a text that somebody else wrote, on one line and without control characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * length]).split())
    return line if len(line) <= length else line[: length - 3] + "..."


def refused(provider: str, status: int, headers: Mapping[str, str], data: bytes, now_s: float) -> ProviderFailed:
    """Return the failure that an HTTP status and what came with it mean.

    Args:
        provider: which one answered.
        status: 300 or more.
        headers: names in small letters.
        data: beginning of the body.
        now_s: seconds since 1970: a ``retry-after`` may be a date.
    """
    if 300 <= status < 400:
        where = headers.get("location", "elsewhere")
        words = f"it redirects to {where}, which is not followed: the key is for this endpoint alone"
    else:
        words = _words(data) or "no reason was given"
    transient = status in _TRANSIENT or status >= 500
    return ProviderFailed(
        f"{provider} answered {status}: {words}",
        code="provider_unavailable" if transient else "provider_refused_request",
        transient=transient,
        retry_after_s=retry_after_s(headers, now_s) if transient else None,
        status=str(status),
    )


def retry_after_s(headers: Mapping[str, str], now_s: float) -> float | None:
    """Return how long the headers ask to wait; ``None`` if they do not, or not in a way that can be read."""
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / scale
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    try:
        return max(0.0, parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - now_s)
    except (ValueError, OverflowError):
        return None


_LASTING = ("invalid_request", "authentication", "permission", "not_found", "billing", "request_too_large")


def stream_error(provider: str, error: object, *, started: bool) -> ProviderFailed:
    """Return the failure that an error in the place of an answer means, whose status was 200.

    Args:
        provider: which one answered.
        error: as it came: mostly an object with a type and a message.
        started: whether some of the answer had come.
    """
    plain = error if isinstance(error, dict) else {"message": error}
    kind = f"{plain.get('type') or ''} {plain.get('code') or ''}"
    words = _words(msgspec.json.encode({"error": error})) or "no reason was given"
    transient = not any(word in kind for word in _LASTING)
    return ProviderFailed(
        f"{provider} broke off with an error: {words}",
        code="provider_unavailable" if transient else "provider_refused_request",
        transient=transient,
        usage="all" if started else None,
    )


def malformed(provider: str, what: str, *, usage: Usage | Literal["all"] | None = "all") -> ProviderFailed:
    """Return the failure that an answer means which cannot be read."""
    return ProviderFailed(
        f"{provider} sent an answer that cannot be read: {what}", code="stream_malformed", transient=True, usage=usage
    )


# --- Reading ------------------------------------------------------------------------------------------------------


def read_json(provider: str, data: str | bytes, type_: type[_T]) -> _T:
    """Read the JSON text of an event, or of an answer in one piece.

    Raises:
        ProviderFailed: it is not JSON, or not of that type.
    """
    try:
        return msgspec.json.decode(data, type=type_)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        text = data if isinstance(data, str) else data[:ERROR_BYTES_MAX].decode("utf-8", "replace")
        raise malformed(provider, f"{error} in {text}") from None


def read_arguments(text: str, *, cut: bool) -> dict[str, Any] | None:
    """Return the arguments of a tool call; ``None``: this is no JSON object.

    Args:
        text: as it came; nothing at all stands for no arguments.
        cut: whether the answer was cut off, perhaps in this call, so that nothing at all may be a beginning.
    """
    if not text.strip():
        return None if cut else {}
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def finish(provider: str, blocks: Sequence[Block], stop: StopReason, usage: Usage, model: str) -> Reply:
    """Return a reply that has ended, without the blocks that have nothing in them.

    Args:
        provider: which one answered.
        blocks: in order.
        stop: why it ended; that tools are waited for follows from the blocks.
        usage: what it cost.
        model: which one answered.

    Raises:
        ProviderFailed: nothing is left of it. Why depends on how it ended.
    """
    kept = tuple(block for block in blocks if not _is_void(block))
    if stop in ("end_turn", "tool_use"):
        stop = "tool_use" if tool_uses(kept) else "end_turn"
    if kept:
        return Reply(kept, usage, stop, model)
    if stop == "max_tokens":
        text = f"{provider}: the limit of tokens ended the answer before there was any; raise max_tokens"
        raise ProviderFailed(text, code="max_tokens_reached", usage=usage)
    if stop == "refusal":
        raise ProviderFailed(f"{provider}: the model refused, and said nothing", code="model_refused", usage=usage)
    text = f"{provider} sent an answer with nothing in it"
    raise ProviderFailed(text, code="stream_empty", transient=True, usage=usage)


def _is_void(block: Block) -> bool:
    match block:
        case TextBlock(text):
            return not text.strip()
        case ThinkingBlock("", ""):
            return True
    return False


# --- Structured output --------------------------------------------------------------------------------------------


def strict_schema(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the schema in the words that providers can hold a model to, ``None`` if it has others.

    They ask for an object at the root, with every field required, and know neither tuples nor values of any kind.
    """
    return _strict(schema) if schema.get("type") == "object" else None


def _strict(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    match schema:
        case {"type": "object", "properties": dict(properties), "required": list(required)}:
            fields = {name: _strict(field) for name, field in properties.items()}
            if set(required) != set(fields) or None in fields.values():
                return None
            return {"type": "object", "properties": fields, "required": required, "additionalProperties": False}
        case {"type": "array", "items": dict(items), **rest} if not rest:
            item = _strict(items)
            return None if item is None else {"type": "array", "items": item}
        case {"oneOf": list(variants), **rest} if not rest:
            each = [_strict(variant) for variant in variants]
            return None if None in each else {"anyOf": each}
        case {"type": "string" | "integer" | "number" | "boolean" | "null" as name, **rest} if not rest:
            return {"type": name}
    return None


# --- Where --------------------------------------------------------------------------------------------------------


_VERSION = "/v1"
_URL = re.compile(r"[!-~]+")


def locate(endpoint: str, resource: str, *, path_is_base: bool) -> str:
    """Return the URL to ask.

    Args:
        endpoint: as configured: the whole URL, or where the API is found.
        resource: what the API calls it: ``/messages``.
        path_is_base: whether ``resource`` follows any path, and ``/v1`` is put in only where there is no path at all.

    Raises:
        ConfigError: it is no address of a web server, or there is a password in it.
    """
    what = "the 'endpoint' of a provider must be an http or https URL"
    try:
        url = urlsplit(endpoint)
        _ = url.port  # reading it checks it
    except ValueError:
        raise ConfigError(f"{what}, got {shorten(endpoint, 200)!r}") from None
    if url.username is not None or url.password is not None:
        raise ConfigError(
            "the 'endpoint' of a provider must not have a user or a password in it: the key says who asks"
        )
    if url.scheme not in ("http", "https") or not url.hostname or not _URL.fullmatch(endpoint):
        raise ConfigError(f"{what}, got {shorten(endpoint, 200)!r}")
    path = url.path.rstrip("/")
    if not path.endswith(resource):
        based = path.endswith(_VERSION) or (path and path_is_base)
        path += resource if based else _VERSION + resource
    return urlunsplit((url.scheme, url.netloc, path, url.query, ""))
