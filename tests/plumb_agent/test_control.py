"""Control objects."""

import pytest

from plumb_agent.control import Control, read_control
from plumb_agent.messages import Message


@pytest.mark.parametrize(
    ("payload", "control"),
    [
        (b"{}", Control()),
        (b'{"set_temp":0.9}', Control(set_temp=0.9)),
        (b'{"set_temp":1}', Control(set_temp=1.0)),
        (b'{"set_temp":0}', Control(set_temp=0.0)),
        (b'{"set_temp":2}', Control(set_temp=2.0)),
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
        (b"null", "a control message must be an object"),
        (b'{"pause":1}', "pause: must be true or false"),
        (b'{"stop":null}', "stop: must be true or false"),
        (b'{"resume":"yes"}', "resume: must be true or false"),
        (b'{"get_memory":"all"}', "get_memory: must be true or false"),
        (b'{"set_temp":"hot"}', "set_temp: must be a number from 0 to 2, or null"),
        (b'{"set_temp":true}', "set_temp: must be a number from 0 to 2, or null"),
        (b'{"set_temp":-0.1}', "set_temp: must be a number from 0 to 2, or null"),
        (b'{"set_temp":2.1}', "set_temp: must be a number from 0 to 2, or null"),
        (b'{"set_temp":1' + b"0" * 400 + b"}", "set_temp: must be a number from 0 to 2, or null"),
        (b'{"set_model":3}', "set_model: must be a name or null"),
        (b'{"set_model":""}', "set_model: must be a name or null"),
        (b'{"get_memory":true,"format":3}', "format: must be a string"),
        (b'{"set_memory":{}}', "set_memory: set_memory takes an array of messages"),
        (b'{"set_memory":[{"role":"user"}]}', "set_memory: message 0 needs a role and a content"),
    ],
)
def test_an_object_with_a_wrong_field_is_refused_whole(payload, complaint):
    """Nothing is raised, nothing is asked for."""
    assert read_control(payload) == Control(complaint=complaint)


@pytest.mark.parametrize("payload", [b"{", b"", b"\xff", b'{"set_temp":NaN}', b"[" * 10_000])
def test_what_is_no_json_is_refused(payload):
    """With the words of whoever reads it."""
    control = read_control(payload)
    assert control.complaint.startswith("expected JSON")
    assert control == Control(complaint=control.complaint)


def test_the_complaint_names_every_wrong_field():
    """And nothing of the object counts: neither the temperature nor the pause."""
    control = read_control(b'{"set_memory":[{"role":"user","content":"x"},{}],"set_temp":0.5,"pause":true,"stop":0}')
    complaint = "set_memory: message 1 needs a role and a content; stop: must be true or false"
    assert control == Control(complaint=complaint)
