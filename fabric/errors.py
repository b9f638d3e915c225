"""Every error that crosses a module boundary.

    FabricError                 called PlumbError, too
    ├── CheckError              the author's text is wrong; carries diagnostics
    ├── ConfigError             a flag, a file, a key or a worker's configuration is wrong
    │   ├── AddressInUse            an address that is to be bound is somebody's already
    │   ├── BucketUnfit             a bucket that does not keep what it promises: create-if-absent
    │   └── SessionExists           there is a session of that id already
    ├── ValueRejected           a value does not have the type that its channel declares
    ├── ProtocolError           somebody broke wire/PROTOCOL.md
    │   ├── LocalProtocolError      we did
    │   └── RemoteProtocolError     the other side of the socket did
    │       └── ChannelBroken           so that something of it is missing
    ├── WorkerFailed            a worker could not be started, or died
    ├── ServerFailed            an MCP server of the program could not be started, or does not speak as it should
    ├── EngineFailed            a Docker Engine is not there, or did not do what it was asked
    ├── TransportClosed         the socket was closed by its owner
    ├── Stranger                somebody connected to a socket who has no business there
    ├── LeftOver                a worker had ended its output when its connection was renewed; another has to be started
    ├── HandlerFailed           a handler of a durable session did not end well, or wrote what is no record
    ├── OutputClosed            nobody takes what we write any more
    ├── NotRunning              no service or session of that name
    │   └── SessionNotFound         no durable session of that id in the bucket
    ├── StoreFailed             a bucket did not do what it was asked
    │   └── StoreUnsure             and nobody knows whether it did
    ├── LogDamaged              what a bucket gave is not what was written: it is not read any further
    ├── HistoryUnfit            what a session recorded cannot have happened in the program that is to go on with it
    ├── Superseded              somebody else has decided from the same state of a log: what was decided here is void
    ├── UnknownName             no worker or channel of that name
    ├── NoAnswer                a service is there and does not answer
    ├── RunError                a program that was called from Python could not be started
    │   └── BinaryNotFoundError     for there is no Python to start workers with
    ├── PipelineError           a program that was called from Python failed on its way, or refused a message
    └── PlumbingModelError      a program cannot do as a model what an agent of Pydantic AI asks

A bug is an ``assert``, or whatever Python raises; a command ends with 70 then.
"""

from __future__ import annotations

__all__ = [
    "AddressInUse",
    "BinaryNotFoundError",
    "BucketUnfit",
    "ChannelBroken",
    "CheckError",
    "ConfigError",
    "EngineFailed",
    "FabricError",
    "HandlerFailed",
    "HistoryUnfit",
    "LeftOver",
    "LocalProtocolError",
    "LogDamaged",
    "NoAnswer",
    "NotRunning",
    "OutputClosed",
    "PipelineError",
    "PlumbError",
    "PlumbingModelError",
    "ProtocolError",
    "RemoteProtocolError",
    "RunError",
    "ServerFailed",
    "SessionExists",
    "SessionNotFound",
    "StoreFailed",
    "StoreUnsure",
    "Stranger",
    "Superseded",
    "TransportClosed",
    "UnknownName",
    "ValueRejected",
    "WorkerFailed",
    "own_copy",
    "sole",
]

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

_ErrorT = TypeVar("_ErrorT", bound=BaseException)

if TYPE_CHECKING:
    from fabric.lang.diagnostic import Diagnostic


class FabricError(Exception):
    """The root. ``code`` is a stable word for programs, ``exit_code`` what a command ends with."""

    code: str = "error"
    exit_code: int = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy it by what it holds: its text is not what it was made of."""
        return _remake, (type(self), self.args), self.__dict__


def _remake(kind: type[FabricError], arguments: tuple[Any, ...]) -> FabricError:
    return kind.__new__(kind, *arguments)


class CheckError(FabricError):
    """The program text does not check. Its text is that of all diagnostics, with source lines and carets.

    The other fields are those of the first one.

    Args:
        diagnostics: errors first; at least one. See :func:`fabric.lang.diagnostic.check_error`.
        text: how they are shown.

    Attributes:
        code: what is wrong, in a word: ``type_mismatch``.
        category: ``parse``, ``name``, ``type``, ``wiring``, ``protocol`` or ``config``.
        detail: what is wrong, in a line.
        line, column: where, counted from 1, in characters.
    """

    exit_code = 2

    def __init__(self, diagnostics: Sequence[Diagnostic], text: str) -> None:
        super().__init__(text)
        first = diagnostics[0]
        self.diagnostics: tuple[Diagnostic, ...] = tuple(diagnostics)
        self.code: str = first.slug
        self.category: str = first.category
        self.detail: str = first.message
        self.line: int
        self.column: int
        self.line, self.column = first.source.position(first.span.start)


class ConfigError(FabricError):
    """A flag, a file, an environment variable or a worker's configuration is wrong: the user's to mend."""

    code = "bad_config"
    exit_code = 2


class BucketUnfit(ConfigError):
    """A bucket lets a key be created twice. A log cannot be kept in it: two runners would both believe to have won."""

    code = "bucket_unfit"


class SessionExists(ConfigError):
    """There is a session of that id already, and it is another one."""

    code = "session_exists"


class AddressInUse(ConfigError):
    """An address that is to be bound is somebody's already; perhaps ours, of a moment ago."""

    code = "address_in_use"


class ValueRejected(FabricError):
    """A value does not have the declared type, or is not JSON at all.

    Args:
        path: where in the value, as ``$.field[3]``.
        expected: what the type asks for there, in the words of the language.
        got: what was found there.
    """

    code = "type_mismatch"

    def __init__(self, path: str, expected: str, got: str) -> None:
        super().__init__(f"expected {expected}, got {got}" + (f" at {path}" if path != "$" else ""))
        self.path = path
        self.expected = expected
        self.got = got


class ProtocolError(FabricError):
    """A frame or an event that the lifecycle table or the frame format does not allow."""

    code = "wire_protocol"


class LocalProtocolError(ProtocolError):
    """We were about to send what the other side may refuse: a bug of ours or of a worker's author using our code."""


class RemoteProtocolError(ProtocolError):
    """The other side sent what is not allowed. ``reason`` is one of a few words, to count by."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ChannelBroken(RemoteProtocolError):
    """What came shows that something else did not, or that the sender does not keep to what delivery rests on."""


class WorkerFailed(FabricError):
    """A worker could not be started, was not ready in time, or died. The message ends with its last stderr lines."""

    code = "worker_failed"


class ServerFailed(FabricError):
    """An MCP server of the program could not be started. The message ends with its last stderr lines."""

    code = "server_not_started"
    exit_code = 4


class EngineFailed(FabricError):
    """A Docker Engine is not there, or did not do what it was asked.

    Attributes:
        status: of its answer, as HTTP has it; 0: there was none.
    """

    code = "engine_failed"
    exit_code = 4

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class TransportClosed(FabricError):
    """The socket was closed by its owner while somebody waited on it."""

    code = "transport_closed"


class Stranger(FabricError):
    """A second peer connected to a socket that has one. ZeroMQ shares frames out among peers: some are gone."""

    code = "stranger"


class LeftOver(FabricError):
    """A worker that had ended its output was asked who it is: nobody is left who would end it in order."""

    code = "left_over"


class HandlerFailed(FabricError):
    """A handler of a durable session could not be started, did not end well, or wrote what is no record."""

    code = "handler_failed"


class OutputClosed(FabricError):
    """Nobody takes what we write any more: a closed pipe, a full disk."""

    code = "output_closed"


class NotRunning(FabricError):
    """No service or session of that name is running."""

    code = "not_running"
    exit_code = 7


class SessionNotFound(NotRunning):
    """There is no session of that id in the bucket, or it was deleted."""

    code = "session_not_found"


class StoreFailed(FabricError):
    """A bucket did not do what it was asked: it cannot be reached, is full, or refuses. Its text names the bucket."""

    code = "store_failed"


class StoreUnsure(StoreFailed):
    """A bucket gave no answer to a write: it may have been done. Ask again with the same key, and read it back."""

    code = "store_unsure"


class LogDamaged(FabricError):
    """An object of a log is missing, torn, or not what its digest says. Nobody reads past it: it names the key."""

    code = "log_damaged"


class HistoryUnfit(FabricError):
    """An entry of a session's history cannot be enacted: this is not the program that it was recorded of."""

    code = "history_unfit"


class Superseded(FabricError):
    """Somebody else has decided from the same state of a log, and was first. What was decided here must not be used."""

    code = "superseded"


class UnknownName(FabricError):
    """No worker or channel of that name. The message lists those that there are."""

    code = "unknown_name"
    exit_code = 7


class NoAnswer(FabricError):
    """A service is there, and does not answer: it was stopped, or its machine is overloaded."""

    code = "no_answer"


class RunError(FabricError):
    """A program could not be started: its file, its configuration, a key or a worker.

    Attributes:
        detail: what is wrong.
        returncode: what a command would have ended with.
    """

    code = "run_error"

    def __init__(self, detail: str, returncode: int = 2) -> None:
        super().__init__(detail)
        self.detail = detail
        self.returncode: int = returncode
        self.exit_code: int = returncode


class BinaryNotFoundError(RunError):
    """There is no Python interpreter to start workers with: this one is part of another program."""

    code = "binary_not_found"


class PipelineError(FabricError):
    """A program failed on its way, or refused a message.

    Attributes:
        detail: what is wrong.
        returncode: what a command would have ended with; 0 where the program goes on.
        outputs: what came before, where all that comes is waited for: of a call.
        stderr: what its workers wrote last, and what was told of it.
        code: the same in a word, such as ``child_died`` or ``input_type_mismatch``.
    """

    def __init__(self, detail: str, returncode: int = 1, stderr: str = "", code: str = "pipeline_error") -> None:
        super().__init__(f"{detail}\n{stderr}".rstrip())
        self.detail = detail
        self.returncode: int = returncode
        self.exit_code: int = returncode
        self.outputs: list[Any] = []
        self.stderr = stderr
        self.code: str = code


class PlumbingModelError(FabricError):
    """A program cannot do as a model what was asked of it. ``cause`` is the error behind it, if there is one."""

    code = "model_error"

    def __init__(self, detail: str, cause: BaseException | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.cause = cause


PlumbError = FabricError
"""What programs that were written for other implementations of the language call it."""


def own_copy(error: _ErrorT) -> _ErrorT:
    """Return a copy for one of several who are told: each raises his own, with the traceback that it has so far.

    One that cannot be copied is itself.
    """
    try:
        copied = copy.copy(error)
    except TypeError:  # a class that is made of something else than its text
        return error
    copied.__cause__, copied.__context__ = error.__cause__, error.__context__
    copied.__suppress_context__ = error.__suppress_context__
    return copied.with_traceback(error.__traceback__)


def sole(error: BaseException) -> BaseException:
    """Return what is inside of exception groups of one: a nursery wraps whatever ends it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
