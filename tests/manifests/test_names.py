"""Names that compose, Kubernetes and DNS take."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.manifests.names import LABEL_MAX, label_of, labels_of, namespace_of

NAMES = st.lists(
    st.text() | st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}(\.[a-z_]{1,9})?(#\d)?", fullmatch=True), unique=True
)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("doctor", "doctor"),
        ("inner.Unit_A", "inner-unit-a"),
        ("writer#2", "writer-2"),
        ("Größe", "groe"),
        ("日本", "w"),
        ("1st", "w-1st"),
        ("__x__", "x"),
    ],
)
def test_a_label_is_like_the_name(name: str, label: str):
    """People find it again."""
    assert label_of(name) == label


@given(NAMES)
def test_labels_are_dns_labels_and_no_two_are_the_same(names):
    """Whatever the names are; and none is that of a service of ours."""
    labels = labels_of(names, ("coordinator", "grafana"))
    assert list(labels) == names
    assert len(set(labels.values())) == len(names)
    assert all(re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", label) for label in labels.values())
    assert all(len(label) <= LABEL_MAX for label in labels.values())
    assert not {"coordinator", "grafana"} & set(labels.values())


def test_who_comes_later_renames_nobody_who_has_a_plain_name():
    """And the same name always gets the same mark."""
    before = labels_of(["a-b"])
    after = labels_of(["a.b", "a-b", "a_b"])
    assert (before["a-b"], after["a-b"]) == ("a-b", "a-b")
    assert after["a.b"] == labels_of(["a_b", "a.b"])["a.b"]
    assert re.fullmatch("a-b-[0-9a-f]{6}", after["a.b"])


def test_a_long_name_is_cut_and_marked():
    """Two that differ at their ends stay two."""
    one, two = labels_of(["x" * 80 + "1", "x" * 80 + "2"]).values()
    assert (len(one), len(two), one != two) == (LABEL_MAX, LABEL_MAX, True)


@pytest.mark.parametrize("label", ["default", "kube-system", "kube-mine", "kube-" + "x" * 47])
def test_a_namespace_is_none_that_kubernetes_keeps_for_itself(label: str):
    """A folder may be called like one of them."""
    name = namespace_of(label)
    assert re.fullmatch("fabric-[a-z-]+-[0-9a-f]{6}", name)
    assert len(name) <= LABEL_MAX
    assert [namespace_of(plain) for plain in ("shop", "kube", "defaults")] == ["shop", "kube", "defaults"]
