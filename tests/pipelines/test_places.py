"""Addresses and directories that have values in them."""

import pytest

from fabric.pipelines.expressions.expression import Scope, bind
from fabric.pipelines.expressions.places import address_of, directory_of

VALUE_DOI = "10.1/x?y=1#z &"


def address(text: str, **given: object) -> str:
    return str(bind({"url": text}).resolve(Scope(given, {}, {}), {"url": address_of})["url"])


def directory(text: str, **given: object) -> str:
    return str(bind(text).resolve(Scope(given, {}, {}), {"": directory_of}))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("http://x/works/{{ ctx.v }}/all", "http://x/works/10.1%2Fx%3Fy%3D1%23z%20%26/all"),
        ("http://x/?q={{ ctx.v }}&n=1", "http://x/?q=10.1%2Fx%3Fy%3D1%23z%20%26&n=1"),
        ("http://x?q={{ ctx.up }}", "http://x?q=..%2Fadmin"),
        ("http://x/{{ ctx.n }}{{ ctx.none }}-{{ ctx.n }}", "http://x/3-3"),
        ("{{ ctx.base }}/works/{{ ctx.n }}?a={{ ctx.n }}", "http://me:pw@x:80/api/works/3?a=3"),
        ("{{ ctx.base }}{{ ctx.path }}", "http://me:pw@x:80/api%2Fa%2Fb%20c"),
        ("http://x:{{ ctx.n }}{{ ctx.path }}", "http://x:3/a/b%20c"),
        ("http://{{ ctx.host }}/a", "http://x.test:80/y/a"),
        ("http://{{ ctx.host }}", "http://x.test:80/y"),
        ("http://{{ ctx.host }}.test/a", "http://x.test:80%2Fy.test/a"),
        ("{{ ctx.scheme }}://x/{{ ctx.n }}", "https://x/3"),
        ("{{ ctx.odd }}", "http://x/../?a b"),
        ("http://x/../y", "http://x/../y"),
    ],
)
def test_values_change_nothing_of_an_address_around_them(text: str, wanted: str) -> None:
    """They are one segment, or one parameter; what begins the address, or is all of it, is as it is."""
    given = {"v": VALUE_DOI, "up": "../admin", "n": 3, "none": None, "base": "http://me:pw@x:80/api", "path": "/a/b c"}
    more = {"host": "x.test:80/y", "scheme": "https", "odd": "http://x/../?a b"}
    assert address(text, **given, **more) == wanted


@pytest.mark.parametrize("value", ["..", "a/../../b", "%2e%2E", "..\\b", "."])
def test_no_value_climbs_in_an_address(value: str) -> None:
    """Neither as a segment of its own, nor with what stands beside it, nor at the beginning of the path."""
    for text in ("http://x/a/{{ ctx.v }}", "http://x/a/{{ ctx.v }}/b?c", "http://x/a/{{ ctx.v }}{{ ctx.none }}"):
        with pytest.raises(ValueError, match="leads out of"):
            address(text, v=value)
    with pytest.raises(ValueError, match="leads out of"):
        address("http://x/a/.{{ ctx.v }}", v=".")
    with pytest.raises(ValueError, match="leads out of"):
        address("http://x{{ ctx.v }}", v="/a/../b")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("res/{{ ctx.id }}", "res/a/b"),
        ("res/{{ ctx.id }}-{{ ctx.none }}/x", "res/a/b-/x"),
        ("res/{{ ctx.top }}", "res//tmp/x"),
        ("{{ ctx.root }}/{{ ctx.id }}", "/tmp/../x/a/b"),
        ("{{ ctx.root }}", "/tmp/../x"),
        ("../{{ ctx.id }}", "../a/b"),
    ],
)
def test_values_in_directories(text: str, wanted: str) -> None:
    """What begins the directory may lead anywhere; others have directories of their own."""
    assert directory(text, id="a/b", root="/tmp/../x", top="/tmp/x") == wanted


@pytest.mark.parametrize(
    "text", ["res/{{ ctx.id }}", "res-{{ ctx.id }}", "res/a{{ ctx.id }}/b", "{{ ctx.out }}-{{ ctx.id }}"]
)
@pytest.mark.parametrize("value", ["/../../evil", "x/../y", "/.. /.."])
def test_no_value_leaves_its_directory(text: str, value: str) -> None:
    """Wherever it stands."""
    with pytest.raises(ValueError, match=r"'outputs\.dir' would leave its directory for this input: "):
        directory(text, id=value, out="/tmp/out")


@pytest.mark.parametrize("value", ["", None, " ", "/", "."])
def test_a_directory_is_not_nothing(value: str | None) -> None:
    """Files of one input would be among the directories of the others."""
    for text in ("res/{{ ctx.id }}", "res/{{ ctx.id }}/x", "{{ ctx.id }}/x"):
        with pytest.raises(ValueError, match=r"'outputs\.dir' has no value for this input: "):
            directory(text, id=value)
