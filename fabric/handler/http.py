"""A handler that stays: each decision is a request over HTTP.

    from fabric.handler import Session
    from fabric.handler.http import WSGIPugmark, serve

    def handler(session: Session) -> None:
        for event in session.events(): ...

    serve(WSGIPugmark(handler))

``GET /`` says that it is there. ``POST /?agent=A&session=S&snapshot=N`` asks for a decision: the log is the request's
body, the records are the answer's. They are sent when the handler has returned, all or, if it raised, none.
"""

from __future__ import annotations

__all__ = [
    "INVOCATION_ID_HEADER",
    "PUGMARK_RPC_URL_ENV",
    "SESSION_METADATA_HEADER",
    "Handler",
    "WSGIPugmark",
    "serve",
    "serve_from_fd",
]

import json
import os
import socket
import sys
from collections.abc import Iterable
from io import StringIO
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from fabric.handler.session import Session
from fabric.handler.tracing import joined

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

PUGMARK_RPC_URL_ENV = "PUGMARK_RPC_URL"
"""The variable that names the listening socket: ``fd://N``."""

SESSION_METADATA_HEADER = "X-Pugmark-Session-Metadata"
"""The header with the session's metadata, as a JSON object."""

INVOCATION_ID_HEADER = "X-Fabric-Invocation-Id"
"""The header with what :meth:`Session.invocation_id` returns."""

_USUAL_DESCRIPTOR = 3
"""The first one after stdin, stdout and stderr."""


class Handler(Protocol):
    """Decides one step of a session."""

    def __call__(self, session: Session) -> object:
        """Read the session and write what comes next. What it returns is not looked at."""
        ...


class _Refused(Exception):
    """A request that no handler is asked about."""

    def __init__(self, status: str, why: str) -> None:
        super().__init__(why)
        self.status = status


class WSGIPugmark:
    """A handler as a WSGI application."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request (PEP 3333)."""
        try:
            status, text = "200 OK", self._answer(environ)
        except _Refused as refused:
            status, text = refused.status, str(refused)
        body = text.encode("utf-8")
        start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
        return [body]

    def _answer(self, environ: WSGIEnvironment) -> str:
        if environ.get("PATH_INFO", "/") not in ("", "/"):
            raise _Refused("404 Not Found", "Not Found")
        match environ.get("REQUEST_METHOD", "GET"):
            case "GET":
                return "OK"
            case "POST":
                with joined(_headers(environ)):
                    return self._decided(environ)
            case _:
                raise _Refused("405 Method Not Allowed", "Method Not Allowed")

    def _decided(self, environ: WSGIEnvironment) -> str:
        """Return the records of one decision. What the handler raises ends the request with 500."""
        query = {key: values[0] for key, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
        answer = StringIO()
        session = Session(
            reader_stream=StringIO(_body(environ)),
            writer_stream=answer,
            agent=query.get("agent"),
            session_id=query.get("session"),
            snapshot=int(query["snapshot"]) if "snapshot" in query else None,
            metadata=_metadata(environ),
            invocation_id=environ.get(_key(INVOCATION_ID_HEADER)),
        )
        with session.traced_execution():
            self.handler(session)
        return answer.getvalue()


def _metadata(environ: WSGIEnvironment) -> dict[str, str] | None:
    text = environ.get(_key(SESSION_METADATA_HEADER), "")
    try:
        told: dict[str, str] | None = json.loads(text) if text else None
    except json.JSONDecodeError:
        raise _Refused("400 Bad Request", "Invalid metadata header: malformed JSON") from None
    return told


def _body(environ: WSGIEnvironment) -> str:
    length = environ.get("CONTENT_LENGTH", "")
    if not length and environ.get("SERVER_SOFTWARE", "").startswith("WSGIServer"):  # it would wait for the client's end
        raise _Refused("411 Length Required", "Length Required: a request with a log needs a Content-Length")
    body: bytes = environ["wsgi.input"].read(int(length) if length else -1)
    return body.decode("utf-8")


def _headers(environ: WSGIEnvironment) -> dict[str, str]:
    """Return the headers with names in lower case, as the W3C's propagator looks for them."""
    return {key[5:].lower().replace("_", "-"): value for key, value in environ.items() if key.startswith("HTTP_")}


def _key(header: str) -> str:
    return "HTTP_" + header.upper().replace("-", "_")


def serve(app: WSGIPugmark, host: str = "127.0.0.1", port: int = 0) -> None:
    """Serve decisions, on the socket that the runtime has passed, else on an address of one's own. Does not return.

    Args:
        app: what answers.
        host, port: where, if no socket was passed. Port 0: any; it is said on stderr.
    """
    url = os.environ.get(PUGMARK_RPC_URL_ENV, "")
    if url.startswith("fd://"):
        serve_from_fd(app, int(url.removeprefix("fd://")))
        return
    server = WSGIServer((host, port), WSGIRequestHandler)
    sys.stderr.write(f"fabric.handler: serving on http://{server.server_name}:{server.server_port}/\n")
    sys.stderr.flush()
    _serve(server, app)


def serve_from_fd(app: WSGIPugmark, fd: int = _USUAL_DESCRIPTOR) -> None:
    """Serve decisions on a listening IPv4 socket that the process has inherited. Does not return.

    Args:
        app: what answers.
        fd: the number of its descriptor.
    """
    listening = socket.fromfd(fd, socket.AF_INET, socket.SOCK_STREAM)
    address = listening.getsockname()
    server = WSGIServer(address, WSGIRequestHandler, bind_and_activate=False)
    server.socket.close()  # the one that it made
    server.socket = listening
    server.server_name, server.server_port = address[0], address[1]
    server.setup_environ()
    _serve(server, app)


def _serve(server: WSGIServer, app: WSGIPugmark) -> None:
    server.set_app(app)
    with server:
        server.serve_forever()
