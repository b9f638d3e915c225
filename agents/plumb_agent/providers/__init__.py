"""Models, behind one interface. Nothing above this package knows which provider it speaks to."""

from __future__ import annotations

__all__ = ["PROVIDERS", "Provider", "ProviderFailed", "load_provider", "open_provider"]

from typing import Protocol

from fabric.errors import ConfigError, FabricError
from fabric.wire.spec import WorkerSpec
from plumb_agent.messages import Reply, Request

PROVIDERS = ("eliza", "scripted")
"""What this version can speak to."""

_LATER = ("anthropic", "openai")


class ProviderFailed(FabricError):
    """A call did not give a reply. ``details`` go into the error line: a status, a traceback."""

    code = "provider_error"

    def __init__(self, message: str, **details: str) -> None:
        super().__init__(message)
        self.details = details


class Provider(Protocol):
    """A model that can be called. One call at a time."""

    async def complete(self, request: Request) -> Reply:
        """Answer the last message of the request. A provider that streams returns when the stream has ended.

        Raises:
            ProviderFailed: there is no reply and asking again does not help.
        """
        ...


def load_provider(name: str) -> None:
    """Load the code and the data of a provider, as :func:`open_provider` will; nothing for one that is not known."""
    if name == "eliza":
        from plumb_agent.providers.eliza import load_script

        load_script()
    elif name == "scripted":
        import plumb_agent.providers.scripted  # noqa: F401


def open_provider(spec: WorkerSpec) -> Provider:
    """Return the provider that a worker's configuration names. Loads the code of that one only.

    Raises:
        ConfigError: there is none of that name, or its own configuration is wrong.
    """
    name = spec.config.get("provider")
    if name == "eliza":
        from plumb_agent.providers.eliza import Eliza

        return Eliza(spec.config.get("model", "doctor"))
    if name == "scripted":
        from plumb_agent.providers.scripted import open_script

        return open_script(spec.config.get("script"), spec.directory)
    known = " and ".join(map(repr, PROVIDERS))
    if name in _LATER:
        raise ConfigError(f"agent {spec.name!r}: provider {name!r} is not part of this version yet; it has {known}")
    if name is None:
        raise ConfigError(f"agent {spec.name!r} has no provider; set 'provider' to one of {known}, or PLUMB_PROVIDER")
    raise ConfigError(f"agent {spec.name!r}: there is no provider {name!r}; this version has {known}")
