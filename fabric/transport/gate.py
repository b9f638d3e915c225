"""Who is let in at sockets with keys (CURVE), and who was not. Answers what the library asks (ZAP, ZeroMQ RFC 27).

A domain is the name of a worker. A key opens the sockets of its own worker only: one that was stolen from a worker says
nothing for another.
"""

from __future__ import annotations

__all__ = ["Gate", "Refusal"]

from collections.abc import Mapping, Sequence

import msgspec

from fabric.wire.keys import decode_z85

VERSION = b"1.0"
REQUEST_PARTS = 6
"""Version, request id, domain, address, identity, mechanism; the credentials are behind them."""


class Refusal(msgspec.Struct, frozen=True):
    """Somebody was not let in.

    Attributes:
        domain: the worker whose endpoint it was; on a worker's side the endpoint.
        address: from where, if that is known: the library tells it of those who got as far as to show a key.
        reason: why.
    """

    domain: str
    address: str
    reason: str


class Gate:
    """Lets those in who have the key of a domain.

    Args:
        allowed: public key, as Z85 text, by domain.
    """

    def __init__(self, allowed: Mapping[str, str]) -> None:
        self._allowed = {domain.encode(): decode_z85(key) for domain, key in allowed.items()}

    @property
    def domain(self) -> str:
        """One of the domains."""
        return next(iter(self._allowed), b"none").decode()

    def answer(self, request: Sequence[bytes]) -> tuple[list[bytes], Refusal | None]:
        """Return the reply to what the library asks of somebody who wants in, whatever it is.

        With it the refusal, if it is one.
        """
        number = request[1] if len(request) > 1 else b""
        reason = self._reason(request)
        if reason:
            domain, address = (part.decode(errors="replace") for part in (*request, *[b""] * 4)[2:4])
            return [VERSION, number, b"400", b"not allowed", b"", b""], Refusal(domain, address, reason)
        return [VERSION, number, b"200", b"OK", request[2], b""], None

    def _reason(self, request: Sequence[bytes]) -> str:
        """Say why somebody is not let in; nothing if he is."""
        if len(request) < REQUEST_PARTS or request[0] != VERSION:
            return "malformed request"
        domain, mechanism, credentials = request[2], request[5], request[6:]
        if mechanism != b"CURVE":
            return f"no key (mechanism {mechanism.decode(errors='replace')})"
        if domain not in self._allowed:
            return "nobody is allowed there"
        if list(credentials) == [self._allowed[domain]]:
            return ""
        if len(credentials) == 1 and credentials[0] in self._allowed.values():
            return "the key of another worker"
        return "unknown key"
