"""Models, behind one interface. Nothing above this package knows which provider it speaks to."""

from __future__ import annotations

__all__ = ["PROVIDERS", "Provider", "ProviderFailed", "Remote", "load_provider", "open_provider"]

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, Protocol, runtime_checkable

from fabric.errors import ConfigError, FabricError
from fabric.wire.spec import WorkerSpec
from plumb_agent.messages import Reply, Request, Usage

PROVIDERS = ("anthropic", "openai", "eliza", "scripted")


class ProviderFailed(FabricError):
    """An attempt did not give a reply.

    Args:
        message: why, in words. Never has a key in it.
        code: a word for it; ``provider_unavailable`` if nobody is there or has time.
        transient: whether asking again may help.
        retry_after_s: how long the provider asks to wait before that.
        usage: what it cost all the same: tokens, ``None`` for nothing, ``"all"`` if nobody knows.
        details: go into the error line: a status, a traceback.
    """

    code = "provider_error"

    def __init__(
        self,
        message: str,
        *,
        code: str = "provider_error",
        transient: bool = False,
        retry_after_s: float | None = None,
        usage: Usage | Literal["all"] | None = None,
        **details: str,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.transient = transient
        self.retry_after_s = retry_after_s
        self.usage = usage
        self.details = details


class Provider(Protocol):
    """A model that can be called. One call at a time."""

    async def complete(self, request: Request) -> Reply:
        """Answer the last message of the request, in one attempt. One that streams returns when the stream has ended.

        Raises:
            ProviderFailed: there is no reply. Whether to ask again is for the caller to decide.
        """
        ...


@runtime_checkable
class Remote(Protocol):
    """What is known of a provider that asks a server."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the server."""
        ...

    @property
    def first_chunk_s(self) -> float | None:
        """How long the first piece of the last answer took; ``None``: it did not come in pieces."""
        ...


def load_provider(name: str) -> None:
    """Load the code and the data of a provider, as it will at the latest for its first attempt. It opens nothing.

    Nothing happens for one that is not known.
    """
    if name == "eliza":
        from plumb_agent.providers.eliza import load_script

        load_script()
    elif name == "scripted":
        import plumb_agent.providers.scripted
    elif name == "anthropic":
        import plumb_agent.providers.anthropic
        import plumb_agent.providers.hosted
        import plumb_agent.providers.http
    elif name == "openai":
        import plumb_agent.providers.hosted
        import plumb_agent.providers.http
        import plumb_agent.providers.openai  # noqa: F401


def open_provider(spec: WorkerSpec, environment: Mapping[str, str] = MappingProxyType({})) -> Provider:
    """Return the provider that a worker's configuration names. Loads the code of that one only; connects to nothing.

    Args:
        spec: of the worker.
        environment: where the provider's key is.

    Raises:
        ConfigError: there is none of that name, its own configuration is wrong, or its key is missing.
    """
    name = spec.config.get("provider")
    if name == "eliza":
        from plumb_agent.providers.eliza import Eliza

        return Eliza(spec.config.get("model", "doctor"))
    if name == "scripted":
        from plumb_agent.providers.scripted import open_script

        return open_script(spec.config.get("script"), spec.directory)
    if name in ("anthropic", "openai"):
        from plumb_agent.providers.hosted import open_hosted

        return open_hosted(name, spec, environment)
    known = ", ".join(map(repr, PROVIDERS))
    if name is None:
        raise ConfigError(f"agent {spec.name!r} has no provider; set 'provider' to one of {known}, or PLUMB_PROVIDER")
    raise ConfigError(f"agent {spec.name!r}: there is no provider {name!r}; there are {known}")
