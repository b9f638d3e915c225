"""What a worker is told when it is launched: its ports, its types, its configuration."""

from __future__ import annotations

__all__ = [
    "ENDPOINT_VARIABLES",
    "INPUT_PORTS",
    "KEY_FILE_VARIABLE",
    "OUTPUT_PORTS",
    "PARENT_FD_VARIABLE",
    "PORTS",
    "SPEC_FD_VARIABLE",
    "SPEC_FILE_VARIABLE",
    "Document",
    "ToolSpec",
    "WorkerKey",
    "WorkerSpec",
    "decode_spec",
]

from typing import Any

import msgspec

from fabric.wire.payload import Type

INPUT_PORTS = ("input", "ctrl_in", "tool_resp")
"""The worker connects a PULL socket; the fabric binds the PUSH."""

OUTPUT_PORTS = ("output", "ctrl_out", "telemetry", "tool_req")
"""The worker binds a PUSH socket; the fabric connects the PULL."""

PORTS = INPUT_PORTS + OUTPUT_PORTS

ENDPOINT_VARIABLES = {port: f"PLUMB_ENDPOINT_{port.upper()}" for port in PORTS}
"""Port name to environment variable. The presence of the one for ``input`` selects ZMQ mode."""

SPEC_FD_VARIABLE = "FABRIC_SPEC_FD"
"""Number of an inherited descriptor from which our own workers read their :class:`WorkerSpec` as JSON, to its end."""

SPEC_FILE_VARIABLE = "FABRIC_SPEC_FILE"
"""Path of a file with the same, for a worker that somebody else starts."""

KEY_FILE_VARIABLE = "FABRIC_KEY_FILE"
"""Path of a file with a worker's :class:`WorkerKey` as JSON. Only its owner should be able to read it."""

PARENT_FD_VARIABLE = "FABRIC_PARENT_FD"
"""Number of an inherited pipe. Its end means that the coordinator is dead, and that the worker has to be, too."""


class WorkerKey(msgspec.Struct, frozen=True):
    """What a worker needs to be let in, and to know who lets it in: CURVE keys, as Z85 text of 40 characters.

    The fabric is the CURVE server on every socket, whoever binds it.

    Attributes:
        public, secret: the worker's own.
        server: the public key of the fabric.
    """

    public: str
    secret: str
    server: str

    def __repr__(self) -> str:
        """A secret is not to be read in a traceback."""
        return f"WorkerKey(public={self.public!r}, server={self.server!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """The same for who prints in colours."""
        return [("public", self.public), ("server", self.server)]


class Document(msgspec.Struct, frozen=True):
    """A prompt file, read before the worker starts."""

    name: str
    text: str


class ToolSpec(msgspec.Struct, frozen=True):
    """A tool that a worker may call.

    Attributes:
        name: by which it is called.
        arguments: type of what is given to it.
        result: type of what comes of it.
        description: what it is for, in words for a model.
    """

    name: str
    arguments: Type
    result: Type
    description: str = ""


class WorkerSpec(msgspec.Struct, frozen=True):
    """Everything that a worker may know of the fabric.

    Attributes:
        name: of the worker; the topic of what it sends.
        kind: ``agent``, ``python``, ``worker`` or ``handler``.
        input: type of each message on ``input``.
        output: type of each message on ``output``.
        config: keys and values of the program's binding, as written; for an agent with provider and model filled in.
        directory: of the program's file, absolute; relative names in ``config`` start here.
        documents: the agent's prompt files in order.
        ports: the optional ports that the graph uses, of ``ctrl_in ctrl_out telemetry tool_req tool_resp``.
        tools: what it may call.
        part_of: name of the tool that it works for. Such a worker may decline a message.
        metered: whether it has to reserve each call of a model (``fabric.wire.calls``). Such a worker may decline, too.
        durable: whether it tells with its calls of tools what models have answered, and asks for that at the beginning
            of each message (``fabric.wire.recall``).
        fenced: whether each connection to it begins with a probe. What comes on ``input`` before the first was meant
            for a process that is gone.
        key: without which its endpoints let nobody in; ``None``: they need none.
    """

    name: str
    kind: str
    input: Type
    output: Type
    config: dict[str, Any] = {}
    directory: str = "."
    documents: tuple[Document, ...] = ()
    ports: tuple[str, ...] = ()
    tools: tuple[ToolSpec, ...] = ()
    part_of: str = ""
    metered: bool = False
    durable: bool = False
    fenced: bool = False
    key: WorkerKey | None = None


decode_spec = msgspec.json.Decoder(WorkerSpec).decode
"""Read a spec from JSON. Raises msgspec.DecodeError."""
