"""What the checker makes of a program that is right."""

from __future__ import annotations

from fabric.graph.passes import build, validate
from fabric.lang.check import check_source
from fabric.lang.source import Source
from fabric.lang.typed import BOUNDARY
from fabric.wire.payload import show


def module_of(text):
    module, diagnostics = check_source(Source("x.plumb", text))
    assert module is not None, diagnostics
    validate(build(module))
    return module


def wires(text):
    """Return the connections of main as 'a.port -> b.port', with a mark if checked."""
    body = module_of(text).bindings["main"].body
    return [
        f"{c.source.instance or 'IN'}.{c.source.port} {'=>' if c.checked else '->'}"
        f" {c.target.instance or 'OUT'}.{c.target.port}"
        for c in body.connections
    ]


def instances(text):
    """Return kind, inputs and outputs of each instance of main by name."""
    body = module_of(text).bindings["main"].body
    return {
        i.name: (i.kind, {p.name: show(p.type) for p in i.inputs}, {p.name: show(p.type) for p in i.outputs})
        for i in body.instances
    }


AGENTS = """
let a : !string -> !string = agent { max_messages: 9 }
let b : !string -> !string = agent { }
let c : (!string, !json) -> !string = agent { }
"""


def test_a_name_is_one_instance_and_an_inline_morphism_a_new_one_each_time():
    """The second one on a line is numbered."""
    text = AGENTS + "let main : !string -> !string = plumb(i, o) {\n i ; a ; id ; b ; id ; a\n b ; id ; o }"
    assert list(instances(text)) == ["a", "id@6", "b", "id@6.2", "id@7"]


def test_ports_are_paired_fanned_out_and_fanned_in():
    """As many: pairwise; one: to each; to one: all."""
    text = AGENTS + "let main : !string -> !string = plumb(i, o) { i ; (a * b) ; (b * a)  (a * b) ; o }"
    assert wires(text) == [
        "IN.i -> a.input",
        "IN.i -> b.input",
        "a.output -> b.input",
        "b.output -> a.input",
        "a.output -> OUT.o",
        "b.output -> OUT.o",
    ]


def test_the_last_element_of_a_chain_takes_and_does_not_give():
    """A statement that ends with a process does not use its output again."""
    text = AGENTS + "let main : !string -> !string = plumb(i, o) { i ; a  i ; o }"
    assert wires(text) == ["IN.i -> a.input", "IN.i -> OUT.o"]


def test_ports_by_name():
    """``ctrl`` is ``ctrl_in``; telemetry is there though no signature mentions it."""
    text = (
        AGENTS
        + "let main : !string -> !string = plumb(i, o) { i ; c ; o  a.telemetry ; c@ctrl  c@ctrl_out ; discard i ; a}"
    )
    assert wires(text) == [
        "IN.i -> c.input",
        "c.output -> OUT.o",
        "a.telemetry -> c.ctrl_in",
        "c.ctrl_out -> discard@5.input",
        "IN.i -> a.input",
    ]


def test_json_into_something_precise_is_checked():
    """And nothing else is."""
    text = AGENTS + "let main : !json -> !json = plumb(i, o) { i ; a ; o }"
    assert wires(text) == ["IN.i => a.input", "a.output -> OUT.o"]


def test_inline_morphisms_take_their_types_from_what_flows_in():
    """Through filters that narrow, maps, barriers and merges."""
    text = """
        type U = { x: int } | { y: string }
        let a : !string -> !U = agent { }
        let b : !string -> !number = agent { }
        let main : !string -> !json = plumb(i, o) {
          i ; (a * b) ; barrier ; o
          a ; filter(x > 0) ; map(x) ; o
          (a * b) ; merge ; o
        }"""
    found = instances(text)
    assert found["barrier@6"] == ("barrier", {"input_0": "U", "input_1": "number"}, {"output": "(U, number)"})
    assert found["filter@7"] == ("filter", {"input": "U"}, {"output": "{ x: int }"})
    assert found["map@7"] == ("map", {"input": "{ x: int }"}, {"output": "int"})
    assert found["merge@8"][2] == {"output": "{ x: int } | { y: string } | number"}


def test_a_field_of_what_a_process_gives_is_a_map_of_its_own():
    """With the fields to descend into in ``select``."""
    text = (
        "let a : !string -> !{ x: { y: int } } = agent { }\n"
        "let main : !string -> !int = plumb(i, o) { i ; a  a.x.y ; o }"
    )
    main = module_of(text).bindings["main"]
    made = main.body.instances[1]
    assert (made.kind, made.name, made.select) == ("map", "map@2", ("x", "y"))
    assert show(made.outputs[0].type) == "int"


def test_channels_are_ids_and_spawns_are_new_instances():
    """The first spawn has the binding's name, the second one its line as well."""
    text = AGENTS + (
        "let main : !string -> !string = plumb(i, o) {\n let m : !string = channel\n spawn a(i, m)\n spawn a(m, o)\n}"
    )
    assert list(instances(text)) == ["id@6", "a", "a@8"]
    assert wires(text) == [
        "IN.i -> a.input",
        "a.output -> id@6.input",
        "id@6.output -> a@8.input",
        "a@8.output -> OUT.o",
    ]


def test_an_empty_closes_or_drains_by_direction_of_use():
    """At the start a source of the type of what it feeds; on a channel that is written, a discard."""
    text = AGENTS + (
        "let main : !string -> !string = plumb(i, o) {\n"
        " let t : !json = channel\n spawn c(input=i, output=o, telemetry=t)\n spawn empty(t)\n empty ; o\n}"
    )
    found = instances(text)
    assert found["discard@8"][0] == "discard"
    assert found["empty@9"] == ("empty", {}, {"output": "string"})


def test_a_chain_as_implementation_is_a_body():
    """Its ports are called input and output."""
    main = module_of(AGENTS + "let main : !string -> !string = a ; b").bindings["main"]
    assert main.kind == "plumb"
    assert [c.source.instance for c in main.body.connections] == [BOUNDARY, "a", "b"]
    assert [port.name for port in (*main.inputs, *main.outputs)] == ["input", "output"]


def test_bindings_carry_their_configuration_as_written():
    """Plain values; the only thing filled in is the only model of eliza."""
    module = module_of(
        'let main : !string -> !string = agent { provider: "eliza", max_retries: 2 tools: [] }\n'
        'let w : !string -> !string = worker { command: ["x", "-y"] }'
    )
    assert module.bindings["main"].config == {"provider": "eliza", "max_retries": 2, "tools": [], "model": "doctor"}
    assert module.bindings["w"].config == {"command": ["x", "-y"]}


def test_an_agents_ports_follow_its_signature():
    """``ctrl_out`` comes with ``ctrl_in``; telemetry is always there, and last."""
    module = module_of(AGENTS + "let main : !string -> !string = a")
    names = {name: [p.name for p in (*b.inputs, *b.outputs)] for name, b in module.bindings.items()}
    assert names["a"] == ["input", "output", "telemetry"]
    assert names["c"] == ["input", "ctrl_in", "output", "ctrl_out", "telemetry"]


def test_the_only_stream_binding_is_main():
    """Pure functions do not count."""
    assert module_of("let f : int -> int = map(value)\nlet run : !int -> !int = id").main == "run"


def test_what_tools_are_made_of_is_not_what_runs():
    """Unless there is nothing else."""
    count = 'let count : !string -> !int = python { call: "words:count" }\n'
    words = "let words : string -> int = tool { process: count }\n"
    bot = 'let bot : !string -> !string = agent { provider: "eliza" tools: [words] }\n'
    assert module_of(count + words + bot).main == "bot"
    assert module_of(count + words).main == "count"


def test_a_misspelt_output_is_one_mistake():
    """Not also an output that nothing feeds."""
    text = "let main : !int -> !int = plumb(i, out) { i ; map(value) ; ouut }\n"
    _, diagnostics = check_source(Source("program.plumb", text))
    assert [(found.code, found.help) for found in diagnostics] == [("E0202", "did you mean 'out'?")]
