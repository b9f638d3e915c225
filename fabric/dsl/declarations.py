"""The declarations of a program, one by one, and their text."""

from __future__ import annotations

__all__ = ["Declarations", "Implementation"]

from collections.abc import Callable, Mapping
from itertools import accumulate, takewhile
from pathlib import Path
from typing import Any, TypeAlias

from fabric.dsl.body import PlumbBody
from fabric.dsl.elements import Element, PortRef, chain_of
from fabric.dsl.implementations import Configured, Tool
from fabric.dsl.names import is_name, is_unicode, name_at
from fabric.dsl.origin import Origin, here, shown
from fabric.dsl.printing import Printer
from fabric.dsl.protocols import session_of
from fabric.dsl.raw import Raw, nodes_of
from fabric.dsl.tracing import BuiltCheckError, Place
from fabric.dsl.types import NamedType, declaration_of, ports_of, type_of
from fabric.errors import ConfigError
from fabric.lang import syntax
from fabric.lang.format import format_source
from fabric.lang.source import Source
from fabric.wire import payload

Implementation: TypeAlias = Configured | PlumbBody | Element | Raw | str
"""What ``let`` binds a name to; a text is the name of another process."""

_Class: TypeAlias = type[Any]

_UNSAID = object()
"""An argument that was left out where None means something."""

_FILE = "program.plumb"
"""What the text of a program is called, in diagnostics."""


class Declarations:
    """What a program declares. ``directory``: what it names is relative to it; left out, the working directory."""

    def __init__(self, *, directory: str | Path | None = None) -> None:
        self._directory = Path() if directory is None else Path(directory)
        self._parts: list[Callable[[], tuple[syntax.Declaration, ...]]] = []
        self._names: list[str] = []
        self._bodies: list[PlumbBody] = []
        self._classes: dict[str, tuple[payload.Alias, Origin]] = {}

    # --- building ---

    def let(self, name: str, input: object, output: object, impl: Implementation) -> PortRef:  # noqa: A002
        """Declare a process: ``let name : input -> output = impl``.

        Args:
            name: of the process.
            input, output: types of messages, made streams of, unless they are ``Bare``, or of a ``Tool``. A tuple of
                types is several ports.
            impl: ``Agent(...)`` and its like, a ``PlumbBody``, an element or a chain of them, or ``Raw``.

        Returns:
            The process, to be put into chains; its name does as well.

        Raises:
            ConfigError: a name or a type is wrong.
        """
        at = here()
        named = name_at(name, "the name of a process", at)
        side = type_of if isinstance(impl, Tool) else ports_of
        taken, given = side(input), side(output)
        node = _implementation_of(impl)
        for alias in (*taken.classes, *given.classes):
            self._register(alias, at)
        if isinstance(impl, PlumbBody):
            self._bodies.append(impl)
            self._register_all(impl)
        self._names.append(name)
        self._parts.append(lambda: (syntax.BindingDecl(named, taken.node, given.node, node(), at),))
        return PortRef(name)

    def type(self, name: str | _Class, of: object = _UNSAID) -> NamedType:
        """Declare a type: ``type name = of``; or that of a class, by its own name. Return it by its name."""
        at = here()
        if of is _UNSAID and isinstance(name, str):
            raise ConfigError(f"it is not said what {name!r} is: write type({name!r}, str), or None for unit")
        if of is not _UNSAID and not isinstance(name, str):
            raise ConfigError(f"a class has its own type: write type({name!r}), or type('Name', {name!r})")
        if not isinstance(name, str):
            made = type_of(name)
            if not isinstance(made.node, syntax.NamedType) or not made.classes:
                raise ConfigError(f"{name!r} has no name in the language: write type('Name', {name!r})")
            for alias in made.classes:
                self._register(alias, at)
            return NamedType(made.node.name.text)
        type_ = type_of(of)
        for alias in type_.classes:
            self._register(alias, at)
        decl = syntax.TypeDecl(name_at(name, "the name of a type", at), type_.node, at)
        self._names.append(name)
        self._parts.append(lambda: (decl,))
        return NamedType(name)

    def protocol(self, name: str, session: object) -> None:
        """Declare a protocol: ``protocol name = session``."""
        at = here()
        made = session_of(session)
        for alias in made.classes:
            self._register(alias, at)
        decl = syntax.ProtocolDecl(name_at(name, "the name of a protocol", at), made.node, at)
        self._names.append(name)
        self._parts.append(lambda: (decl,))

    def use(self, name: str, *, is_path: bool | None = None) -> None:
        """Bring in the declarations of another file: ``use mem``, ``use "./mem.plumb"``.

        Args:
            is_path: whether it is a path, and no name. Left out, it is a path unless it can be a name.
        """
        at = here()
        path = not is_name(name) if is_path is None else is_path
        if not path:
            name_at(name, "the name of a module", at)
        if not is_unicode(name):
            raise ConfigError(f"{name!r} is no path that a program can name: it is not Unicode")
        self._parts.append(lambda: (syntax.UseDecl(name, path, at),))

    def raw(self, text: str) -> None:
        """Add declarations as text.

        Raises:
            CheckError: they cannot be read.
        """
        nodes = nodes_of(Raw(text), None)
        self._names += [node.name.text for node in nodes if not isinstance(node, syntax.UseDecl)]
        self._parts.append(lambda: nodes)

    def _register(self, alias: payload.Alias, at: Origin) -> None:
        known = self._classes.setdefault(alias.name, (alias, at))
        if known[0] != alias:
            raise ConfigError(
                f"two types are called {alias.name!r}: one used at {shown(known[1])}, and another at {shown(at)};"
                " rename one of the classes"
            )

    def _register_all(self, body: PlumbBody) -> None:
        for alias, at in body.classes.items():
            self._register(alias, at)

    # --- what it is ---

    @property
    def tree(self) -> syntax.Program:
        """What the parser would make of it. Types of classes come first, behind what is used."""
        for body in self._bodies:  # channels may have been added since
            self._register_all(body)
        declarations = [decl for part in self._parts for decl in part()]
        declared = {decl.name.text: decl for decl in declarations if isinstance(decl, syntax.TypeDecl)}
        types = [
            made
            for alias, at in self._classes.values()
            if not _is_declared(made := declaration_of(alias, at), declared, at)
        ]
        uses = len(list(takewhile(lambda decl: isinstance(decl, syntax.UseDecl), declarations)))
        return syntax.Program((*declarations[:uses], *types, *declarations[uses:]))

    def render(self) -> str:
        """Return the text of the program, as the formatter prints it.

        Raises:
            BuiltCheckError: it is nested too deeply to be read.
        """
        return self._rendered()[1].text

    @property
    def source(self) -> Source:
        """The text of the program, with the path that what it names is relative to."""
        return self._rendered()[1]

    def _rendered(self) -> tuple[syntax.Program, Source]:
        tree = self.tree
        for terse in (False, True):
            texts = Printer(terse=terse).program(tree)
            source = Source(self._path, "".join(texts))
            text, mistakes = format_source(source)
            if text is not None:
                return tree, Source(self._path, text)
        origins = [_declaration_at(tree, texts, mistake.span.start) for mistake in mistakes]
        raise BuiltCheckError(mistakes, [Place(origin.path, origin.line) for origin in origins])

    @property
    def _path(self) -> str:
        return str(self._directory / _FILE)

    def __repr__(self) -> str:
        names = ", ".join(self._names)
        return f"<Program {names}>" if names else "<Program>"


def _implementation_of(impl: object) -> Callable[[], syntax.Impl]:
    """Return what gives the node: a body may still grow."""
    match impl:
        case Configured():
            configured = impl.node
            return lambda: configured
        case PlumbBody():
            return lambda: impl.node
        case Raw():
            (node,) = nodes_of(impl, "implementation")
            made: syntax.Impl = node
            return lambda: made
    chain = chain_of((impl,)).chain
    return lambda: chain


def _is_declared(made: syntax.TypeDecl, declared: Mapping[str, syntax.TypeDecl], at: Origin) -> bool:
    """Say whether a class's type has a declaration already, which then has to be the same."""
    known = declared.get(made.name.text)
    if known is None:
        return False
    if Printer().type(known.type) != Printer().type(made.type):
        where = f" at {shown(known.span)}" if isinstance(known.span, Origin) else ""
        raise ConfigError(
            f"there is a type {made.name.text!r}{where}, and the class used at {shown(at)} is another one"
        )
    return True


def _declaration_at(tree: syntax.Program, texts: list[str], offset: int) -> Origin:
    """Return where the declaration was built that holds a character of the printed text."""
    ends = accumulate(map(len, texts))
    decl = next(decl for decl, end in zip(tree.declarations, ends, strict=True) if offset < end)
    assert isinstance(decl.span, Origin)
    return decl.span
