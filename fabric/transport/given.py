"""What a worker is given by whoever starts it: its spec, and the key that opens its endpoints."""

from __future__ import annotations

__all__ = ["INSECURE_VARIABLE", "forget_given", "key_for", "read_spec", "say_once"]

import os
import re
import stat
from collections.abc import Callable, Mapping, MutableMapping

import msgspec

from fabric.errors import ConfigError
from fabric.transport.gate import Refusal
from fabric.transport.ports import is_tcp
from fabric.wire.keys import decode_worker_key
from fabric.wire.spec import KEY_FILE_VARIABLE, SPEC_FD_VARIABLE, SPEC_FILE_VARIABLE, WorkerKey, WorkerSpec, decode_spec

INSECURE_VARIABLE = "FABRIC_INSECURE"
"""``1``: endpoints over TCP need no keys. Who reaches them may read and write all that goes over them."""

_GIVEN_VARIABLES = (SPEC_FD_VARIABLE, SPEC_FILE_VARIABLE, KEY_FILE_VARIABLE)


def read_spec(environment: Mapping[str, str]) -> WorkerSpec | None:
    """Return the spec from the descriptor or the file that a variable names; ``None``: no variable does.

    Raises:
        ConfigError: there is none.
    """
    for variable in (SPEC_FD_VARIABLE, SPEC_FILE_VARIABLE):
        said = environment.get(variable)
        if said is None:
            continue
        if variable == SPEC_FD_VARIABLE and not said.isdigit():
            raise ConfigError(f"{variable} must be the number of a descriptor, got {said!r}")
        try:
            with open(int(said) if variable == SPEC_FD_VARIABLE else said, "rb") as file:
                return decode_spec(file.read())
        except (OSError, msgspec.DecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise ConfigError(f"cannot read the worker's spec from {variable}={said}: {why}") from None
    return None


def key_for(
    endpoints: Mapping[str, str],
    spec: WorkerSpec | None,
    environment: Mapping[str, str],
    warn: Callable[[str], object] | None = None,
) -> WorkerKey | None:
    """Return the key that opens a worker's endpoints; ``None``: they need none.

    Args:
        endpoints: by port.
        spec: what the worker is told; it may have the key in it.
        environment: else names its file.
        warn: hears what is not as it should be, and is used.

    Raises:
        ConfigError: the file is none, or there is no key, though others may reach an endpoint.
    """
    key = spec.key if spec is not None else None
    file = environment.get(KEY_FILE_VARIABLE)
    if key is None and file:
        try:
            with open(file, "rb") as opened:
                key = decode_worker_key(opened.read(), file)
                mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
        except OSError as error:
            raise ConfigError(f"cannot read the file of {KEY_FILE_VARIABLE}, {file}: {error.strerror}") from None
        if mode & 0o077 and warn is not None:  # no error: mounted secrets are often so, where nobody else is
            warn(f"others on this host may read the key in {file}: it has mode {mode:04o}; expected 0600")
    if not any(is_tcp(endpoint) for endpoint in endpoints.values()):
        return None
    if key is None and environment.get(INSECURE_VARIABLE) != "1":
        for port, endpoint in endpoints.items():
            if is_tcp(endpoint) and not _is_loopback(endpoint):
                raise ConfigError(
                    f"{port} is at {endpoint}, where others may reach it, and there is no key: name its file with"
                    f" {KEY_FILE_VARIABLE} (fabric keys makes it), or say {INSECURE_VARIABLE}=1"
                )
    return key


def forget_given(environment: MutableMapping[str, str]) -> None:
    """Take out what a worker was given by, once it has read it: nothing that it starts should find that."""
    for variable in _GIVEN_VARIABLES:
        environment.pop(variable, None)


def _is_loopback(endpoint: str) -> bool:
    host = endpoint.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.\d+){3}", host) is not None


def say_once(say: Callable[[str], object], environment: Mapping[str, str] = os.environ) -> Callable[[Refusal], None]:
    """Return what takes refusals at a worker's endpoints, and says each kind once: they may come by thousands.

    Args:
        say: takes the words.
        environment: names the file of the key.
    """
    said: set[Refusal] = set()
    file = environment.get(KEY_FILE_VARIABLE)
    used = f"the key is that of {file}" if file else "the key is that of the spec, if there is one"
    hint = (
        f"{used}; perhaps the fabric does not know it (fabric keys makes it), or it uses no keys"
        f" ({INSECURE_VARIABLE}=1 here, --insecure there)"
    )

    def hear(refusal: Refusal) -> None:
        if refusal not in said:
            said.add(refusal)
            whose = f"{refusal.domain}: somebody is not who he should be: {refusal.reason}"
            say(f"{whose}; {hint}; further ones are not reported")

    return hear
