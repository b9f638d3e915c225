"""One input for several replicas: who gets what, and in which order it goes on."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from fabric.session.dealing import Dealing, Share
from fabric.session.delivery import SMALL_BYTES, Message, Unacked
from fabric.session.rooms import BYTES_MAX

WINDOW = 2


def message(number: int, size_bytes: int = 0) -> Message:
    return Message(str(number).encode() + b" " * size_bytes, (), bytes(16), number.to_bytes(8, "big"), b"", "i")


class Dealt:
    """A node with replicas that are all there, each with a window of two."""

    def __init__(self, replicas: int, messages: int = 0) -> None:
        self.dealing = Dealing()
        self.shares = [Share(self.dealing, f"f#{number}", 1, WINDOW) for number in range(1, replicas + 1)]
        for share in self.shares:
            share.may_send = True
        for number in range(messages):
            self.dealing.offer(message(number))
        self.deal()

    def deal(self) -> None:
        """Deal to those that are there; each sends at once what it got."""
        there = [share for share in self.shares if share.may_send]
        for share in self.dealing.deal(there):
            share.take()
            assert share.queued == 0

    @property
    def with_each(self) -> list[list[int]]:
        """What each has, oldest first."""
        return [[number_of(slot.message) for slot in share.slots] for share in self.shares]

    def answer(self, replica: int) -> list[int]:
        """Let one do its oldest message; return what goes on by that."""
        share = self.shares[replica]
        oldest = share.oldest
        assert oldest is not None
        return numbers(share.returned("output", share.marker(oldest.seq)))

    def die(self, replica: int, deaths_max: int = 1_000) -> tuple[int | None, list[int]]:
        """Let a process die and the next one come; return which message is a dead letter by that, and what goes on."""
        share = self.shares[replica]
        suspect, deaths = share.crashed()
        poison, turned = None, []
        if suspect is not None and deaths >= deaths_max:
            poison, turned = number_of(suspect), numbers(share.remove(suspect))
        share.begin(2)
        share.may_send = True
        return poison, turned


def number_of(one: Message) -> int:
    return int(one.payload)


def numbers(unacked: list[Unacked]) -> list[int]:
    return [number_of(one.message) for one in unacked]


def test_each_message_goes_to_who_has_the_fewest_and_they_take_turns():
    """Up to the window of each; the rest waits."""
    dealt = Dealt(3, 8)
    assert dealt.with_each == [[0, 3], [1, 4], [2, 5]]
    assert (dealt.dealing.queued, dealt.dealing.waiting) == (2, 8)
    dealt.answer(1)
    dealt.answer(1)
    dealt.deal()
    assert dealt.with_each == [[0, 3], [6, 7], [2, 5]]


def test_turns_go_on_where_they_were():
    """One message at a time comes to each of them after the other."""
    dealt = Dealt(3)
    for number in range(4):
        dealt.dealing.offer(message(number))
        dealt.deal()
        dealt.answer(number % 3)
    assert dealt.dealing.idle


def test_what_is_answered_ahead_of_its_turn_waits():
    """It goes on behind what came before it, all at once."""
    dealt = Dealt(3, 3)
    assert dealt.answer(2) == []
    assert dealt.answer(1) == []
    assert (dealt.dealing.ahead, dealt.dealing.waits_for) == (2, "f#1")
    assert dealt.answer(0) == [0, 1, 2]
    assert dealt.dealing.idle


def test_one_that_is_stuck_makes_the_others_wait_when_their_windows_are_full_of_answers():
    """Six are ahead of the first, which nobody has answered: nothing new is dealt."""
    dealt = Dealt(3, 20)
    for _ in range(3):
        dealt.answer(1)
        dealt.answer(2)
        dealt.deal()
    assert (dealt.dealing.ahead, dealt.dealing.full, dealt.dealing.waits_for) == (6, True, "f#1")
    assert dealt.with_each == [[0, 3], [8], [9]]
    assert dealt.answer(0)[:3] == [0, 1, 2]
    assert not dealt.dealing.full


def test_bytes_that_wait_for_their_turn_have_a_bound():
    """Whatever their number."""
    dealt = Dealt(2, 9)
    share = dealt.shares[1]
    share.hold("output", b"x" * (BYTES_MAX // 2), None)
    share.hold("output", b"x" * (BYTES_MAX // 2), None)
    dealt.answer(1)
    assert dealt.dealing.full
    dealt.answer(0)
    assert not dealt.dealing.full


def test_what_one_had_that_died_is_dealt_again_in_order_even_if_nothing_new_is():
    """The others wait for it."""
    dealt = Dealt(2, 20)
    for _ in range(4):
        dealt.answer(1)
        dealt.deal()
    assert dealt.dealing.full
    dealt.die(0)
    while dealt.shares[1].slots:
        dealt.answer(1)
    dealt.deal()
    assert dealt.with_each == [[0], [2]]
    assert dealt.answer(1) == []
    assert dealt.answer(0)[:2] == [0, 1]


def test_a_suspect_is_alone():
    """Nothing is dealt behind it, and it is dealt to nobody who has something."""
    dealt = Dealt(2, 9)
    dealt.die(0)
    dealt.deal()
    assert dealt.with_each == [[0], [1, 3]]
    dealt.answer(1)
    dealt.answer(1)
    dealt.deal()
    assert dealt.with_each == [[0], [2]]


def test_one_of_those_that_are_busy_is_spared_for_a_suspect():
    """Else it would wait as long as new messages come."""
    dealt = Dealt(3, 20)
    dealt.shares[0].crashed()
    dealt.shares[0].begin(2)  # and does not come back
    dealt.answer(1)
    dealt.deal()
    assert dealt.with_each == [[], [4], [2, 5]]
    dealt.answer(1)
    dealt.deal()
    assert dealt.with_each == [[], [0], [2, 5]]


def test_a_message_is_to_blame_for_the_deaths_of_all_replicas():
    """Each is counted once; what died with it at first is answered by the next."""
    dealt = Dealt(3, 9)
    assert dealt.die(0, 3) == (None, [])
    dealt.deal()
    assert dealt.with_each[0] == [0]
    assert dealt.die(0, 3) == (None, [])
    dealt.answer(1)
    dealt.answer(1)
    dealt.shares[0].may_send = False
    dealt.deal()
    assert dealt.with_each[1] == [0]
    assert dealt.shares[1].crashed() == (dealt.shares[1].slots[0].message, 3)
    assert dealt.shares[1].blamed_for == Counter({"f#1": 2, "f#2": 1})
    assert numbers(dealt.shares[1].remove(dealt.shares[1].slots[0].message)) == [1]


def test_a_message_that_the_process_names_is_the_only_suspect():
    """The others are not alone."""
    dealt = Dealt(1, 3)
    suspect, deaths = dealt.shares[0].crashed((1).to_bytes(8, "big"))
    assert (suspect and number_of(suspect), deaths) == (1, 1)
    dealt.shares[0].begin(2)
    dealt.shares[0].may_send = True
    dealt.deal()
    assert dealt.with_each == [[0]]


def test_the_same_message_may_be_dealt_twice():
    """A copy and a merge before a node bring it there two times; one of them is to blame, and the other goes on."""
    dealt = Dealt(2)
    twice = message(7)
    for _ in range(2):
        dealt.dealing.offer(twice)
    dealt.deal()
    assert dealt.with_each == [[7], [7]]
    assert dealt.die(0, 1) == (7, [])
    assert dealt.answer(1) == [7]
    assert dealt.dealing.idle


def test_large_messages_do_not_fill_a_wide_window():
    """As of any worker that reads batches."""
    dealt = Dealt(1)
    dealt.shares[0].widen()
    for number in range(4):
        dealt.dealing.offer(message(number, SMALL_BYTES))
    dealt.deal()
    assert dealt.with_each == [[0, 1]]


def test_what_one_leaves_behind_is_dealt_to_the_others_and_by_the_last_to_nobody():
    """Its last outputs stand."""
    dealt = Dealt(2, 6)
    dealt.shares[0].hold("output", b"x", None)
    committed, left = dealt.shares[0].end()
    assert (numbers(committed), left) == ([0], [])
    assert dealt.dealing.queued == 3
    assert dealt.shares[1].end() == ([], [])
    turned, rest = dealt.dealing.give_up()
    assert (turned, [number_of(one) for one in rest]) == ([], [1, 2, 3, 4, 5])
    assert (dealt.dealing.idle, dealt.dealing.size_bytes) == (True, 0)


STEPS = st.lists(
    st.tuples(st.sampled_from(["offer", "offer", "answer", "answer", "die", "back", "stop"]), st.integers(0, 3)),
    max_size=120,
)


@given(STEPS, st.integers(1, 4), st.integers(1, 4), st.integers(0, 12))
def test_whatever_replicas_do_each_message_goes_on_once_and_in_order(
    steps: list[tuple[str, int]], replicas: int, deaths_max: int, offered: int
):
    """Unless it is a dead letter; suspects are alone, and what is ahead has a bound."""
    dealt = Dealt(replicas, offered)
    gone_on, dead = [], []
    killed: Counter[int] = Counter()
    for what, which in steps:
        share = dealt.shares[which % replicas]
        match what:
            case "offer":
                dealt.dealing.offer(message(offered))
                offered += 1
            case "answer" if share.slots:
                gone_on += dealt.answer(which % replicas)
            case "die":
                killed.update(number_of(slot.message) for slot in share.slots)
                poison, turned = dealt.die(which % replicas, deaths_max)
                dead += [] if poison is None else [poison]
                gone_on += turned
            case "stop":
                share.begin(2)
            case "back":
                share.may_send = True
        dealt.deal()
        suspects = [share for share in dealt.shares if any(slot.deaths for slot in share.slots)]
        assert all(len(share.slots) == 1 for share in suspects)
        assert dealt.dealing.ahead <= 2 * WINDOW * replicas
    for share in dealt.shares:
        share.may_send = True
    dealt.deal()
    while any(share.slots for share in dealt.shares):
        for number, share in enumerate(dealt.shares):
            if share.slots:
                gone_on += dealt.answer(number)
                dealt.deal()
    assert gone_on == [number for number in range(offered) if number not in dead]
    assert all(killed[number] >= deaths_max for number in dead)
    assert (dealt.dealing.idle, dealt.dealing.ahead, dealt.dealing.size_bytes) == (True, 0, 0)
