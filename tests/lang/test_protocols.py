"""Protocols as automata, and wires as monitors. What is refused is in tests/programs/protocols.plumb."""

from __future__ import annotations

from fabric.lang.automata import LABEL, PROTOCOL_STATES_MAX
from fabric.lang.check import check_source
from fabric.lang.modules import Found, Missing
from fabric.lang.source import Source
from fabric.lang.typed import Choice, Connection, Done, Endpoint, Exchange, Instance, Module, Port, Protocol, Wire
from fabric.wire.payload import BOOL, INT, JSON, STRING, Field, Product, Record

MAIN = "\nlet main : !int -> !int = id\n"


def module_of(text: str) -> Module:
    module, diagnostics = check_source(Source("program.plumb", text))
    assert module is not None, [diagnostic.message for diagnostic in diagnostics]
    return module


def protocols(text: str) -> dict[str, Protocol]:
    return module_of(text + MAIN).protocols


def test_steps_are_states_in_a_row():
    """``send`` goes there, ``recv`` comes back; after ``end`` nothing may be said."""
    assert protocols("protocol P = send int . recv string . end")["P"] == Protocol(
        "P", (Exchange("there", INT, 1), Exchange("back", STRING, 2), Done())
    )


def test_loop_leads_back_to_the_start_of_its_declaration():
    """Also out of a choice."""
    assert protocols("protocol P = send int . { again: loop, quit: end }")["P"] == Protocol(
        "P", (Exchange("there", INT, 1), Choice("there", (("again", 0), ("quit", 2)), ("again", "quit")), Done())
    )


def test_a_branch_is_chosen_by_its_first_message_or_by_its_label():
    """By a message if it goes the chooser's way; ``loop`` is told, wherever it leads."""
    found = protocols(
        "protocol P = send int . offer { a: recv string . end, b: send string . end, c: offer { d: end }, e: loop }"
    )["P"]
    choice = found.states[1]
    assert isinstance(choice, Choice)
    assert (choice.way, [label for label, _ in choice.branches], choice.told) == (
        "back",
        ["a", "b", "c", "e"],
        ("b", "c", "e"),
    )


def test_a_name_goes_on_as_another_protocol():
    """Its states are put in once, and its ``loop`` leads back to its own start."""
    found = protocols("protocol P = send int . Q\nprotocol Q = recv int . { again: loop, anew: P, more: Q }")
    assert found["P"] == Protocol(
        "P",
        (
            Exchange("there", INT, 1),
            Exchange("back", INT, 2),
            Choice("there", (("again", 1), ("anew", 0), ("more", 1)), ("again", "more")),
        ),
        (0, 1),
    )


def test_a_name_alone_is_the_other_protocol():
    """Under its own name."""
    found = protocols("protocol P = Q\nprotocol Q = send int . end")
    assert found["P"] == Protocol("P", found["Q"].states)


def test_declarations_that_name_each_other_often_stay_small():
    """Each is put in once, however many ways lead to it: not two to the power of their number."""
    text = "\n".join(f"protocol P{i} = {{ a: send int . P{i + 1}, b: P{i + 1} }}" for i in range(100))
    assert len(protocols(text + "\nprotocol P100 = recv int . end")["P0"].states) == 202


def test_a_protocol_that_is_too_large_is_refused_once():
    """Those that name it are not blamed for it."""
    length = PROTOCOL_STATES_MAX + 200  # the state of the last one is the end
    text = "\n".join(f"protocol P{i} = send int . P{i + 1}" for i in range(length)) + f"\nprotocol P{length} = end"
    module, diagnostics = check_source(Source("program.plumb", text + MAIN))
    assert module is None
    assert [(d.code, d.message) for d in diagnostics] == [
        ("E0507", f"protocol 'P200' is too large: more than {PROTOCOL_STATES_MAX} states with all names put in")
    ]


def test_ten_thousand_steps_are_too_many_and_ten_thousand_names_do_not_recurse():
    """No Python limit is met."""
    long = "protocol P = " + "send int . " * 10_000 + "end"
    names = "\n".join(f"protocol N{i} = N{i + 1}" for i in range(10_000)) + "\nprotocol N10000 = end"
    module, diagnostics = check_source(Source("program.plumb", long + "\n" + names + MAIN))
    assert module is None
    assert [d.code for d in diagnostics] == ["E0507"]


# --- Wires --------------------------------------------------------------------------------------------------------


def monitor_of(text: str) -> tuple[Instance, dict[Endpoint, Connection]]:
    """Return the monitor of the main body, and the connections into what they lead to."""
    body = module_of(text).bindings["main"].body
    assert body is not None
    (monitor,) = (instance for instance in body.instances if instance.kind == "monitor")
    touching = (c for c in body.connections if monitor.name in (c.source.instance, c.target.instance))
    return monitor, {connection.target: connection for connection in touching}


ASK = (
    "protocol Ask = { ask: send string . recv int . loop, quit: end }\n"
    "type Said = string | { label: string }\n"
    "let desk : (!Said, !int) -> (!Said, !int) = plumb(go, heard, say, out) { go ; say   heard ; out }\n"
    "let shelf : !Said -> !json = python { call: 'm:f' }\n"
    "let main : !Said -> !int = plumb(i, o) {\n  i ; desk@go\n  desk@out ; o\n  desk@(say, heard) <-> shelf : Ask\n}\n"
).replace("'", '"')


def test_a_wire_is_a_monitor_between_two_pairs_of_ports():
    """What each end sends comes in, and out to the other; a port that takes all of it needs no further look."""
    monitor, into = monitor_of(ASK)
    module = module_of(ASK)
    said = module.types["Said"]
    assert monitor.name == "Ask@8"
    assert monitor.inputs == (Port("left", said), Port("right", JSON))
    assert monitor.outputs == (Port("to_left", INT), Port("to_right", said))
    assert monitor.wire == Wire(module.protocols["Ask"], left="desk", right="shelf")
    assert {(c.source, c.target, c.checked) for c in into.values()} == {
        (Endpoint("desk", "say"), Endpoint("Ask@8", "left"), False),
        (Endpoint("shelf", "output"), Endpoint("Ask@8", "right"), False),
        (Endpoint("Ask@8", "to_right"), Endpoint("shelf", "input"), False),
        (Endpoint("Ask@8", "to_left"), Endpoint("desk", "heard"), False),
    }


def test_a_port_that_takes_less_than_is_said_is_looked_at():
    """``json`` fits every port until a message does not."""
    monitor, into = monitor_of(ASK.replace("recv int", "recv json"))
    assert monitor.outputs[0] == Port("to_left", JSON)
    assert into[Endpoint("desk", "heard")].checked


def test_the_ports_of_an_end_may_stand_in_any_order():
    """Which is the output is known."""
    turned, _ = monitor_of(ASK.replace("(say, heard) <->", "(heard, say) <->"))
    straight, _ = monitor_of(ASK)
    assert (turned.inputs, turned.outputs) == (straight.inputs, straight.outputs)


def keeper(reads: str, answer: str = "json") -> Wire:
    """Return the wire of a supervisor whose reading port has this type."""
    monitor, _ = monitor_of(
        f"protocol Pause = send {{ pause: bool }} . recv {answer} . end\n"
        "let writer : (!string, !{ pause: bool }) -> !string = agent { }\n"
        f"let keeper : (!string, !{reads}) -> (!{{ pause: bool }}, !{reads}) = plumb(go, ctrl_out, ctrl_in, out) {{\n"
        "  go ; map({ pause: true }) ; ctrl_in\n  ctrl_out ; out\n}\n"
        f"let main : (!string, !string) -> (!string, !{reads}) = plumb(i, go, o, out) {{\n"
        "  i ; writer ; o\n  go ; keeper@go\n  keeper@out ; out\n  keeper <-> writer : Pause\n}\n"
    )
    assert monitor.wire is not None
    return monitor.wire


def test_the_type_of_a_reader_decides_whether_an_agents_messages_have_their_step():
    """What takes either gets it; what comes after the end is swallowed on that way."""
    assert keeper("json").tags == ("back",)
    assert keeper("{ __step: int, payload: json }").tags == ("back",)
    assert keeper("{ __step: int, payload: { kind: string } }").tags == ("back",)
    assert keeper("{ kind: string }", "{ kind: string }").tags == ()
    assert keeper("{ kind: string }").tags == ()
    assert keeper("json").swallows == ("back",)


def test_an_agent_is_never_sent_steps():
    """Its control input understands no such thing; nor is a data pair."""
    monitor, _ = monitor_of(ASK)
    assert monitor.wire is not None
    assert (monitor.wire.tags, monitor.wire.swallows) == ((), ())
    two = (
        "protocol Odd = send json . recv json . loop\n"
        "let a : (!string, !json) -> !string = agent { }\nlet b : (!string, !json) -> !string = agent { }\n"
        "let main : (!string, !string) -> (!string, !string) = plumb(i, j, o, p) {\n"
        "  i ; a ; o\n  j ; b ; p\n  a@ctrl <-> b : Odd\n}\n"
    )
    wire = monitor_of(two)[0].wire
    assert wire is not None
    assert (wire.tags, wire.swallows) == ((), ("there", "back"))


def test_an_imported_protocol_is_shown_as_it_is_written():
    """With its module; its own loop stays its own."""

    class Files:
        def find(self, name: str, *, is_path: bool, importer: str) -> Found | Missing:
            return Found(f"{name}.plumb", "protocol Ask = send string . recv bool . loop\n")

    text = (
        "use talk\nprotocol Mine = send (string, json) . Talk.Ask\n"
        "let desk : (!string, !bool) -> (!string, !bool) = plumb(go, heard, say, out) { go ; say   heard ; out }\n"
        'let shelf : !string -> !bool = python { call: "m:f" }\n'
        "let main : !string -> !bool = plumb(i, o) {\n"
        "  i ; desk@go\n  desk@out ; o\n  desk@(say, heard) <-> shelf : Talk.Ask\n}\n"
    )
    module, diagnostics = check_source(Source("main.plumb", text), Files())
    assert not diagnostics
    assert module is not None
    states = (Exchange("there", STRING, 2), Exchange("back", BOOL, 1))
    assert module.protocols == {
        "Mine": Protocol("Mine", (Exchange("there", Product((STRING, JSON)), 1), *states), (0, 1))
    }
    body = module.bindings["main"].body
    assert body is not None
    assert [i.wire.protocol.name for i in body.instances if i.wire is not None] == ["Talk.Ask"]


def test_a_label_is_a_record():
    """As the wire has it."""
    assert Record((Field("label", STRING),)) == LABEL
