"""What `fabric send` and a service say to each other: one JSON object a line, over a local socket.

-> {"id": 1, "port": "input", "msg": VALUE}          port may be left out where there is one input
<- {"id": 1, "accepted": true}
<- {"id": 1, "port": "output", "output": VALUE}      for each output that descends from it
<- {"id": 1, "error": TEXT, "code": WORD, "node": NAME}  if it, or something that came of it, was refused
<- {"id": 1, "settled": true}                        nothing more will come of it
"""

from __future__ import annotations

__all__ = ["Answer", "Request", "read_answer", "read_request", "write"]

from typing import TypeVar

import msgspec

from fabric.errors import ValueRejected
from fabric.wire.lines import one_line
from fabric.wire.payload import encode_json

_T = TypeVar("_T")


class Request(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A message for the service. ``id`` is of the client's choice; answers repeat it."""

    id: int
    msg: msgspec.Raw
    port: str | None = None


class Answer(msgspec.Struct, omit_defaults=True):
    """One of the things that an answer may say."""

    id: int = 0
    accepted: bool = False
    port: str = ""
    output: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: str = ""
    code: str = ""
    node: str = ""
    settled: bool = False


def write(message: Request | Answer) -> bytes:
    """Return the line, with its end."""
    return one_line(encode_json(message)) + b"\n"


def read_request(line: bytes) -> Request:
    """Read a line of a client. Raises ValueRejected: it is no request."""
    return _read(line, _request)


def read_answer(line: bytes) -> Answer:
    """Read a line of a service. Raises ValueRejected: it is no answer."""
    return _read(line, _answer)


_request = msgspec.json.Decoder(Request)
_answer = msgspec.json.Decoder(Answer)


def _read(line: bytes, decoder: msgspec.json.Decoder[_T]) -> _T:
    try:
        return decoder.decode(line)
    except RecursionError:
        raise ValueRejected("$", "one JSON object", "a value nested too deeply") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise ValueRejected("$", "one JSON object", str(error)) from None
