"""What a model is told about an answer that does not count: what it said, what is wrong with it, what is wanted."""

from __future__ import annotations

__all__ = ["feedback_of"]

from collections.abc import Mapping
from typing import Any

from fabric.pipelines.asking.attempts import Feedback, Wrong, cut
from fabric.pipelines.expressions.expression import Scope
from fabric.pipelines.spec import Attempts


def feedback_of(rules: Attempts, variables: Mapping[str, Any]) -> Feedback:
    """Return what writes the feedback of a step.

    Args:
        rules: of the step.
        variables: of its ``error_template``, beside those that say what is wrong. It sees no steps: what the model is
            told is about its answer.
    """
    template = rules.error_template
    if template is None:
        return lambda wrong, text, _: _built_in(rules, wrong, text)

    def write(wrong: Wrong, text: str, attempt: int) -> str:
        said = {
            "error_type": wrong.kind,
            "previous_output": cut(text, rules.feedback_chars_max),
            "errors": list(wrong.fields),
            "parse_error_message": wrong.message if wrong.kind == "parse" else "",
            "attempt": attempt,
            "retry_hint": rules.retry_hint,
        }
        return template.render({**variables, **said}, Scope({}, {}))

    return write


def _built_in(rules: Attempts, wrong: Wrong, text: str) -> str:
    previous = cut(text, rules.feedback_chars_max)
    if wrong.kind == "schema":
        parts = [
            f"Your previous response could be read, but failed schema validation. This was it:\n\n{previous}",
            "Validation errors:\n" + "\n".join(f"- {line}" for line in wrong.lines),
            "Correct every one of them, and return the whole JSON object again.",
        ]
    else:
        parts = [
            f"Your previous response was not valid JSON. This was it:\n\n{previous}",
            f"What was wrong with it: {wrong.message}",
            "Return one valid JSON object and nothing else: no text around it, no Markdown.",
        ]
    if rules.retry_hint:
        parts.append(rules.retry_hint)
    return "\n\n".join(parts)
