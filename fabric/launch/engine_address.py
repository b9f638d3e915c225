"""Where a Docker Engine is, and whether it may be told what is secret."""

from __future__ import annotations

__all__ = ["USUAL_ENGINE", "check_private", "engine_address"]

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from fabric.errors import ConfigError

USUAL_ENGINE = "unix:///var/run/docker.sock"


def engine_address(said: str, environment: Mapping[str, str]) -> str:
    """Return the address that is meant, ``unix://PATH`` or ``tcp://HOST:PORT``.

    Args:
        said: empty: where ``DOCKER_HOST`` says, else the usual place.
        environment: ours.

    Raises:
        ConfigError: it cannot be one.
    """
    address = said or environment.get("DOCKER_HOST", "") or USUAL_ENGINE
    scheme, _, rest = address.partition("://")
    if scheme not in ("unix", "tcp") or not rest:
        raise ConfigError(
            f"engine {address!r}: expected unix://PATH or tcp://HOST:PORT; of one that is reached by ssh, forward the"
            " socket: ssh -nNT -L /tmp/engine.sock:/var/run/docker.sock HOST"
        )
    return address


def check_private(address: str, worker: str) -> None:
    """Check that what a worker's container is given reaches its engine unread: that is sent in the clear over TCP.

    Args:
        address: of the engine; see :func:`engine_address`.
        worker: its name.

    Raises:
        ConfigError: others may read it on its way.
    """
    if address.startswith("tcp://") and not _is_loopback(address):
        raise ConfigError(
            f"worker '{worker}': the Docker Engine at {address} is not on this host, and its keys would go there in the"
            " clear; expected unix://PATH, or tcp:// at a loopback address, such as the end of a tunnel: ssh -nNT -L"
            " 127.0.0.1:2375:/var/run/docker.sock HOST, with tcp://127.0.0.1:2375; or say --insecure"
            " (FABRIC_INSECURE=1)"
        )


def _is_loopback(address: str) -> bool:
    """Whether it is this host whatever a resolver says: a number, or the one name that is reserved for it."""
    try:
        host = urlsplit(address).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
