"""How declarations, types and keys are shown: a line or a few, as a program would write them."""

from __future__ import annotations

__all__ = [
    "KEY_WORDS",
    "MORPHISM_WORDS",
    "PRIMITIVE_WORDS",
    "expansion",
    "ports_of",
    "process_of",
    "type_of",
    "written",
]

from fabric.lang import syntax
from fabric.lang.signature import Interface
from fabric.lang.source import Source, Span
from fabric.wire.payload import Alias, Record, Sum, Type, resolve, show, show_stream

LINE_MAX = 80
"""A longer type is shown over several lines."""

KEY_WORDS: dict[str, dict[str, str]] = {
    "agent": {
        "provider": 'who runs the model: "anthropic", "openai", "eliza" or "scripted"; may come from outside',
        "model": "the name of the model; may come from outside",
        "prompt": "what the model is told before everything else",
        "prompts": "files with more of the prompt: a name with a slash is relative to this file",
        "max_retries": "how often a reply of the wrong type is asked for again",
        "max_tokens": "the longest reply, in tokens",
        "max_tool_calls": "how many tools may be called for one message",
        "thinking_budget": "tokens for thinking; less than max_tokens",
        "endpoint": "the address of the provider",
        "amnesiac": "true: every message is answered without memory of those before",
        "max_messages": "it ends after so many messages; those behind are not answered",
        "runtime_context": "true: the model is told the time, tokens and calls so far, before each call",
        "lenient_string": "true: a reply that is no JSON is taken as a string",
        "tools": "the tools that it may call: a list of names",
        "mcp": "servers of the Model Context Protocol whose tools it may call: { name, command, args, env } "
        "or { name, url }",
        "script": 'of provider "scripted": "./file.jsonl" or "package.module:function"',
        "env": "environment variables that are passed on to it: a list of names",
        "release": '"commit": outputs go on when the message is done; "early": at once',
    },
    "tool": {
        "process": "the process that is lowered: one value goes in, the one that comes out is the result",
        "builtin": "something that the fabric itself can do",
        "description": "tells the model what the tool is for",
        "idempotent": "true: it may be run twice with the same arguments, and that is as if it was run once",
    },
    "python": {
        "call": 'the function: "package.module:function"',
        "state": "true: it remembers something from one message to the next",
        "env": "environment variables that are passed on to it: a list of names",
        "release": '"commit": outputs go on when the message is done; "early": at once',
    },
    "worker": {
        "command": "the program and its arguments: a list of strings; with a slash, relative to this file",
        "transport": '"zmq", or "stdio": one JSON value a line, each line answered by one line',
        "markers": "true: it echoes a marker behind the answers to a line, and may then answer any number of times",
        "frames": '"v2", or "bare": payloads without an envelope',
        "compat": "true: it does not forward markers: one message at a time, at most once",
        "state": "true: it remembers something from one message to the next",
        "tools": "the tools that it may call: a list of names",
        "env": "environment variables that are passed on to it: a list of names",
        "release": '"commit": outputs go on when the message is done; "early": at once',
    },
    "handler": {
        "command": "the program and its arguments: a list of strings; it is run in the folder of this file",
        "mode": '"command": a process for each decision; "rpc": one that serves all of them over HTTP',
        "timeout": "how many seconds a decision may take",
        "retries": "how often a decision that failed is asked for again",
        "agent": "who the handler is to be: what agent() says",
        "metadata": "of its session: names with strings",
        "env": "environment variables that are passed on to it: a list of names",
        "release": '"commit": outputs go on when the message is done; "early": at once',
    },
}
"""What the keys of a configuration mean, by kind and key."""

MORPHISM_WORDS: dict[str, str] = {
    "map": "makes another message of each: map({ a: b })",
    "filter": "passes those for which it is true: filter(a > 0)",
    "project": "takes one item of tuples: project(0)",
    "mux": "passes everything on",
    "id": "passes everything on",
    "copy": "gives each message twice",
    "merge": "joins streams; ends when all have",
    "merge_all": "joins streams; ends when all have",
    "merge_any": "joins streams; ends with the first of them",
    "barrier": "pairs the k-th messages of streams: tuples",
    "discard": "drops everything",
    "empty": "ends what it feeds at once",
}
"""What the structural words do."""

PRIMITIVE_WORDS: dict[str, str] = {
    "string": "text",
    "int": "a whole number",
    "number": "any number",
    "bool": "true or false",
    "unit": "null",
    "json": "any value; checked where a more precise one is expected",
}


def written(source: Source, span: Span) -> str:
    """Return a piece of a program's text in one line."""
    return " ".join(source.text[span.start - source.start : span.end - source.start].split())


def process_of(interface: Interface, decl: syntax.BindingDecl | None, source: Source) -> str:
    """Return the head of a process's declaration: its signature as it is written, and its kind."""
    if decl is None:
        return f"let {interface.name} = {interface.kind}"
    signature = written(source, Span(decl.input.span.start, decl.output.span.end))
    return f"let {interface.name} : {signature} = {interface.kind}"


def ports_of(interface: Interface) -> str:
    """Return the ports of a process with their types, in Markdown."""
    shown = show if interface.kind == "tool" else show_stream
    sides = (("in", interface.inputs), ("out", interface.outputs))
    return "\n".join(
        f"{word}: " + ", ".join(f"`{port.name}` `{shown(port.type)}`" for port in ports) + "  "
        for word, ports in sides
        if ports
    )


def expansion(type_: Type) -> str:
    """Print what a type's name stands for."""
    return show(type_.type if isinstance(type_, Alias) else type_)


def type_of(name: str, type_: Type) -> str:
    """Return the declaration of a type with the outermost name expanded."""
    inner = type_.type if isinstance(type_, Alias) else type_
    if isinstance(inner, Alias):  # an imported type, or a second name
        inner = resolve(inner)
    line = f"type {name} = {show(inner)}"
    if len(line) <= LINE_MAX:
        return line
    match inner:
        case Record(fields):
            rows = [f"  {field.name}{'?' if field.optional else ''}: {show(field.type)}" for field in fields]
            return f"type {name} = {{\n" + ",\n".join(rows) + "\n}"
        case Sum(variants):
            return f"type {name} =\n" + "\n".join(f"  | {show(variant)}" for variant in variants)
    return line
