"""Where a Docker Engine is."""

from __future__ import annotations

__all__ = ["USUAL_ENGINE", "engine_address"]

from collections.abc import Mapping

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
