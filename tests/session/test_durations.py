"""Durations in buckets, and the latency of a worker."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fabric.session.delivery import Message, Unacked
from fabric.session.durations import DURATIONS_S, Histogram
from fabric.session.latency import Latency


def answered(*said: bool) -> list[Unacked]:
    found = []
    for seq, one in enumerate(said):
        unacked = Unacked(seq, Message(b"1", (), b"", b"", b"", "w"), b"")
        unacked.outputs = [("output", b"1", None)] if one else []
        found.append(unacked)
    return found


@given(st.lists(st.floats(0.0, 1000.0), max_size=50))
def test_each_duration_is_in_the_bucket_of_the_next_bound(took: list[float]):
    """The bound itself belongs to its bucket; what is above all is in the last."""
    histogram = Histogram()
    for took_s in took:
        histogram.add(took_s)
    found = histogram.durations
    below = [sum(took_s <= bound_s for took_s in took) for bound_s in DURATIONS_S]
    assert [sum(found.counts[: at + 1]) for at in range(len(below))] == below
    assert sum(found.counts) == len(took)
    assert abs(found.total_s - sum(took)) < 1e-6


def test_a_latency_is_from_what_was_given_to_what_went_on():
    """Also where answers come in other batches than messages; one without an output does not count."""
    latency = Latency()
    latency.given(2, 1.0)
    latency.given(2, 2.0)
    latency.answered(answered(True, True, True), 3.0)
    assert latency.durations.total_s == 2.0 + 2.0 + 1.0
    latency.answered(answered(False), 9.0)
    assert (latency.durations.total_s, sum(latency.durations.counts)) == (5.0, 3)


def test_what_a_process_took_along_does_not_count():
    """Its successor is given it anew."""
    latency = Latency()
    latency.given(5, 1.0)
    latency.begin()
    latency.given(1, 4.0)
    latency.answered(answered(True), 5.0)
    assert (latency.durations.total_s, sum(latency.durations.counts)) == (1.0, 1)


@given(st.lists(st.tuples(st.integers(1, 5), st.lists(st.booleans(), max_size=7)), max_size=30))
def test_each_message_with_an_output_counts_once(steps: list[tuple[int, list[bool]]]):
    """However they are given and answered."""
    latency, now_s, with_worker = Latency(), 0.0, [0.0][:0]
    expected = []
    for count, said in steps:
        now_s += 1.0
        latency.given(count, now_s)
        with_worker += [now_s] * count
        now_s += 1.0
        done = said[: len(with_worker)]
        expected += [now_s - given_s for given_s, one in zip(with_worker, done, strict=False) if one]
        del with_worker[: len(done)]
        latency.answered(answered(*done), now_s)
    assert sum(latency.durations.counts) == len(expected)
    assert latency.durations.total_s == sum(expected)
