"""What may be written where a setting is no plain text or number: each kind is read, and refused, in one place."""

from __future__ import annotations

__all__ = [
    "AMOUNT_MAX",
    "USD_MAX",
    "Address",
    "Bytes",
    "Dollars",
    "Duration",
    "Engine",
    "Image",
    "Patience",
    "Ports",
    "Price",
    "VariableName",
    "absolute_url",
    "check_usd",
    "is_number",
    "read_duration",
    "read_switch",
    "read_value",
]

import ipaddress
import math
import os
import re
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import unquote, urlsplit

USD_MAX = 1_000_000.0
AMOUNT_MAX = 10**12
"""Nobody who sets a limit means more than that."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNITS_BYTES = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


def read_value(kind: type[Any], said: object) -> Any:
    """Return what is written for a value of one of these kinds. Raises ValueError: it is none."""
    return kind.read(said)


class Duration(float):
    """Seconds, as a number or with a unit."""

    least_s: ClassVar[float] = 0.0

    @classmethod
    def read(cls, said: object) -> Self:
        """Raise ValueError: it is none, or is too short."""
        seconds = math.nan
        if isinstance(said, int | float) and not isinstance(said, bool):
            seconds = said
        elif isinstance(said, str):
            found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(ms|s|m|h|d)", said)
            seconds = float(found[1]) * _UNITS_S[found[2]] if found else math.nan
        if not cls.least_s <= seconds < math.inf:
            least = f"at least {cls.least_s:g} s"
            raise ValueError(f'expected a duration of {least}, such as 90, "90s", "5m" or "500ms", got {said!r}')
        return cls(seconds)


class Patience(Duration):
    """Of one that is always over at once nobody could mean anything."""

    least_s = 0.1


class Dollars(float):
    """A limit."""

    @classmethod
    def read(cls, said: object) -> Self:
        """Raise ValueError: it is none, or is not above zero."""
        return cls(check_usd(said))


class Price(float):
    """Dollars for a million tokens."""

    @classmethod
    def read(cls, said: object) -> Self:
        """Raise ValueError: it is none."""
        if isinstance(said, int | float) and not isinstance(said, bool) and 0 <= said <= USD_MAX:
            return cls(said)
        raise ValueError(f"expected dollars for a million tokens, 0 or more, got {said!r}")


class Bytes(int):
    """Of memory, as a number or with a unit."""

    @classmethod
    def read(cls, said: object) -> Self:
        """Raise ValueError: it is no amount, or less than 1 MiB."""
        found = re.fullmatch(r"(\d+)([kmg]?)", str(said).lower()) if isinstance(said, int | str) else None
        amount = int(found[1]) * _UNITS_BYTES[found[2]] if found else 0
        if amount < 1024**2 or isinstance(said, bool):
            raise ValueError(f'expected memory of at least 1 MiB, such as "512m" or "2g", got {said!r}')
        return cls(amount)


class _Text(str):
    """A text of which not every one will do; ``expected`` says what will, in words."""

    __slots__ = ()
    pattern: ClassVar[str]
    expected: ClassVar[str]

    @classmethod
    def read(cls, said: object) -> Self:
        """Raise ValueError: it will not do."""
        if isinstance(said, str) and cls._will_do(said):
            return cls(said)
        raise ValueError(f"expected {cls.expected}, got {said!r}")

    @classmethod
    def _will_do(cls, said: str) -> bool:
        return re.fullmatch(cls.pattern, said) is not None


class Ports(_Text):
    """A range of TCP ports."""

    __slots__ = ()
    pattern = r"(\d{1,5})-(\d{1,5})"
    expected = 'a range of ports, such as "5600-5699"'

    @classmethod
    def _will_do(cls, said: str) -> bool:
        found = re.fullmatch(cls.pattern, said)
        return found is not None and 0 < int(found[1]) <= int(found[2]) <= 65_535


class Address(_Text):
    """Where a host is, without a port: a number, or a name as DNS has them."""

    __slots__ = ()
    _label = r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?"
    pattern = rf"(?=.{{1,253}}$)(?![0-9.]+$){_label}(\.{_label})*"
    expected = 'an address without a port, such as "10.0.0.7" or "gpu1.example"'

    @classmethod
    def _will_do(cls, said: str) -> bool:
        return is_number(said) or super()._will_do(said)


class VariableName(_Text):
    """Of an environment variable."""

    __slots__ = ()
    pattern = r"[A-Za-z_][A-Za-z0-9_]*"
    expected = 'the name of a variable, such as "HTTP_PROXY"'


class Image(_Text):
    """The name of an image."""

    __slots__ = ()
    pattern = r"[a-z0-9][\w./:@-]*"
    expected = 'the name of an image, such as "plumb-fabric" or "ghcr.io/me/agents:2"'


class Engine(_Text):
    """Where a Docker Engine is."""

    __slots__ = ()
    pattern = r"unix:///.+|tcp://.+:\d+"
    expected = 'a Docker Engine, such as "unix:///run/docker.sock" or "tcp://127.0.0.1:2375"'


def is_number(address: str) -> bool:
    """Whether an address is one of IPv4 or IPv6."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def check_usd(said: object) -> float:
    """Return a limit in dollars. Raises ValueError: it is none, or is not above zero."""
    if isinstance(said, int | float) and not isinstance(said, bool) and 0 < said <= USD_MAX:
        return float(said)
    raise ValueError(f"expected dollars, more than 0 and at most {USD_MAX:.0f}, got {said!r}")


def read_switch(text: str) -> bool:
    """Return what a variable says that is on or off; the words are those that a flag takes.

    Raises:
        ValueError: it says neither.
    """
    said = text.strip().lower()
    if said in ("1", "true", "t", "yes", "y", "on"):
        return True
    if said in ("0", "false", "f", "no", "n", "off"):
        return False
    raise ValueError(f"expected 1 or 0, got {text!r}")


def read_duration(text: str) -> float:
    """Return the seconds that a flag says: a number, or one with a unit. Raises ValueError: it says none."""
    return float(Patience.read(float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else text))


def absolute_url(url: str, base: Path) -> str:
    """Return the URL of a bucket, written so that it means the same from everywhere: a path becomes a whole one.

    What cannot be meant is returned as it is: who opens it complains.
    """
    if _SCHEME.match(url) and not url.startswith("file:"):
        return url.rstrip("/")
    split = urlsplit(url) if url.startswith("file:") else None
    path = url if split is None else unquote(url.removeprefix("file:").removeprefix(f"//{split.netloc}"))
    if not path or "\0" in path or (split is not None and split.netloc not in ("", "localhost")):
        return url
    try:
        return Path(os.path.abspath(base / Path(path).expanduser())).as_uri()
    except RuntimeError:  # there is no such user
        return url
