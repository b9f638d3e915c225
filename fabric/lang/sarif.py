"""Diagnostics as a SARIF log, which code hosts and editors show beside the text.

Source: Static Analysis Results Interchange Format (SARIF) 2.1.0, OASIS standard.
"""

from __future__ import annotations

__all__ = ["to_sarif"]

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fabric.lang.diagnostic import CODES, Diagnostic
from fabric.lang.explanation import Explanation
from fabric.lang.source import Source, Span

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def to_sarif(
    diagnostics: Sequence[Diagnostic],
    explanations: Mapping[str, Explanation],
    version: str,
    uri_of: Callable[[str], str],
    unread: Sequence[str] = (),
) -> dict[str, Any]:
    """Return a log of one run as plain JSON values.

    Args:
        explanations: of all codes; each becomes a rule, whether anything was found or not.
        version: of this program.
        uri_of: makes a URI of a file's path.
        unread: what is to be said of files that could not be read.
    """
    codes = sorted(CODES)
    index = {code: number for number, code in enumerate(codes)}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "fabric",
                        "version": version,
                        "rules": [_rule(explanations[code]) for code in codes],
                    }
                },
                "invocations": [
                    {
                        "executionSuccessful": not unread,
                        "toolExecutionNotifications": [{"level": "error", "message": {"text": why}} for why in unread],
                    }
                ],
                "columnKind": "unicodeCodePoints",
                "results": [_result(diagnostic, index[diagnostic.code], uri_of) for diagnostic in diagnostics],
            }
        ],
    }


def _rule(explanation: Explanation) -> dict[str, Any]:
    text = f"{explanation.title}.\n\n{explanation.text}\n"
    return {
        "id": explanation.code,
        "name": "".join(word.capitalize() for word in explanation.slug.split("_")),
        "shortDescription": {"text": f"{explanation.title}."},
        "help": {"text": text, "markdown": text},
        "defaultConfiguration": {"level": _level(explanation.code)},
        "properties": {"tags": [explanation.category]},
    }


def _level(code: str) -> str:
    return "warning" if code.startswith("W") else "error"


def _result(diagnostic: Diagnostic, rule: int, uri_of: Callable[[str], str]) -> dict[str, Any]:
    lines = [diagnostic.message, *diagnostic.notes]
    if diagnostic.help:
        lines.append(f"help: {diagnostic.help}")
    result: dict[str, Any] = {
        "ruleId": diagnostic.code,
        "ruleIndex": rule,
        "level": diagnostic.severity,
        "message": {"text": "\n".join(lines)},
        "locations": [_location(diagnostic.source, diagnostic.span, uri_of)],
    }
    if diagnostic.related:
        result["relatedLocations"] = [
            {"id": number, **_location(source, span, uri_of), "message": {"text": text}}
            for number, (source, span, text) in enumerate(diagnostic.related, 1)
        ]
    return result


def _location(source: Source, span: Span, uri_of: Callable[[str], str]) -> dict[str, Any]:
    line, column = source.position(span.start)
    end_line, end_column = source.position(span.end)
    region = {"startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column}
    return {"physicalLocation": {"artifactLocation": {"uri": uri_of(source.path)}, "region": region}}
