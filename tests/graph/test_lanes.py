"""Wires between two rows never run on top of one another."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from fabric.graph.lanes import Run, Wire, lay

GAP = 3


@st.composite
def wires(draw: st.DrawFn) -> list[Wire]:
    """Through wires and turns on both sides; different ends on one side are at least the gap apart."""
    place = st.integers(0, 20).map(lambda place: place * GAP)
    above = draw(st.lists(place, unique=True, max_size=9))
    below = [end + draw(st.integers(0, 1)) for end in draw(st.lists(place.map(lambda end: 2 * end), unique=True))]
    through = draw(st.integers(0, min(len(above), len(below))))
    found = [Wire((above.pop(),), (below.pop(),)) for _ in range(through)]
    found += [Wire((one, other), ()) for one, other in zip(above[::2], above[1::2], strict=False)]
    return found + [Wire((), (one, other)) for one, other in zip(below[::2], below[1::2], strict=False)]


def stretches(wire: Wire, run: Run | None, lanes: int) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
    """Return a wire's horizontals (lane, left, right) and verticals (place, top, bottom), between the rows."""
    if run is None:
        return [], [(wire.above[0], -1, lanes)]
    ends = sorted(wire.above + wire.below)
    if run.turn is None:
        level = [(run.lane, ends[0], ends[1])]
        return level, [(x, -1, run.lane) for x in wire.above] + [(x, run.lane, lanes) for x in wire.below]
    (start,), (end,) = wire.above, wire.below
    level = [
        (run.lane, *sorted((start, run.turn))),
        (run.then, *sorted((run.turn, end))),
    ]  # type: ignore[list-item]
    return level, [(start, -1, run.lane), (run.turn, run.lane, run.then), (end, run.then, lanes)]


@given(wires())
def test_no_wire_runs_on_another(given_: list[Wire]):
    """Nor nearer than the gap, on lanes or between them."""
    runs, lanes = lay(given_, GAP)
    drawn = [stretches(wire, run, lanes) for wire, run in zip(given_, runs, strict=True)]
    for (level, upright), (other_level, other_upright) in combinations(drawn, 2):
        for lane, left, right in level:
            assert 0 <= lane < lanes
            for other, other_left, other_right in other_level:
                assert lane != other or right + GAP <= other_left or other_right + GAP <= left
        for place, top, bottom in upright:
            for other, other_top, other_bottom in other_upright:
                assert abs(place - other) >= GAP or bottom < other_top or other_bottom < top


def test_a_straight_wire_needs_no_lane():
    """It is the best there is."""
    assert lay([Wire((5,), (5,))], GAP) == ([None], 0)


def test_wires_side_by_side_share_a_lane():
    """Lanes are height."""
    assert lay([Wire((0,), (6,)), Wire((12,), (20,))], GAP) == ([Run(0), Run(0)], 1)


def test_two_wires_that_change_places_are_parted_by_a_split():
    """Each comes down where the other goes down: whichever had the upper lane, they would meet."""
    runs, lanes = lay([Wire((0,), (30,)), Wire((30,), (0,))], GAP)
    assert (runs, lanes) == ([Run(0, turn=15, then=2), Run(1)], 3)


def test_the_lane_that_crosses_less_is_taken():
    """Two wires to the right: the one that starts farther right has the upper lane."""
    assert lay([Wire((0,), (20,)), Wire((10,), (40,))], GAP) == ([Run(1), Run(0)], 2)
