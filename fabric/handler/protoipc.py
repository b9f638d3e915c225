"""Messages of Protocol Buffers in a session. Needs the package ``protobuf``.

The description of a message's file is pushed before the first message of it, those it imports before that, so that who
reads needs no generated code. Schemas are named as ``Any`` names types: ``type.googleapis.com/my.package.Message``.
"""

from __future__ import annotations

__all__ = ["PROTOBUF_MEDIA_TYPE", "Session", "push_message", "scan_messages"]

import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any, TypeAlias

try:
    from google.protobuf import descriptor_pb2, message_factory, symbol_database
    from google.protobuf.message import DecodeError, Message
except ImportError as error:
    raise ImportError("fabric.handler.protoipc needs the package protobuf: pip install protobuf") from error

from fabric.handler.objects import LocalObject, Object, Output
from fabric.handler.process import state as state_of_process
from fabric.handler.process import write as write_of_process
from fabric.handler.session import Session as HandlerSession

PROTOBUF_MEDIA_TYPE = "application/protobuf"

_TYPE_PREFIX = "type.googleapis.com/"
_FILE = "google.protobuf.FileDescriptorProto"
_KNOWN_FILES = "google/protobuf/"
"""Every runtime has these: they are not pushed."""

_KNOWN_MODULES = (
    "any",
    "api",
    "duration",
    "empty",
    "field_mask",
    "source_context",
    "struct",
    "timestamp",
    "type",
    "wrappers",
)

Types: TypeAlias = Any
"""``google.protobuf.symbol_database.SymbolDatabase``; the package has no annotations."""


def scan_messages(state: Iterable[Object] | None = None, types: Types = None) -> Iterator[Message]:
    """Return the messages of a session, in order. What is no message of Protocol Buffers is passed over.

    Args:
        state: whose objects. Default: the session of this process.
        types: where the types are; those that the session describes are added. Default: the global ones.

    Raises:
        RuntimeError: a body is not a message of its type.
    """
    pool = (symbol_database.Default() if types is None else types).pool
    for obj in state_of_process() if state is None else state:
        full_name = obj.schema_url().rpartition("/")[2]
        if _media_type(obj.content_type()) != PROTOBUF_MEDIA_TYPE or not full_name:
            continue
        if full_name == _FILE:
            _add_file(pool, _parsed(descriptor_pb2.FileDescriptorProto, obj.body(), full_name))
            continue
        kind = _class_of(pool, full_name)
        if kind is None:
            _say(f"a message is passed over: nothing describes its type {full_name}")
            continue
        yield _parsed(kind, obj.body(), full_name)


def push_message(
    msg: Message,
    state: Iterable[Object] | None = None,
    types: Types = None,
    registered: set[str] | None = None,
    write: Callable[[Object], object] | None = None,
    *,
    fork: bool = False,
    session: str = "",
    metadata: dict[str, str] | None = None,
) -> None:
    """Append a message, and before it the descriptions of its file and of all that this imports.

    Args:
        msg: the message.
        state, types: not looked at; callers may pass them by place.
        registered: names of files that are described already; those that are now are added.
        write: appends an object. Default: to the session of this process.
        fork: the message makes a child session, which begins with it.
        session: the id of the session that it goes to, in place of this one; its descriptions go there, too.
        metadata: of the message.
    """
    put = write_of_process if write is None else write
    _push_file(msg.DESCRIPTOR.file, set() if registered is None else registered, put, session)
    full_name = msg.DESCRIPTOR.full_name
    put(_object(msg, full_name, metadata=dict(metadata or {}), fork=fork, session=session))


class Session:
    """A session that remembers what it has described.

    Args:
        pugmark_session: the session. Default: one over stdin and stdout.
    """

    def __init__(self, pugmark_session: HandlerSession | None = None) -> None:
        self.pugmark_session = pugmark_session or HandlerSession()
        url = _TYPE_PREFIX + _FILE
        self._described = {obj.name() for obj in self.pugmark_session.state() if obj.schema_url() == url}
        self._described_elsewhere: dict[str, set[str]] = {}

    def push_message(
        self,
        msg: Message,
        types: Types = None,
        *,
        fork: bool = False,
        session: str = "",
        metadata: dict[str, str] | None = None,
    ) -> None:
        """See :func:`push_message`."""
        push_message(
            msg,
            types=types,
            registered=self._described_elsewhere.setdefault(session, set()) if session else self._described,
            write=self.pugmark_session.write,
            fork=fork,
            session=session,
            metadata=metadata,
        )

    def scan_messages(self, types: Types = None) -> Iterator[Message]:
        """See :func:`scan_messages`."""
        return scan_messages(self.pugmark_session.state(), types)


def _object(msg: Message, full_name: str, **fields: Any) -> LocalObject:
    output = Output(
        data=msg.SerializeToString(),
        content_type=f"{PROTOBUF_MEDIA_TYPE}; messageType={full_name}",
        schema_url=_TYPE_PREFIX + full_name,
        **fields,
    )
    return LocalObject(output)


def _push_file(file: Any, described: set[str], put: Callable[[Object], object], session: str) -> None:
    if file.name in described or file.name.startswith(_KNOWN_FILES):
        return
    described.add(file.name)
    for imported in file.dependencies:
        _push_file(imported, described, put, session)
    description = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(description)
    metadata = {"package": file.package, "path": file.name, "syntax": description.syntax or "proto3"}
    put(_object(description, _FILE, name=file.name, metadata=metadata, session=session))


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _parsed(kind: Callable[[], Any], body: bytes, full_name: str) -> Any:
    message = kind()
    try:
        message.ParseFromString(body)
    except DecodeError as error:
        raise RuntimeError(
            f"an object of {len(body)} bytes is not a {full_name} as its schema says: {error}"
        ) from error
    return message


def _class_of(pool: Any, full_name: str) -> type[Any] | None:
    """Return the class of a type, or ``None`` if nothing describes it."""
    for known in (False, True):
        if known:
            _load_known(_KNOWN_MODULES)
        try:
            return _class(pool.FindMessageTypeByName(full_name))
        except KeyError:
            if not full_name.startswith("google.protobuf."):
                return None
    return None


def _class(descriptor: Any) -> type[Any]:
    kind: type[Any] = message_factory.GetMessageClass(descriptor)
    return kind


def _add_file(pool: Any, description: Any) -> None:
    """Make the types of a file known. One that is known already is left as it is."""
    modules = [
        path.removeprefix(_KNOWN_FILES).removesuffix(".proto")
        for path in description.dependency
        if path.startswith(_KNOWN_FILES)
    ]
    _load_known(modules)
    try:
        pool.AddSerializedFile(description.SerializeToString())
    except TypeError as error:  # another file of that name, or one that imports what nobody has described
        _say(f"the description of {description.name} is passed over: {error}")


def _load_known(modules: Iterable[str]) -> None:
    """Make types known that come with protobuf: their modules add them to the global pool."""
    for module in modules:
        try:
            import_module(f"google.protobuf.{module}_pb2")
        except ImportError:
            continue


def _say(text: str) -> None:
    sys.stderr.write(f"fabric.handler.protoipc: {text}\n")
