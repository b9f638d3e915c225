"""Why a tool did not do what it was asked."""

from __future__ import annotations

__all__ = ["Refused"]

from fabric.errors import FabricError


class Refused(FabricError):
    """It cannot, or it may not. The message is for the one who called: an agent, that is, a model."""

    code = "tool_refused"
