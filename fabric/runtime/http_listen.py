"""Where a session can be watched over HTTP: the address, the token, and the socket, before anything is started."""

from __future__ import annotations

__all__ = ["HTTP_OFF", "HTTP_USUAL", "Listening", "bind", "keep_token", "read_token"]

import ipaddress
import os
import re
import secrets
import socket
import stat
from contextlib import suppress
from pathlib import Path

import msgspec

from fabric.errors import ConfigError

HTTP_USUAL = "127.0.0.1:9464"
"""The port that OpenTelemetry gives to Prometheus exporters."""

HTTP_OFF = "off"

BACKLOG = 128

TOKEN_CHARS_MIN = 16
"""A shorter token could be tried out."""


class Listening(msgspec.Struct, frozen=True):
    """A socket that listens, and who may say what there.

    Attributes:
        socket: bound; its owner closes it.
        host, port: as bound.
        token: what has to be said for more than looking; empty: nobody can.
        token_file: where it is.
    """

    socket: socket.socket
    host: str
    port: int
    token: str = ""
    token_file: str = ""

    @property
    def url(self) -> str:
        """Where it is found."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def local(self) -> bool:
        """Whether only this machine reaches it."""
        return _is_loopback(self.host)


def bind(said: str | None, token_file: Path | None, *, usual: str = HTTP_USUAL) -> tuple[Listening | None, str]:
    """Return a socket that listens, or ``None`` and why there is none.

    Args:
        said: ``ADDRESS:PORT`` or ``off``; ``None``: nobody has asked for anything, so the usual address will do, and
            none as well if that is taken.
        token_file: holds the token; without one, only this machine may be served.
        usual: the address if nobody has asked.

    Raises:
        ConfigError: it cannot be meant, or what was asked for cannot be had.
    """
    if said == HTTP_OFF:
        return None, ""
    token = "" if token_file is None else read_token(token_file)
    host, port = _address(said or usual)
    if not _is_loopback(host) and not token:
        raise ConfigError(
            f"http {said}: whoever reaches this address could read what the session does; say where a token is"
            " (--token-file FILE, or FABRIC_TOKEN_FILE), or take a loopback address such as 127.0.0.1"
        )
    try:
        listening = _listen(host, port)
    except OSError as error:
        why = f"cannot listen on {host}:{port}: {error.strerror or error}"
        if said is None:
            return None, why
        raise ConfigError(f"http {said}: {why}; name another address, or port 0 for any that is free") from None
    return Listening(listening, host, listening.getsockname()[1], token, str(token_file or "")), ""


def _address(said: str) -> tuple[str, int]:
    """Return host and port. Only numbers: what a name means may change between the check and the use."""
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]]*)):(\d{1,5})", said, re.ASCII)
    host = (found[1] or found[2]) if found else ""
    host = "127.0.0.1" if host == "localhost" else host
    with suppress(ValueError):
        if found is not None and int(found[3]) < 1 << 16:
            return str(ipaddress.ip_address(host)), int(found[3])
    raise ConfigError(f"http {said!r}: expected ADDRESS:PORT with an IP address, such as {HTTP_USUAL}, or off")


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback


def _listen(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening


# --- The token --------------------------------------------------------------------------------------------------------


def read_token(file: Path) -> str:
    """Return the token that a file holds.

    Raises:
        ConfigError: it cannot be read, others may read it, or it holds none.
    """
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            text = opened.read(4096).decode("ascii").strip()
    except OSError as error:
        raise ConfigError(f"cannot read the token in {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file} holds no token: expected {TOKEN_CHARS_MIN} or more letters and digits") from None
    if stat.S_ISREG(mode) and mode & (stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH):
        raise ConfigError(f"others may read or write {file}, which holds a token: chmod 600 {file}")
    if not re.fullmatch(r"[A-Za-z0-9._~+/=-]+", text) or len(text) < TOKEN_CHARS_MIN:
        raise ConfigError(f"{file} holds no token: expected {TOKEN_CHARS_MIN} or more letters and digits in one line")
    return text


def keep_token(listening: Listening, file: Path) -> Listening:
    """Return it with a token of its own, kept in a file for those who may read it, unless it has one.

    Raises:
        ConfigError: the file cannot be written.
    """
    if listening.token:
        return listening
    token = secrets.token_urlsafe(32)
    try:
        file.unlink(missing_ok=True)
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as opened:
            opened.write(f"{token}\n")
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}") from None
    return msgspec.structs.replace(listening, token=token, token_file=str(file))
