"""ELIZA: the conversation of 1966, the rules in general, and odd inputs."""

import pytest
from conversation_1966 import PRINTED

from fabric.errors import ConfigError
from plumb_agent.messages import History, Message, Reply, Request, SystemBlock, TextBlock, Usage
from plumb_agent.providers import ProviderFailed
from plumb_agent.providers.eliza import MEMORIES_MAX, Doctor, Eliza, _hash, load_script, read_script


def ask(*texts: str) -> list[str]:
    doctor = Doctor(load_script())
    return [doctor.answer(text) for text in texts]


def test_the_printed_conversation_comes_out_word_for_word():
    """Every answer of the paper, in capitals and without a full stop."""
    assert ask(*(said for said, _ in PRINTED)) == [answer for _, answer in PRINTED]


def test_the_printed_conversation_does_not_depend_on_capitals_or_apostrophes():
    """Lower case, upper case and typographic apostrophes are the same text."""
    answers = [answer for _, answer in PRINTED]
    assert ask(*(said.lower() for said, _ in PRINTED)) == answers
    assert ask(*(said.upper() for said, _ in PRINTED)) == answers
    assert ask(*(said.replace("'", "’") for said, _ in PRINTED)) == answers


@pytest.mark.parametrize("text", ["", "   ", "...", "?!,;:", "—…«»", "\n\t", "😀", "'", "''''", "- - -"])
def test_a_text_without_words_gets_a_content_free_answer(text):
    """Nothing to go by: the first sentence of NONE."""
    assert ask(text) == ["I AM NOT SURE I UNDERSTAND YOU FULLY"]


def test_texts_without_a_keyword_get_the_sentences_of_none_in_turn():
    """All four, then the first again; with nothing remembered the fourth text is no exception."""
    assert ask("Blue", "Green", "Red", "Grey", "Black") == [
        "I AM NOT SURE I UNDERSTAND YOU FULLY",
        "PLEASE GO ON",
        "WHAT DOES THAT SUGGEST TO YOU",
        "DO YOU FEEL STRONGLY ABOUT DISCUSSING SUCH THINGS",
        "I AM NOT SURE I UNDERSTAND YOU FULLY",
    ]


def test_the_greeting_is_known_but_never_said():
    """A worker answers inputs; the opening of the program has no input."""
    greeting = load_script().greeting
    assert greeting == "HOW DO YOU DO. PLEASE TELL ME YOUR PROBLEM"
    assert ask("Hello") == ["HOW DO YOU DO. PLEASE STATE YOUR PROBLEM"]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("I remember the sea", "DO YOU OFTEN THINK OF THE SEA"),
        ("Do you remember me", "DID YOU THINK I WOULD FORGET YOU"),
        ("What if it rains", "DO YOU THINK ITS LIKELY THAT IT RAINS"),
        ("I dreamed of you", "REALLY, OF I"),
        ("How are things", "WHY DO YOU ASK"),
        ("I feel sad today", "TELL ME MORE ABOUT SUCH FEELINGS"),
        ("Am I sick", "DO YOU BELIEVE YOU ARE SICK"),
        ("I think I am ill", "DO YOU REALLY THINK SO"),
        ("I cant sleep", "HOW DO YOU KNOW YOU CAN'T SLEEP"),
        ("I dont know", "DON'T YOU REALLY KNOW"),
        ("I was there", "WERE YOU REALLY"),
        ("You're kind", "WHAT MAKES YOU THINK I AM KIND"),
        ("Your hat", "WHY ARE YOU CONCERNED OVER MY HAT"),
        ("Nobody calls", "REALLY, NOBODY"),
        ("Sprechen Sie Deutsch?", "I AM SORRY, I SPEAK ONLY ENGLISH"),
        ("My dad and I", "TELL ME MORE ABOUT YOUR FAMILY"),
        ("I said it to myself", "YOU SAY YOU SAID IT TO YOURSELF"),
        ("Why don't you rest", "DO YOU BELIEVE I DON'T REST"),
        ("I saw 3.5 naïve Ünïcödé 漢字", "YOU SAY YOU SAW 3.5 NAÏVE ÜNÏCÖDÉ 漢字"),
    ],
)
def test_rules(text, answer):
    """Substitution, tags, alternatives, links and PRE, one rule each."""
    assert ask(text) == [answer]


def test_the_keyword_of_the_highest_rank_wins_wherever_it_stands():
    """COMPUTER has rank 50."""
    assert ask("My mother likes her computer") == ["DO COMPUTERS WORRY YOU"]


def test_answers_of_one_pattern_take_turns():
    """The fifth text gets the first answer again."""
    answers = ask(*["Yes"] * 5)
    assert answers == ["YOU SEEM QUITE POSITIVE", "YOU ARE SURE", "I SEE", "I UNDERSTAND", "YOU SEEM QUITE POSITIVE"]


def test_newkey_goes_on_with_the_next_keyword():
    """LIKE without a comparison hands over to the keyword below it; without one below, to NONE."""
    assert ask("I like tea") == ["YOU SAY YOU LIKE TEA"]
    assert ask("Like tea") == ["I AM NOT SURE I UNDERSTAND YOU FULLY"]


def test_a_delimiter_cuts_before_or_behind_the_keyword():
    """What is in front of it is forgotten if there was no keyword yet; what is behind it if there was one."""
    assert ask("Oh well; my hat, and my computer") == ["YOUR HAT"]
    assert ask("I am sad but my computer works") == ["I AM SORRY TO HEAR YOU ARE SAD"]


def test_what_was_said_about_my_comes_back_at_a_fourth_text_without_a_keyword():
    """First in, first out; the sentence is chosen by the last word, the time by counting."""
    answers = ask("My hat", "Blue", "Red")
    assert answers == ["YOUR HAT", "I AM NOT SURE I UNDERSTAND YOU FULLY", "LETS DISCUSS FURTHER WHY YOUR HAT"]


@pytest.mark.parametrize(
    ("word", "bits", "expected"),
    [("HERE", 2, 3), ("ALWAYS", 7, 14), ("PURPOSE", 2, 1), ("DEVONSHIRE", 2, 0), ("EXECUTIONERS", 2, 3)],
)
def test_the_hash_is_that_of_the_original_library(word, bits, expected):
    """Published values of SLIP's HASH; of a long word the last six-character piece counts."""
    assert _hash(word, bits) == expected


def test_memory_is_bounded():
    """A patient who speaks of nothing else fills it, and then nothing is added."""
    answers = ask(*["My hat"] * (MEMORIES_MAX + 10), *["Blue"] * 5 * MEMORIES_MAX)
    assert answers.count("LETS DISCUSS FURTHER WHY YOUR HAT") == MEMORIES_MAX


def test_a_very_long_text_is_answered():
    """Matching costs no more than length times pattern: no backtracking runs away."""
    assert ask("I feel " * 50_000)[0] == "DO YOU REALLY THINK SO"
    assert ask("you " * 100_000)[0].startswith("WE WERE")
    assert ask("x" * 1_000_000) == ["I AM NOT SURE I UNDERSTAND YOU FULLY"]


def test_the_same_conversation_gives_the_same_answers():
    """There is no chance in it."""
    texts = [said for said, _ in PRINTED] * 5
    assert ask(*texts) == ask(*texts)


@pytest.mark.parametrize(
    "script",
    ["", "(HELLO", "HELLO)", "(HI) (NONE ((0) (OH)))", "(HI) (NONE ((0) (OH))) (MEMORY MY (0 = A)) (MY (=NOWHERE))"],
)
def test_a_broken_script_is_refused(script):
    """Brackets, NONE, four sentences of MEMORY and the targets of links are checked."""
    with pytest.raises(ConfigError, match="the ELIZA script"):
        read_script(script)


# The provider


def user(text: str) -> Message:
    return Message("user", text)


def assistant(text: str) -> Message:
    return Message("assistant", (TextBlock(text),))


def request(history: History, model: str = "doctor") -> Request:
    return Request((SystemBlock("answer in JSON"),), history, "", model)


async def test_the_reply_is_the_json_text_of_a_string():
    """An input that is a JSON string is unquoted; tokens are words, of the system prompt, too."""
    reply = await Eliza("doctor").complete(request(History([user('"I feel sad today"')])))
    assert reply == Reply((TextBlock('"TELL ME MORE ABOUT SUCH FEELINGS"'),), Usage(7, 6))


async def test_other_json_values_are_read_as_their_text():
    """An object is text like any other."""
    reply = await Eliza("doctor").complete(request(History([user('{"text":"my hat"}')])))
    assert reply.blocks == (TextBlock('"YOUR HAT"'),)


async def test_replies_depend_on_the_history_alone():
    """A provider that followed the conversation and one that sees it for the first time say the same."""
    follower, history = Eliza("doctor"), History()
    for said, answer in PRINTED:
        history = history.appended(user(said))
        expected = await Eliza("doctor").complete(request(History(history)))
        reply = await follower.complete(request(history))
        assert reply == expected
        assert reply.blocks == (TextBlock(f'"{answer}"'),)
        history = history.appended(Message("assistant", reply.blocks))


async def test_a_history_that_was_replaced_is_replayed():
    """After set_memory, or where each input is a new conversation, no turn is carried over."""
    eliza = Eliza("doctor")
    first = await eliza.complete(request(History([user("Yes")])))
    again = await eliza.complete(request(History([user("Yes")])))
    third = await eliza.complete(request(History([user("Yes"), assistant("x"), user("Yes")])))
    assert first.blocks == again.blocks == (TextBlock('"YOU SEEM QUITE POSITIVE"'),)
    assert third.blocks == (TextBlock('"YOU ARE SURE"'),)


async def test_the_only_model_is_doctor():
    """Another one is refused: at the start as configuration, later as a failed call."""
    with pytest.raises(ConfigError, match="its only model is 'doctor'"):
        Eliza("gpt-4o")
    with pytest.raises(ProviderFailed, match="no model 'other'"):
        await Eliza("doctor").complete(request(History([user("Yes")]), model="other"))


async def test_an_answer_of_too_many_words_is_cut_off():
    """A word is a token."""
    history = History([Message("user", '"Men are all alike."')])
    reply = await Eliza("doctor").complete(Request((), history, "", "doctor", max_tokens=2))
    assert (reply.blocks, reply.stop_reason) == ((TextBlock('"IN WHAT'),), "max_tokens")
