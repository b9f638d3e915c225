"""The numbers of what a worker sends."""

import pytest

from fabric.errors import ChannelBroken, RemoteProtocolError
from fabric.session.numbering import Numbering


def counted(matters: bool = True) -> Numbering:
    numbering = Numbering("f")
    numbering.matters = matters
    return numbering


def test_each_port_counts_from_one():
    """As the worker does."""
    numbering = counted()
    for port, seq in [("output", 1), ("telemetry", 1), ("output", 2), ("telemetry", 2)]:
        numbering.take(port, seq)
    assert numbering.take_all("output", 3, 5, 3)
    numbering.take("output", 6)


@pytest.mark.parametrize("seq", [0, 1, 2])
def test_a_number_that_was_used_is_a_repetition(seq: int):
    """0 is none of the numbers."""
    numbering = counted()
    assert numbering.take_all("output", 1, 2, 2)
    with pytest.raises(RemoteProtocolError, match=f"worker 'f' sent message {seq} on 'output'; expected 3") as caught:
        numbering.take("output", seq)
    assert (type(caught.value), caught.value.reason) == (RemoteProtocolError, "replayed")


def test_a_number_that_is_left_out_is_a_gap():
    """Nothing that comes later fills it: a channel keeps its order."""
    with pytest.raises(ChannelBroken, match="sent message 2 on 'output'; expected 1"):
        counted().take("output", 2)


@pytest.mark.parametrize(("first", "last", "count"), [(2, 3, 2), (1, 3, 2), (1, 1, 2), (0, 1, 2)])
def test_of_many_none_is_taken_unless_they_may_all_be_right(first: int, last: int, count: int):
    """One by one it turns out which is wrong."""
    numbering = counted()
    assert not numbering.take_all("output", first, last, count)
    assert numbering.take_all("output", 1, 2, 2)


def test_where_numbers_do_not_matter_any_will_do():
    """None of them is kept for later, when they do, but the last."""
    numbering = counted(matters=False)
    assert numbering.take_all("output", 9, 2, 3)
    for seq in (0, 7, 7, 3):
        numbering.take("telemetry", seq)
    numbering.matters = True
    numbering.take("telemetry", 4)
    numbering.take("output", 1)
