"""The edge to one worker."""

import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.errors import ChannelBroken, RemoteProtocolError
from fabric.session.delivery import OUTPUTS_PER_INPUT_MAX, Delivery, Message, Trace
from fabric.wire.codec import decode, encode, split
from fabric.wire.frame import Data, Frame, Marker, Provenance


def message(text: str) -> Message:
    trace = Trace(bytes(16), 1)
    return Message(text.encode(), (trace,), trace.id, bytes(8), b"", "i")


def edge(window: int = 1, *texts: str) -> Delivery:
    delivery = Delivery("judge", 1, window)
    delivery.may_send = True
    for text in texts:
        delivery.offer(message(text))
    return delivery


def taken(delivery: Delivery) -> list[str]:
    return [unacked.message.payload.decode() for unacked in delivery.take()]


def outputs(unacked: list) -> list[list[str]]:
    return [[payload.decode() for _, payload, _ in one.outputs] for one in unacked]


def test_nothing_is_sent_before_the_worker_runs():
    """Messages wait."""
    delivery = Delivery("judge", 1, 8)
    delivery.offer(message("a"))
    assert delivery.take() == []
    assert not delivery.idle


def test_a_window_bounds_what_the_worker_has():
    """The third waits until the first is acknowledged."""
    delivery = edge(2, "a", "b", "c")
    assert taken(delivery) == ["a", "b"]
    delivery.returned("output", "ack/judge/1/1")
    assert taken(delivery) == ["c"]


def test_outputs_are_committed_by_the_marker_that_follows_them():
    """Each message gets the outputs between the marker before and its own; none is fine."""
    delivery = edge(3, "a", "b", "c")
    taken(delivery)
    delivery.hold("output", b"1", None)
    delivery.hold("output", b"2", None)
    assert outputs(delivery.returned("output", "ack/judge/1/1")) == [["1", "2"]]
    assert outputs(delivery.returned("output", "ack/judge/1/2")) == [[]]
    delivery.hold("output", b"3", None)
    assert outputs(delivery.returned("output", "ack/judge/1/3")) == [["3"]]
    assert delivery.idle


def test_a_message_is_committed_when_its_marker_is_back_on_every_port_that_marks():
    """Telemetry and output travel on sockets of their own; both have to be through."""
    delivery = Delivery("judge", 1, 2)
    delivery.mark(frozenset({"telemetry"}))
    delivery.may_send = True
    delivery.offer(message("a"))
    delivery.offer(message("b"))
    taken(delivery)
    delivery.hold("output", b"1", None)
    assert delivery.returned("output", "ack/judge/1/1") == []
    delivery.hold("output", b"2", None)
    delivery.hold("telemetry", b"t1", None)
    assert outputs(delivery.returned("telemetry", "ack/judge/1/1")) == [["1", "t1"]]


NEVER_SENT = [
    "ack/judge/1/3",
    "ack/judge/1/0",
    "ack/judge/1/",
    "ack/judge/1/-1",
    "ack/judge/1/01",
    "ack/judge/1/1 ",
    "ack/judge/1/¹",
    "ack/judge/1/١",
    "ack/judge/1/" + "9" * 5_000,  # more digits than Python reads
    "ack/judge/2/1",
    "ack/other/1/1",
    "nonsense",
    "",
]


@pytest.mark.parametrize("marker", NEVER_SENT, ids=lambda marker: marker[:20])
@pytest.mark.parametrize("port", ["output", "telemetry"])
def test_a_marker_that_was_never_sent_is_refused(marker: str, port: str):
    """Also where nothing hangs on it, and nothing is committed by it."""
    delivery = edge(2, "a", "b")
    taken(delivery)
    with pytest.raises(RemoteProtocolError, match="which is not on its way") as caught:
        delivery.returned(port, marker)
    assert (type(caught.value), caught.value.reason) == (RemoteProtocolError, "marker")
    assert len(str(caught.value)) < 200
    assert len(delivery.returned("output", "ack/judge/1/1")) == 1


def test_a_marker_that_is_back_already_is_refused():
    """On each port for itself."""
    delivery = edge(2, "a", "b")
    taken(delivery)
    for port in ("output", "telemetry"):
        delivery.returned(port, "ack/judge/1/1")
        with pytest.raises(RemoteProtocolError, match=r"'ack/judge/1/1' on .*, which is not on its way"):
            delivery.returned(port, "ack/judge/1/1")
    assert delivery.waiting == 1


def test_a_marker_before_an_earlier_one_shows_that_that_is_missing():
    """A channel keeps its order."""
    delivery = edge(2, "a", "b")
    taken(delivery)
    with pytest.raises(ChannelBroken, match="'ack/judge/1/2' on output before 'ack/judge/1/1'"):
        delivery.returned("output", "ack/judge/1/2")


def test_where_markers_are_not_waited_for_some_may_be_missing():
    """A worker may forward them there only now and then."""
    delivery = edge(2, "a", "b")
    taken(delivery)
    assert delivery.returned("telemetry", "ack/judge/1/2") == []


def test_an_output_without_an_input_is_refused():
    """No message is with the worker."""
    with pytest.raises(RemoteProtocolError, match="no input in flight"):
        edge(1).hold("output", b"1", None)


def test_more_outputs_than_may_be_held_are_a_violation():
    """What is held back has a bound."""
    delivery = edge(1, "a")
    taken(delivery)
    for _ in range(OUTPUTS_PER_INPUT_MAX):
        delivery.hold("output", b"1", None)
    with pytest.raises(ChannelBroken, match="10001 outputs"):
        delivery.hold("output", b"1", None)


def test_a_worker_that_ends_commits_its_last_outputs_and_leaves_the_rest():
    """After max_messages it need not return the last marker."""
    delivery = edge(2, "a", "b", "c")
    taken(delivery)
    delivery.hold("output", b"1", None)
    committed, left = delivery.end()
    assert outputs(committed) == [["1"]]
    assert [m.payload for m in left] == [b"b", b"c"]
    assert delivery.idle


def test_a_worker_that_ends_without_an_answer_leaves_everything():
    """Nothing says that the first message was done."""
    delivery = edge(1, "a", "b")
    taken(delivery)
    committed, left = delivery.end()
    assert committed == []
    assert [m.payload for m in left] == [b"a", b"b"]


def test_markers_of_other_ports_may_come_behind_the_end_of_the_output():
    """Its last message is settled by then."""
    delivery = Delivery("judge", 1, 2)
    delivery.mark(frozenset({"telemetry"}))
    delivery.may_send = True
    delivery.offer(message("x"))
    taken(delivery)
    delivery.hold("output", b"1", None)
    assert delivery.returned("output", delivery.marker(1)) == []
    committed, left = delivery.end()
    assert ([one.seq for one in committed], left) == ([1], [])
    assert delivery.returned("telemetry", delivery.marker(1)) == []


def test_an_answer_that_was_not_held_counts_as_one():
    """``release: "early"`` passes outputs on at once; the message is done all the same when the worker ends."""
    delivery = edge(1, "a")
    taken(delivery)
    assert delivery.cause("output").message.payload == b"a"
    committed, left = delivery.end()
    assert ([one.outputs for one in committed], left) == ([[]], [])


FRAMES: st.SearchStrategy[Frame] = st.one_of(
    st.builds(
        Data,
        st.just("judge"),
        st.just(b"1"),
        st.builds(Provenance, st.just(bytes(16)), st.binary(min_size=8, max_size=8), st.just(1)),
    ),
    st.builds(Marker, st.just("judge"), st.integers(1, 4).map("ack/judge/1/{}".format)),
    st.builds(Data, st.just("judge"), st.just(b"2")),
)


@st.composite
def numbered(draw: st.DrawFn) -> list[Frame]:
    """Draw frames whose messages are numbered; now and then one is left out, or, in others, one comes twice."""
    wrong = draw(st.sampled_from([0, 2]))
    seq, frames = 0, []
    for frame in draw(st.lists(FRAMES, max_size=8)):
        if isinstance(frame, Data) and frame.provenance is not None:
            seq += draw(st.sampled_from([1, 1, 1, wrong]))
            frame = msgspec.structs.replace(frame, provenance=msgspec.structs.replace(frame.provenance, seq=seq))
        frames.append(frame)
    return frames


def batch_of(frames: list[Frame]) -> bytes:
    """Also of one frame, or none."""
    return b"\0\0\0\0\x03" + b"".join(struct.pack(">I", len(raw)) + raw for raw in map(encode, frames))


def the_long_way(delivery: Delivery, frames: list[Frame]) -> tuple[list[list[str]], bool]:
    """Return the outputs of what was committed, and whether all went well."""
    committed = []
    for frame in frames:
        try:
            match frame:
                case Data(_, payload, origin):
                    if origin is not None:
                        delivery.numbering.take("output", origin.seq)
                    delivery.hold("output", payload, origin.span_id if origin else None)
                case Marker(_, marker):
                    committed += delivery.returned("output", marker)
        except RemoteProtocolError:
            return outputs(committed), False
    return outputs(committed), True


@given(numbered(), st.booleans(), st.data())
def test_the_short_way_and_the_long_way_commit_the_same(frames: list[Frame], matters: bool, data: st.DataObject):
    """Whatever comes, and wherever the short way stops or one batch ends and the next begins."""
    long, short = edge(3, "a", "b", "c"), edge(3, "a", "b", "c")
    long.numbering.matters = short.numbering.matters = matters
    taken(long), taken(short)
    expected = the_long_way(long, frames)
    first = data.draw(st.integers(0, len(frames)))
    batch = batch_of(frames[:first])
    committed, behind = short.collect(batch)
    rest, well = the_long_way(short, [decode(raw) for raw in split(batch, behind)] + frames[first:])
    assert (outputs(committed) + rest, well) == expected
    assert short.waiting == long.waiting


def test_the_short_way_takes_answers_and_their_markers():
    """Or it would be none."""
    delivery = edge(2, "a", "b")
    taken(delivery)
    answer = Data("judge", b"1", Provenance(bytes(16), bytes(8), 1))
    batch = batch_of([answer, answer, Marker("judge", "ack/judge/1/1"), answer])
    committed, behind = delivery.collect(batch)
    assert outputs(committed) == [["1", "1"]]
    assert split(batch, behind) == [encode(answer)]


@given(st.data())
def test_of_all_that_a_worker_had_the_message_that_kills_it_is_found(data: st.DataObject):
    """Whatever answers die with a process: the others are answered in order, and it is blamed at the agreed number."""
    count, window = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    poison, deaths_max = data.draw(st.integers(0, count - 1)), data.draw(st.integers(2, 4))
    delivery = edge(window, *map(str, range(count)))
    answered: list[int] = []
    buried: list[tuple[int, int]] = []
    has: list[int] = []
    incarnation, seq = 1, 0
    while not delivery.idle:
        has += [int(one.message.payload) for one in delivery.take()]
        dies = poison in has
        for _ in range(data.draw(st.integers(0, has.index(poison))) if dies else 1):
            seq += 1
            answered += [int(one.message.payload) for one in delivery.returned("output", delivery.marker(seq))]
            has.pop(0)
        if dies:
            suspect, deaths = delivery.crashed()
            assert suspect is not None
            if deaths == deaths_max:
                buried.append((int(suspect.payload), incarnation))
                delivery.remove(suspect)
            incarnation, seq, has = incarnation + 1, 0, []
            delivery.begin(incarnation)
            delivery.may_send = True
    assert answered == [number for number in range(count) if number != poison]
    assert buried == [(poison, deaths_max)]
