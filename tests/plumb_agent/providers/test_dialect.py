"""What the hosted providers have in common."""

import pytest

from fabric.errors import ConfigError
from fabric.wire.payload import INT, JSON, STRING, Field, ListOf, Product, Record, Sum, json_schema
from plumb_agent.providers.dialect import ERROR_CHARS_MAX, locate, refused, retry_after_s, shorten, strict_schema

NOW_S = 1_800_000_000.0


@pytest.mark.parametrize(
    ("endpoint", "anthropic", "openai"),
    [
        ("http://h", "http://h/v1/messages", "http://h/v1/chat/completions"),
        ("http://h:80/", "http://h:80/v1/messages", "http://h:80/v1/chat/completions"),
        ("https://h/v1", "https://h/v1/messages", "https://h/v1/chat/completions"),
        ("https://h/v1/", "https://h/v1/messages", "https://h/v1/chat/completions"),
        ("https://h/api", "https://h/api/v1/messages", "https://h/api/chat/completions"),
        ("https://h/x/messages", "https://h/x/messages", "https://h/x/messages/chat/completions"),
        ("https://h/chat/completions", "https://h/chat/completions/v1/messages", "https://h/chat/completions"),
        ("https://h/v1?version=2#x", "https://h/v1/messages?version=2", "https://h/v1/chat/completions?version=2"),
        ("http://[::1]:8000", "http://[::1]:8000/v1/messages", "http://[::1]:8000/v1/chat/completions"),
    ],
)
def test_an_endpoint_is_a_whole_url_or_where_the_api_is(endpoint, anthropic, openai):
    """OpenAI's own client takes a path for the base, Anthropic's puts the version behind it."""
    assert locate(endpoint, "/messages", path_is_base=False) == anthropic
    assert locate(endpoint, "/chat/completions", path_is_base=True) == openai


@pytest.mark.parametrize(
    "endpoint", ["ftp://h", "localhost:8000", "h", "http://", "http://h:x", "http://[", "http://h/a b", "http://hé", ""]
)
def test_what_is_no_address_of_a_web_server_is_a_configuration_error(endpoint):
    """It is shown."""
    with pytest.raises(ConfigError, match="must be an http or https URL, got") as caught:
        locate(endpoint, "/messages", path_is_base=False)
    assert repr(endpoint) in str(caught.value)


def test_a_password_in_an_endpoint_is_refused_and_not_shown():
    """It would replace the key."""
    with pytest.raises(ConfigError, match="must not have a user or a password") as caught:
        locate("https://me:hunter2@h/v1", "/messages", path_is_base=False)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT"}, 30.0),
        ({"retry-after": "Fri, 15 Jan 2027 07:00:00 GMT"}, 0.0),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "Fri, 99 Jan 2027 08:00:30 GMT"}, None),
    ],
)
def test_how_long_a_server_asks_to_wait(headers, seconds):
    """Milliseconds, seconds, or a date; what cannot be read is as if it were not there."""
    assert retry_after_s(headers, NOW_S) == seconds


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_some_statuses_pass(status):
    """The caller may ask again."""
    failure = refused("openai", status, {"retry-after": "2"}, b"", NOW_S)
    assert (failure.code, failure.transient, failure.retry_after_s) == ("provider_unavailable", True, 2.0)
    assert str(failure) == f"openai answered {status}: no reason was given"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_others_do_not(status):
    """The same request would be refused again."""
    failure = refused("openai", status, {"retry-after": "2"}, b"", NOW_S)
    assert (failure.code, failure.transient, failure.retry_after_s) == ("provider_refused_request", False, None)
    assert failure.details == {"status": str(status)}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            b'{"type":"error","error":{"type":"not_found_error","message":"model: x"}}',
            "model: x (type=not_found_error)",
        ),
        (b'{"error":{"message":"Bad","type":"t","param":"p","code":"c"}}', "Bad (type=t param=p)"),
        (b'{"error":{"code":"c"}}', "c"),
        (b'{"error":"model not found"}', "model not found"),
        (b'{"message":"nope"}', "nope"),
        (b'{"detail":[{"msg":"x"}]}', "[{'msg': 'x'}]"),
        (b"Bad Gateway", "Bad Gateway"),
        (b"\xff\xfe", "��"),
        (b'{"error":3}', '{"error":3}'),
    ],
)
def test_the_words_of_an_error_come_in_many_shapes(body, words):
    """Those of the APIs, those of other servers, and plain text."""
    assert str(refused("p", 400, {}, body, NOW_S)) == f"p answered 400: {words}"


def test_a_redirection_is_not_followed():
    """The failure says where it led."""
    failure = refused("p", 307, {"location": "https://elsewhere/"}, b"", NOW_S)
    assert (failure.code, failure.transient) == ("provider_refused_request", False)
    assert "redirects to https://elsewhere/, which is not followed" in str(failure)


def test_what_somebody_else_wrote_is_one_line_of_a_bounded_length():
    """Without control characters."""
    assert shorten("a\n\tb\x1b[31m  c") == "a b [31m c"
    assert len(shorten("x" * 10_000)) == ERROR_CHARS_MAX


OBJECT = Record((Field("a", INT), Field("b", ListOf(Sum((STRING, INT))))))


def test_a_type_that_providers_can_enforce_has_a_strict_schema():
    """Objects, lists and alternatives of what JSON has."""
    assert strict_schema(json_schema(OBJECT)) == {
        "type": "object",
        "properties": {
            "a": {"type": "integer"},
            "b": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
        },
        "required": ["a", "b"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    "type_",
    [
        STRING,
        ListOf(OBJECT),
        Sum((OBJECT, INT)),
        Record((Field("a", JSON),)),
        Record((Field("a", Product((INT, INT))),)),
        Record((Field("a", INT, optional=True),)),
        Record((Field("a", ListOf(Record((Field("b", JSON),)))),)),
    ],
)
def test_other_types_are_left_to_the_instruction(type_):
    """No object at the root, a tuple, a value of any type, or a field that may be missing, however deep."""
    assert strict_schema(json_schema(type_)) is None


def test_no_schema_is_none():
    """A request without an output type."""
    assert strict_schema({}) is None
