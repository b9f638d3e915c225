"""``tool { process: f }`` and ``tool { builtin: "fs.read" }``: what an agent or a worker may call.

A tool takes one value and gives one, so it is typed ``A -> B`` without ``!``. A process is *lowered* to it: one value
goes in, and the one that comes out is the result. Only a process that answers every message exactly once can be
lowered.
"""

from __future__ import annotations

__all__ = ["BUILTINS", "EFFECTS", "REPEATABLE", "check_tool"]

from collections.abc import Mapping

from fabric.lang import syntax
from fabric.lang.diagnostic import Report
from fabric.lang.signature import Interface
from fabric.lang.source import Span
from fabric.lang.types import is_consistent, is_subtype, why_not
from fabric.wire.payload import BOOL, INT, STRING, UNIT, Field, ListOf, Product, Record, Type, show

_PATH = Field("path", STRING, False)

BUILTINS: dict[str, tuple[Type, Type]] = {
    "fs.read": (Record((_PATH, Field("from", INT, True), Field("lines", INT, True))), STRING),
    "fs.write": (Record((_PATH, Field("text", STRING, False))), UNIT),
    "fs.edit": (Record((_PATH, Field("old", STRING, False), Field("new", STRING, False))), UNIT),
    "fs.grep": (
        Record((Field("pattern", STRING, False), Field("path", STRING, True))),
        ListOf(Record((_PATH, Field("line", INT, False), Field("text", STRING, False)))),
    ),
    "fs.list": (
        Record((Field("path", STRING, True),)),
        ListOf(Record((_PATH, Field("folder", BOOL, False), Field("bytes", INT, False)))),
    ),
    "fs.delete": (Record((_PATH,)), UNIT),
    "sys.exec": (
        Record((Field("command", ListOf(STRING), False), Field("stdin", STRING, True))),
        Record((Field("status", INT, False), Field("stdout", STRING, False), Field("stderr", STRING, False))),
    ),
    "notify.send": (Record((Field("text", STRING, False),)), UNIT),
}
"""What the fabric itself can do for an agent: type of the arguments, type of the result."""

EFFECTS = frozenset({"fs.write", "fs.edit", "fs.delete", "sys.exec", "notify.send"})
"""Those of them that change something, or reach somebody, outside of the session."""

REPEATABLE = BUILTINS.keys() - EFFECTS | {"fs.write"}
"""Those of them that may be run twice with the same arguments: it is as if they had been run once."""

_PARTIAL = {
    "filter": "a filter may drop the message",
    "merge": "a merge takes two streams",
    "merge_any": "a merge takes two streams",
    "barrier": "a barrier waits for a second message",
    "project": "a projection takes a stream of tuples or records",
    "empty": "it never gives anything",
    "worker": "a program may answer any number of times",
    "handler": "a program may answer any number of times",
}


def check_tool(decl: syntax.BindingDecl, interface: Interface, known: Mapping[str, Interface], report: Report) -> None:
    """Compare a tool's signature with what it is made of.

    Args:
        decl: its implementation is a ``tool``, whose entries have been checked.
        interface: of the tool itself.
        known: all processes that it may name.
        report: takes what is wrong.
    """
    assert isinstance(decl.impl, syntax.ConfiguredImpl)
    entries = {entry.key.text: entry.value for entry in decl.impl.config.entries}
    made_of = [key for key in ("process", "builtin") if key in entries]
    word = Span(decl.impl.span.start, decl.impl.span.start + len("tool"))
    if not made_of:
        report.add(
            "E0601",
            word,
            f"tool '{decl.name.text}' needs the key 'process' or 'builtin'",
            help='add  process: name  or  builtin: "fs.read"',
        )
    elif len(made_of) > 1:
        report.add("E0605", word, "a tool is made of a process or of a builtin, not of both", help="make two tools")
    elif "process" in entries:
        _check_process(decl, interface, entries["process"], known, report)
    else:
        _check_builtin(decl, interface, entries["builtin"], report)


def _check_process(
    decl: syntax.BindingDecl,
    interface: Interface,
    value: syntax.ConfigValue,
    known: Mapping[str, Interface],
    report: Report,
) -> None:
    if not isinstance(value, syntax.ConfigName):
        report.add("E0602", value.span, "'process' must be the name of a process, without quotes")
        return
    process = known.get(value.name.full)
    if process is None:
        return  # reported with the configuration, or known to be wrong
    if process.kind == "tool":
        report.add("E0605", value.span, f"'{process.name}' is a tool already; name it in 'tools'")
        return
    reason = _PARTIAL.get(process.kind)
    inputs, outputs = process.main_inputs(), process.main_outputs()
    is_copy = process.kind == "copy"
    if reason is None and (len(inputs) != 1 or (len(outputs) > 1 and not is_copy)):
        reason = f"it has {len(inputs)} inputs and {len(outputs)} outputs"
    if reason is not None:
        report.add(
            "E0415",
            value.span,
            f"'{process.name}' cannot be a tool: {reason}",
            label="does not answer every message exactly once",
            related=[(process.span, f"'{process.name}' is declared here")],
            help="a tool is made of an agent, a python function, a map, or a body made of these",
        )
        return
    if interface.is_sound and process.is_sound:
        gives = Product(tuple(port.type for port in outputs)) if is_copy else outputs[0].type if outputs else UNIT
        _compare(decl, interface, inputs[0].type, gives, f"'{process.name}'", report)


def _check_builtin(decl: syntax.BindingDecl, interface: Interface, value: syntax.ConfigValue, report: Report) -> None:
    if not isinstance(value, syntax.ConfigScalar) or not isinstance(value.value, str):
        return  # reported with the configuration
    if value.value not in BUILTINS:
        report.add(
            "E0604",
            value.span,
            f"there is no builtin '{value.value}'",
            notes=[f"there are: {', '.join(BUILTINS)}"],
            help=report.suggest(value.value, BUILTINS),
        )
    elif interface.is_sound:
        _compare(decl, interface, *BUILTINS[value.value], f"'{value.value}'", report)


def _compare(
    decl: syntax.BindingDecl, interface: Interface, takes: Type, gives: Type, what: str, report: Report
) -> None:
    given, result = interface.inputs[0].type, interface.outputs[0].type
    if not is_consistent(given, takes):
        message = f"tool '{decl.name.text}' is called with {show(given)}, but {what} takes {show(takes)}"
        report.add("E0412", decl.input.span, message, notes=why_not(given, takes))
    if not is_consistent(gives, result) and not is_subtype(result, gives):
        message = f"tool '{decl.name.text}' declares the result {show(result)}, but {what} gives {show(gives)}"
        report.add("E0412", decl.output.span, message, notes=why_not(gives, result))
