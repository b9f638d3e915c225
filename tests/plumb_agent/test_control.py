"""Control objects."""

import pytest
from msgspec import UNSET

from plumb_agent.control import Control, read_control
from plumb_agent.messages import Message


@pytest.mark.parametrize(
    ("payload", "control"),
    [
        (b"{}", Control()),
        (b'{"set_temp":0.9}', Control(set_temp=0.9)),
        (b'{"set_temp":1}', Control(set_temp=1.0)),
        (b'{"set_temp":null}', Control(set_temp=None)),
        (b'{"set_model":"m"}', Control(set_model="m")),
        (b'{"set_model":null}', Control(set_model=None)),
        (b'{"stop":true}', Control(stop=True)),
        (b'{"stop":false}', Control()),
        (b'{"pause":true,"get_memory":true}', Control(pause=True, get_memory=True)),
        (b'{"resume":true}', Control(resume=True)),
        (b'{"get_memory":true,"format":"openai"}', Control(get_memory=True, format="openai")),
        (b'{"get_memory":true,"format":"else"}', Control(get_memory=True)),
        (b'{"set_memory":[{"role":"user","content":"x"}]}', Control(set_memory=(Message("user", "x"),))),
        (b'{"set_memory":[]}', Control(set_memory=())),
        (b'{"colour":"red","stop":true}', Control(stop=True)),
    ],
)
def test_fields(payload, control):
    """Each field of the table; unknown ones are ignored."""
    assert read_control(payload) == control


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        (b"[1]", "a control message must be an object"),
        (b"{", "expected JSON"),
        (b'{"pause":1}', "pause must be true or false"),
        (b'{"set_temp":"hot"}', "set_temp must be a number or null"),
        (b'{"set_temp":true}', "set_temp must be a number or null"),
        (b'{"set_temp":1' + b"0" * 400 + b"}", "set_temp must be a number or null"),
        (b'{"set_model":3}', "set_model must be a string or null"),
        (b'{"set_memory":[{"role":"user"}]}', "set_memory refused: message 0 needs a role and a content"),
    ],
)
def test_what_is_wrong_is_ignored_with_a_complaint(payload, complaint):
    """Nothing is raised, nothing is set."""
    control = read_control(payload)
    assert len(control.complaints) == 1
    assert complaint in control.complaints[0]
    assert control == Control(complaints=control.complaints)


def test_the_rest_of_an_object_with_a_wrong_field_counts():
    """A malformed memory is refused whole, the temperature beside it is set."""
    control = read_control(b'{"set_memory":[{"role":"user","content":"x"},{}],"set_temp":0.5}')
    assert control.set_memory is UNSET
    assert control.set_temp == 0.5
