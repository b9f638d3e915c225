"""What `dead list` and `dead show` print of letters. Pure."""

from __future__ import annotations

__all__ = ["render_letter", "render_letters", "without_content"]

from collections.abc import Iterable, Iterator

from fabric.cli.listing import align, clip
from fabric.runtime.dead_letters import Letter

_COLUMNS = ("ID", "AT", "WORKER", "CAUSE", "ATTEMPTS", "BYTES", "DETAIL")


def without_content(letter: Letter) -> dict[str, object]:
    """Return what a list says of a letter, as an object: the message itself and the worker's words are not in it."""
    return {
        "id": letter.id,
        "worker": letter.worker,
        "cause": letter.cause,
        "detail": letter.detail,
        "attempts": letter.attempts,
        "at": letter.at,
        "session": letter.session,
        "trace": letter.trace,
        "payload_bytes": len(bytes(letter.payload)),
        "stderr_lines": len(letter.stderr),
    }


def render_letters(letters: Iterable[Letter], columns: int | None) -> list[str]:
    """Return one line a letter, below a line of headings; cut to so many columns, if that matters."""
    return [clip(line, columns) for line in align([_COLUMNS, *map(_cells, letters)])]


def _cells(letter: Letter) -> tuple[str, ...]:
    return (
        str(letter.id),
        f"{letter.at[:19]}Z",
        letter.worker,
        letter.cause,
        str(letter.attempts),
        str(len(bytes(letter.payload))),
        " ".join(letter.detail.split()),
    )


def render_letter(letter: Letter, project: str) -> Iterator[str]:
    """Yield the lines that tell all of one letter, the message last, by itself."""
    yield f"dead letter {letter.id} of '{project}'"
    yield f"worker    {letter.worker}"
    yield f"cause     {letter.cause}: {letter.detail}"
    yield f"attempts  {letter.attempts}"
    yield f"at        {letter.at}"
    yield f"session   {letter.session}"
    yield f"trace     {letter.trace}"
    if letter.stderr:
        yield "stderr    its last lines:"
        yield from (f"  | {line}" for line in letter.stderr)
    payload = bytes(letter.payload)
    yield f"message   {len(payload)} bytes:"
    yield payload.decode(errors="replace")
