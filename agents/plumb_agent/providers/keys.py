"""The key of a provider: read once, never shown."""

from __future__ import annotations

__all__ = ["SECRET_CHARS_MIN", "read_key", "redact", "redact_failure", "redact_reply"]

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from fabric.errors import ConfigError
from plumb_agent.messages import Block, Reply
from plumb_agent.providers import ProviderFailed
from plumb_agent.providers.dialect import shorten

REDACTED = "[key]"

SECRET_CHARS_MIN = 16
"""A shorter key is no secret but a placeholder, such as ``none`` or ``ollama``, and may be a word of an answer."""


def read_key(environment: Mapping[str, str], variable: str, agent: str) -> str:
    """Return the key from a variable, or from the file that the same variable with ``_FILE`` names.

    Raises:
        ConfigError: there is none, or it cannot be one. The text never has any of it.
    """
    in_file = f"{variable}_FILE"
    key, where = environment.get(variable, "").strip(), variable
    if not key and environment.get(in_file):
        where = f"{in_file} {environment[in_file]!r}"
        try:
            key = Path(environment[in_file]).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise ConfigError(f"agent {agent!r}: cannot read the file that {where} names: {reason}") from None
        if not key:
            raise ConfigError(f"agent {agent!r}: the file that {where} names is empty")
    if not key:
        raise ConfigError(
            f"agent {agent!r} needs the key of its provider: set {variable}, or {in_file} to the path of a file with it"
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"agent {agent!r}: what {where} holds is no key: it has a space or a special character in it")
    return key


def redact(text: str, key: str) -> str:
    """Return a text without the key, be it plain or escaped for a URL, for JSON or for HTML."""
    return _pattern(key).sub(REDACTED, text)


def _pattern(key: str) -> re.Pattern[str]:
    """Return what finds the key, each character as it is or as some escape of it, escaped again or not.

    In capitals and small letters alike: who knows those of a key can guess the rest.
    """
    return re.compile("".join(_character(character) for character in key), re.IGNORECASE)


_ENTITIES = {'"': "quot", "&": "amp", "'": "apos", "<": "lt", ">": "gt"}


def _character(character: str) -> str:
    code = ord(character)
    digits = f"{code:02x}"
    plain = r"\\{0,4}" + re.escape(character)
    url = "%(?:25){0,4}" + digits
    json = r"\\{1,4}(?:u00|x)" + digits
    html = f"&(?:#(?:{code}|x{digits})|{_ENTITIES.get(character, '#')});"
    return f"(?:{plain}|{url}|{json}|{html})"


def redact_failure(failure: ProviderFailed, key: str) -> ProviderFailed:
    """Return a failure whose texts have no key in them; shortened after that, since nobody finds a part of a key."""
    return ProviderFailed(
        shorten(redact(str(failure), key)),
        code=failure.code,
        transient=failure.transient,
        retry_after_s=failure.retry_after_s,
        usage=failure.usage,
        **{name: redact(text, key) for name, text in failure.details.items()},
    )


def redact_reply(reply: Reply, key: str) -> Reply:
    """Return a reply that a server put the key into without it: replies are written to outputs and logs."""
    if len(key) < SECRET_CHARS_MIN:
        return reply
    text = msgspec.json.encode((reply.blocks, reply.model)).decode()
    clean = redact(text, key)
    if clean == text:
        return reply
    blocks, model = msgspec.json.decode(clean, type=tuple[tuple[Block, ...], str])
    return msgspec.structs.replace(reply, blocks=blocks, model=model)
