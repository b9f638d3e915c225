"""The tree of sessions."""

from __future__ import annotations

from fabric.cli.session_table import SessionRow, render_sessions, row_of_json


def session(id_: str, parent: str = "", created: float = 0.0, **fields: object) -> SessionRow:
    return SessionRow(id_, parent, "paused", "", 3, created)._replace(**fields)  # type: ignore[arg-type]


def test_children_stand_below_their_parents_the_oldest_first():
    """Whatever the order in which a bucket lists them."""
    rows = [
        session("c", "a", 30.0),
        session("z", created=1.0, detail="no input", of="review.plumb"),
        session("b", "a", 20.0, current=True),
        session("d", "b", 40.0, entries=None),
        session("a", created=10.0),
    ]
    assert render_sessions(rows, now=100.0) == [
        "SESSION  STATUS            ENTRIES  AGE    OF",
        "z        paused: no input  3        1m39s  review.plumb",
        "a        paused            3        1m30s",
        "├─ b *   paused            3        1m20s",
        "│  └─ d  paused            -        1m00s",
        "└─ c     paused            3        1m10s",
    ]


def test_a_session_whose_parent_is_elsewhere_is_shown():
    """As one that has none."""
    assert render_sessions([session("b", "gone")], now=0.0)[1].startswith("b  ")


def test_there_may_be_none():
    """Then there are the headings alone."""
    assert render_sessions([], now=0.0) == ["SESSION  STATUS  ENTRIES  AGE  OF"]


def test_a_chain_of_forks_may_be_long():
    """Longer than a stack is deep; wide lines are cut."""
    rows = [session("s0"), *(session(f"s{i}", f"s{i - 1}", float(i)) for i in range(1, 3000))]
    lines = render_sessions(rows, now=0.0, columns=40)
    assert len(lines) == 3001
    assert max(map(len, lines)) == 40


def test_a_clock_that_went_back_makes_no_age_negative():
    """It is as if the session were new."""
    assert "  0s" in render_sessions([session("a", created=10.0)], now=5.0)[1]


def test_what_a_handler_wrote_moves_no_cursor():
    """A reason is shown as text, and not all of it."""
    shown = render_sessions([session("a", detail="\x1b[2J" + "x" * 100)], now=0.0)[1]
    assert "paused: \\x1b[2Jxxx" in shown
    assert len(shown) < 80


def test_for_programs_it_is_one_object():
    """With a version, and without what is not said."""
    assert row_of_json(session("b", "a", 20.0, current=True)) == {
        "v": 1, "id": "b", "parent": "a", "status": "paused", "entries": 3, "created": 20.0, "current": True,
    }  # fmt: skip
