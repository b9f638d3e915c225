"""Which HTTP requests are answered at all."""

from __future__ import annotations

import pytest

from fabric.mcp_server.http import PATH, answer_of


def status(method: str = "POST", path: str = PATH, host: str | None = "localhost", **headers: str) -> int:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    raw += [] if host is None else [(b"host", host.encode())]
    refusal = answer_of(method, path, raw)
    return 200 if refusal is None else refusal.status


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "PATCH", "OPTIONS", "HEAD"])
def test_only_post_is_answered(method: str):
    """And what is allowed is said."""
    refusal = answer_of(method, PATH, [(b"host", b"127.0.0.1:80")])
    assert refusal is not None
    assert (refusal.status, refusal.headers) == (405, {"allow": "POST"})


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost",
        "https://localhost:3000",
        "http://127.0.0.1:65535",
        "https://127.0.0.1",
        "http://[::1]:1",
        "HTTP://LOCALHOST",
    ],
)
def test_pages_of_this_machine_may_ask(origin: str):
    """By either scheme, at any port."""
    assert status(origin=origin) == 200


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://evil.example",
        "http://localhost.evil.example",
        "http://evil.example:localhost",
        "http://localhost:80@evil.example",
        "http://127.0.0.1.evil.example",
        "http://127.0.0.2",
        "http://localhost:",
        "http://localhost/",
        "ftp://localhost",
        "localhost",
        "http://localhost http://evil.example",
        "http://localhost\nhttp://evil.example",
        "http://::1",
    ],
)
def test_other_pages_may_not(origin: str):
    """Also those whose names begin or end like ours."""
    assert status(origin=origin) == 403


def test_of_several_origins_all_have_to_be_ours():
    """There is one in a request of a browser."""
    headers = [(b"host", b"localhost"), (b"origin", b"http://localhost"), (b"origin", b"http://evil.example")]
    refusal = answer_of("POST", PATH, headers)
    assert refusal is not None
    assert refusal.status == 403


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", 200),
        ("localhost:8321", 200),
        ("127.0.0.1:8321", 200),
        ("[::1]:8321", 200),
        (None, 421),
        ("", 421),
        ("evil.example", 421),
        ("evil.example:8321", 421),
        ("127.0.0.1.evil.example", 421),
        ("0.0.0.0:8321", 421),
    ],
)
def test_a_request_has_to_reach_us_by_a_name_of_this_machine(host: str | None, expected: int):
    """Another one may point here today: who asks then is that other one."""
    assert status(host=host) == expected


def test_a_wrong_origin_is_told_before_anything_else():
    """Who may not ask does not learn what there is."""
    assert status("GET", "/nothing", origin="http://evil.example") == 403
    assert status("POST", "/nothing") == 404
