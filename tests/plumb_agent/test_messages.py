"""Messages and the history that shares its list."""

from plumb_agent.messages import History, Message, TextBlock, text_of

A, B, C, D = (Message("user", text) for text in "abcd")


def test_a_history_grows_without_changing():
    """The shorter one stays what it was."""
    short = History([A])
    long = short.appended(B)
    assert list(short) == [A]
    assert list(long) == [A, B]
    assert len(long) == 2


def test_two_continuations_of_one_history_do_not_meet():
    """The second one copies."""
    short = History([A])
    left, right = short.appended(B), short.appended(C)
    assert list(left) == [A, B]
    assert list(right) == [A, C]
    assert list(right.appended(D)) == [A, C, D]


def test_since_tells_what_a_continuation_added():
    """None where it is no continuation, or not surely one."""
    short = History([A])
    long = short.appended(B).appended(C)
    assert long.since(short) == (B, C)
    assert short.since(long) is None
    assert History([A, B]).since(short) is None
    assert long.since(None) is None


def test_histories_are_compared_by_their_messages():
    """For tests and logs; how the lists are shared does not show."""
    assert History([A]).appended(B) == History([A, B])
    assert History([A]) != History([B])
    assert History([A]) != [A]


def test_text_of_joins_the_text_blocks():
    """Of a string, itself."""
    assert text_of("a") == "a"
    assert text_of((TextBlock("a"), TextBlock("b"))) == "ab"
