"""Programs, built in Python: what is built is checked and run as a text would be.

    body = PlumbBody("input", "output")
    body.wire("input", "composer", "checker")
    body.wire("checker", Filter(F.verdict == True).project("draft"), "output")

    program = Program()
    program.let("composer", input=str, output=str, impl=Agent(model="claude-haiku-4-5"))
    program.let("checker", input=str, output=Verdict, impl=Agent(model="claude-haiku-4-5"))
    program.let("main", input=str, output=str, impl=body)

Elements cannot be changed once they are made. Each knows the line of Python that made it, and holds the syntax tree
that the parser would make of its text, so ``program`` and what :func:`read` gives of its text are the same.

To read the code: ``origin`` (what a built tree has for spans), ``types``, ``expressions``, ``elements``,
``implementations``, ``protocols``, ``body``, ``declarations``, ``program``; ``printing`` makes a text of a tree,
``tracing`` finds the line of Python for a place in that text, ``reading`` builds the program of a text.
"""

from fabric.dsl.body import PlumbBody, WireEnd
from fabric.dsl.elements import (
    BARRIER,
    COPY,
    DISCARD,
    EMPTY,
    ID,
    MERGE,
    MERGE_ALL,
    MERGE_ANY,
    Barrier,
    Copy,
    Discard,
    Element,
    Empty,
    Filter,
    Id,
    Map,
    Merge,
    MergeAll,
    MergeAny,
    Mux,
    Pipe,
    PortRef,
    Project,
    Tensor,
)
from fabric.dsl.expressions import Expr, F, constant, record_of
from fabric.dsl.implementations import Agent, Config, Handler, Name, Python, Text, Tool, Worker
from fabric.dsl.program import Program
from fabric.dsl.protocols import END, LOOP, Offer, Recv, Select, Send, Session
from fabric.dsl.raw import Raw
from fabric.dsl.reading import read
from fabric.dsl.tracing import BuiltCheckError, Place
from fabric.dsl.types import Bare, ListType, NamedType, ProductType, Record, StreamType, SumType, Type

__all__ = [
    "BARRIER",
    "COPY",
    "DISCARD",
    "EMPTY",
    "END",
    "ID",
    "LOOP",
    "MERGE",
    "MERGE_ALL",
    "MERGE_ANY",
    "Agent",
    "Bare",
    "Barrier",
    "BuiltCheckError",
    "Config",
    "Copy",
    "Discard",
    "Element",
    "Empty",
    "Expr",
    "F",
    "Filter",
    "Handler",
    "Id",
    "ListType",
    "Map",
    "Merge",
    "MergeAll",
    "MergeAny",
    "Mux",
    "Name",
    "NamedType",
    "Offer",
    "Pipe",
    "Place",
    "PlumbBody",
    "PortRef",
    "ProductType",
    "Program",
    "Project",
    "Python",
    "Raw",
    "Record",
    "Recv",
    "Select",
    "Send",
    "Session",
    "StreamType",
    "SumType",
    "Tensor",
    "Text",
    "Tool",
    "Type",
    "WireEnd",
    "Worker",
    "constant",
    "read",
    "record_of",
]
