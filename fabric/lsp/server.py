"""The protocol: requests of the editor to questions, answers to its types.

One event loop, no threads: a check of a thousand lines takes some 50 ms, and nothing here waits. What is wrong is said
a moment after the last key, everything else when it is asked for, always of the text as it is then.
"""

from __future__ import annotations

__all__ = ["Server"]

import asyncio
import os.path
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer
from pygls.protocol import LanguageServerProtocol, lsp_method
from pygls.uris import to_fs_path

from fabric import __version__
from fabric.lang.diagnostic import Diagnostic
from fabric.lang.format import format_source
from fabric.lang.source import Source, Span
from fabric.lsp.completion import Item, ItemKind, Known, complete
from fabric.lsp.outline import Entry, EntryKind, outline
from fabric.lsp.place import find_place
from fabric.lsp.positions import Lines, difference, edit
from fabric.lsp.workspace import Checked, Workspace

QUIET_S = 0.05
"""Diagnostics are sent when so long nothing has changed: about what a check takes, so that it does not hold up keys."""

_SYMBOLS: dict[EntryKind, lsp.SymbolKind] = {
    "module": lsp.SymbolKind.Module,
    "type": lsp.SymbolKind.Struct,
    "protocol": lsp.SymbolKind.Interface,
    "process": lsp.SymbolKind.Function,
    "port": lsp.SymbolKind.Variable,
    "channel": lsp.SymbolKind.Variable,
    "field": lsp.SymbolKind.Field,
}
_ITEMS: dict[ItemKind, lsp.CompletionItemKind] = {
    "process": lsp.CompletionItemKind.Function,
    "tool": lsp.CompletionItemKind.Function,
    "type": lsp.CompletionItemKind.Struct,
    "protocol": lsp.CompletionItemKind.Interface,
    "port": lsp.CompletionItemKind.Property,
    "field": lsp.CompletionItemKind.Field,
    "channel": lsp.CompletionItemKind.Variable,
    "module": lsp.CompletionItemKind.Module,
    "keyword": lsp.CompletionItemKind.Keyword,
    "key": lsp.CompletionItemKind.Property,
    "value": lsp.CompletionItemKind.Value,
}
_TRIGGERS = ["@", ".", ":", "!", '"']
_SEVERITIES = {"error": lsp.DiagnosticSeverity.Error, "warning": lsp.DiagnosticSeverity.Warning}
_NO_MAIN = "E0206"


class _Protocol(LanguageServerProtocol):
    @lsp_method(lsp.TEXT_DOCUMENT_DID_CHANGE)
    def lsp_text_document__did_change(
        self, params: lsp.DidChangeTextDocumentParams
    ) -> Iterator[tuple[Callable[..., Any], tuple[Any], None]]:
        """Pass a change on. The workspace of pygls would move its positions first, at lines as it counts them."""
        yield self.fm.features[lsp.TEXT_DOCUMENT_DID_CHANGE], (params,), None


class Server:
    """Serves one editor over stdin and stdout. ``folders``: where to look for modules."""

    def __init__(self, folders: Iterable[str | Path] = ()) -> None:
        self._workspace = Workspace(folders)
        self._uris: dict[str, str] = {}  # of open texts, as the editor writes them
        self._versions: dict[str, int] = {}
        self._sent: dict[str, tuple[int | None, list[lsp.Diagnostic]]] = {}  # version and diagnostics, by uri
        self._timer: asyncio.TimerHandle | None = None
        self._asked_to_end = False
        self._server = LanguageServer("fabric", __version__, protocol_cls=_Protocol)
        answers: dict[str, Callable[[Any], Any]] = {
            lsp.TEXT_DOCUMENT_DID_OPEN: self._opened,
            lsp.TEXT_DOCUMENT_DID_CHANGE: self._changed,
            lsp.TEXT_DOCUMENT_DID_SAVE: self._saved,
            lsp.TEXT_DOCUMENT_DID_CLOSE: self._closed,
            lsp.WORKSPACE_DID_CHANGE_WATCHED_FILES: self._files_changed,
            lsp.TEXT_DOCUMENT_HOVER: self._hover,
            lsp.TEXT_DOCUMENT_DEFINITION: self._definition,
            lsp.TEXT_DOCUMENT_DOCUMENT_SYMBOL: self._symbols,
            lsp.TEXT_DOCUMENT_FORMATTING: self._format,
            lsp.TEXT_DOCUMENT_COMPLETION: self._complete,
            lsp.SHUTDOWN: self._shut_down,
        }
        options = {lsp.TEXT_DOCUMENT_COMPLETION: lsp.CompletionOptions(trigger_characters=_TRIGGERS)}
        for method, answer in answers.items():
            self._server.feature(method, options.get(method))(partial(answer))  # pygls writes on what it is given

    def run(self) -> int:
        """Serve until the editor says so or goes away; return the exit code, 1 if it went without a word."""
        self._server.start_io()
        return 0 if self._asked_to_end else 1

    def _shut_down(self, params: None) -> None:
        self._asked_to_end = True

    # --- texts ---

    def _opened(self, params: lsp.DidOpenTextDocumentParams) -> None:
        document = params.text_document
        path = _path_of(document.uri)
        self._uris[path] = document.uri
        self._versions[path] = document.version
        self._workspace.put(path, document.text)
        self._publish()

    def _changed(self, params: lsp.DidChangeTextDocumentParams) -> None:
        path = _path_of(params.text_document.uri)
        text = self._workspace.text(path)
        if text is None:
            return
        for change in params.content_changes:
            if isinstance(change, lsp.TextDocumentContentChangePartial):
                first, last = change.range.start, change.range.end
                places = (first.line, first.character), (last.line, last.character)
                text = edit(text, *places, change.text, self._encoding)
            else:
                text = change.text
        self._versions[path] = params.text_document.version
        self._workspace.put(path, text)
        self._publish_soon()

    def _saved(self, params: lsp.DidSaveTextDocumentParams) -> None:
        self._workspace.touch(_path_of(params.text_document.uri))
        self._publish()

    def _closed(self, params: lsp.DidCloseTextDocumentParams) -> None:
        self._workspace.close(_path_of(params.text_document.uri))
        self._publish()

    def _files_changed(self, params: lsp.DidChangeWatchedFilesParams) -> None:
        for change in params.changes:
            self._workspace.touch(_path_of(change.uri))
        self._publish_soon()

    # --- diagnostics ---

    def _publish_soon(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(QUIET_S, self._publish)

    def _publish(self) -> None:
        """Send what is wrong with each file, if it is not what was sent last."""
        if self._timer is not None:
            self._timer.cancel()
        lines: dict[Source, Lines] = {}
        found = {
            self._uri_of(path): [self._shown(diagnostic, lines) for diagnostic in diagnostics]
            for path, diagnostics in self._workspace.diagnostics().items()
        }
        versions = {self._uris[path]: self._versions[path] for path in self._workspace.paths}
        to_send = {uri: (versions.get(uri), shown) for uri, shown in found.items()}
        for uri in self._sent.keys() - to_send.keys():
            self._server.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(uri, []))
        for uri, (version, shown) in to_send.items():
            if self._sent.get(uri) != (version, shown):
                self._server.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(uri, shown, version))
        self._sent = to_send

    def _shown(self, diagnostic: Diagnostic, lines: dict[Source, Lines]) -> lsp.Diagnostic:
        help_ = [f"help: {diagnostic.help}"] if diagnostic.help else []
        label = [diagnostic.label] if diagnostic.label else []
        severity = _SEVERITIES[diagnostic.severity]
        if diagnostic.code == _NO_MAIN:
            severity = lsp.DiagnosticSeverity.Information  # a file that others use is opened as often as one that runs
        return lsp.Diagnostic(
            self._range(diagnostic.source, diagnostic.span, lines),
            "\n".join(
                [diagnostic.message, *label, *diagnostic.notes, *help_, f"more: fabric explain {diagnostic.code}"]
            ),
            severity,
            diagnostic.code,
            source="fabric",
            tags=[lsp.DiagnosticTag.Unnecessary] if diagnostic.slug.startswith("unused") else None,
            related_information=[
                lsp.DiagnosticRelatedInformation(self._location(source, span, lines), text)
                for source, span, text in diagnostic.related
            ],
        )

    # --- questions ---

    def _hover(self, params: lsp.HoverParams) -> lsp.Hover | None:
        checked, offset = self._asked(params)
        place = find_place(checked.analysis, checked.file, offset) if checked else None
        if checked is None or place is None:
            return None
        text = f"```plumb\n{place.code}\n```\n{place.text}"
        shown = lsp.MarkupContent(lsp.MarkupKind.Markdown, text.rstrip())
        return lsp.Hover(shown, self._range(checked.file.source, place.span, {}))

    def _definition(self, params: lsp.DefinitionParams) -> lsp.Location | None:
        checked, offset = self._asked(params)
        place = find_place(checked.analysis, checked.file, offset) if checked else None
        if checked is None or place is None or place.target is None:
            return None
        return self._location(checked.analysis.sources.at(place.target), place.target, {})

    def _symbols(self, params: lsp.DocumentSymbolParams) -> list[lsp.DocumentSymbol]:
        checked = self._workspace.checked(_path_of(params.text_document.uri))
        if checked is None:
            return []
        lines: dict[Source, Lines] = {}
        return [self._symbol(entry, checked.file.source, lines) for entry in outline(checked.file)]

    def _symbol(self, entry: Entry, source: Source, lines: dict[Source, Lines]) -> lsp.DocumentSymbol:
        return lsp.DocumentSymbol(
            entry.name or "?",  # clients refuse an empty name
            _SYMBOLS[entry.kind],
            self._range(source, entry.span, lines),
            self._range(source, entry.name_span, lines),
            entry.detail,
            children=[self._symbol(child, source, lines) for child in entry.children],
        )

    def _format(self, params: lsp.DocumentFormattingParams) -> list[lsp.TextEdit] | None:
        """Return the edit that lays the text out; None, which changes nothing, if it cannot be read."""
        text = self._workspace.text(_path_of(params.text_document.uri))
        laid_out = _formatted(text) if text is not None else None
        if text is None or laid_out is None:
            return None
        start, end, new = difference(text, laid_out)
        return [lsp.TextEdit(self._range(Source("", text), Span(start, end), {}), new)] if text != laid_out else []

    def _complete(self, params: lsp.CompletionParams) -> lsp.CompletionList:
        path = _path_of(params.text_document.uri)
        checked, offset = self._asked(params)
        if checked is None:
            return lsp.CompletionList(is_incomplete=False, items=[])
        source = checked.file.source
        known = Known(
            checked.file,
            checked.readable,
            checked.analysis.files,
            self._workspace.modules(path),
            lambda text: self._workspace.try_text(path, text),
        )
        start, items = complete(source.text, offset, known)
        place = self._range(source, Span(start, offset), {})
        return lsp.CompletionList(
            is_incomplete=False, items=[_item(item, place, number) for number, item in enumerate(items)]
        )

    def _asked(
        self, params: lsp.HoverParams | lsp.DefinitionParams | lsp.CompletionParams
    ) -> tuple[Checked | None, int]:
        """Return what is known of a text, and the offset that is asked about."""
        checked = self._workspace.checked(_path_of(params.text_document.uri))
        if checked is None:
            return None, 0
        lines = Lines(checked.file.source.text, self._encoding)
        return checked, lines.offset(params.position.line, params.position.character)

    # --- places ---

    @property
    def _encoding(self) -> str:
        agreed = self._server.workspace.position_encoding or lsp.PositionEncodingKind.Utf16
        return lsp.PositionEncodingKind(agreed).value  # an editor that says nothing leaves the enum, others the word

    def _uri_of(self, path: str) -> str:
        return self._uris.get(os.path.normpath(path)) or Path(path).absolute().as_uri()

    def _location(self, source: Source, span: Span, lines: dict[Source, Lines]) -> lsp.Location:
        return lsp.Location(self._uri_of(source.path), self._range(source, span, lines))

    def _range(self, source: Source, span: Span, lines: dict[Source, Lines]) -> lsp.Range:
        """Return a span as the editor counts; ``lines`` keeps what was counted of a file."""
        if source not in lines:
            lines[source] = Lines(source.text, self._encoding)
        places = (lines[source].position(offset - source.start) for offset in (span.start, span.end))
        return lsp.Range(*(lsp.Position(*place) for place in places))


def _path_of(uri: str) -> str:
    return os.path.normpath(to_fs_path(uri) or uri)


def _item(item: Item, place: lsp.Range, number: int) -> lsp.CompletionItem:
    return lsp.CompletionItem(
        item.label,
        kind=_ITEMS[item.kind],
        detail=item.detail,
        sort_text=f"{number:05}",  # what is nearest comes first, not what is first in the alphabet
        filter_text=item.label,
        text_edit=lsp.TextEdit(place, item.insert or item.label),
    )


def _formatted(text: str) -> str | None:
    """Return a text laid out, with the line ends that it had; None if it cannot be read."""
    laid_out, _ = format_source(Source("", text.replace("\r\n", "\n")))
    return laid_out.replace("\n", "\r\n") if laid_out is not None and "\r\n" in text else laid_out
