"""The command by which a person decides about terms that runs have suggested."""

from __future__ import annotations

__all__ = ["read_choice", "register"]

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from fabric.errors import ConfigError, FabricError
from fabric.pipelines.commands.report import answering, say


def register(app: typer.Typer) -> None:
    """Add the command."""
    group = typer.Typer(no_args_is_help=True, help="Vocabularies of pipelines.")
    group.callback()(_vocab)
    group.command()(review)
    app.add_typer(group, name="vocab")


def _vocab() -> None:
    """Vocabularies of pipelines: decide about terms that runs have suggested."""


def review(
    pipeline: Annotated[
        Path, typer.Argument(metavar="[PIPELINE]", help="The pipeline's file, or its folder.", show_default=False)
    ] = Path("pipeline.yaml"),
    auto_accept: Annotated[bool, typer.Option("--auto-accept", help="Accept all without asking.")] = False,
) -> None:
    """Decide about the terms that wait in the files of the pipeline's vocabularies.

    Numbers accept terms, numbers behind a ``d`` deny them: '1,3 d2'. A denied term is not suggested again.

    Exit codes: 0; 1 a file cannot be read or written.
    """
    with answering("text"):
        folder = (pipeline if pipeline.is_dir() else pipeline.resolve().parent) / "vocabularies"
        if not folder.is_dir():
            print(f"No vocabularies/ directory found beside {pipeline}.")
            return
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".yaml", ".yml") and path.is_file())
        waiting = [path for path in files if _review_file(path, auto_accept)]
        if not waiting:
            print("No pending suggestions to review." if files else "No vocabulary files found to review.")


def _review_file(path: Path, auto_accept: bool) -> bool:
    """Decide about the terms of a file; return whether there were any."""
    from fabric.pipelines.vocab import Vocabulary

    try:
        vocabulary = Vocabulary.from_file(path)
    except (FabricError, OSError, ValueError) as error:
        say(f"{path.name} is skipped: {error}")
        return False
    pending: Sequence[Mapping[str, Any]] = list(vocabulary.pending)
    if not pending:
        return False
    print("\n".join(_told(vocabulary, pending)))
    accepted, denied = (range(len(pending)), range(0)) if auto_accept else _typed(len(pending))
    for number in accepted:
        term = str(pending[number]["raw_value"])
        vocabulary.add_term(term)
        print(f"  ✓ Added {term!r} to {vocabulary.label}")
    for number in denied:
        term = str(pending[number]["raw_value"])
        vocabulary.deny(term)
        print(f"  ✗ Denied {term!r} in {vocabulary.label}")
    if accepted or denied:
        decided = {*accepted, *denied}
        vocabulary.pending = [dict(each) for number, each in enumerate(pending) if number not in decided]
        try:
            vocabulary.save(path)
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}") from None
        print(f"  Saved {path}")
    return True


def _told(vocabulary: Any, pending: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what there is to know for a decision, in lines."""
    lines = [f"\nVocabulary: {vocabulary.label}"]
    lines += [f"Description: {vocabulary.description}"] if vocabulary.description else []
    lines.append(f"Known terms: {', '.join(sorted(vocabulary.known))}")
    lines += [f"Denied terms: {', '.join(sorted(vocabulary.denied))}"] if vocabulary.denied else []
    lines.append(f"Pending suggestions ({len(pending)}):")
    for number, each in enumerate(pending, 1):
        ideal = f" (ideal: {each['ideal_value']!r})" if each.get("ideal_value") else ""
        kind = f"fuzzy match for {each['matched_to']!r}" if each.get("matched_to") else each.get("match_type", "novel")
        lines.append(f"  {number}. {each['raw_value']!r}{ideal} — {kind} (seen {each.get('seen', 1)}×)")
    return lines


def _typed(count: int) -> tuple[Sequence[int], Sequence[int]]:
    """Ask until there is an answer that can be read; at the end of the input nothing is decided."""
    print("Numbers to accept (comma-separated), 'd<numbers>' to deny, Enter to skip. Example: '1,3 d2'.")
    while True:
        try:
            return read_choice(input("> "), count)
        except EOFError:
            return (), ()
        except ValueError as error:
            print(f"  {error}")


def read_choice(text: str, count: int) -> tuple[list[int], list[int]]:
    """Return which terms are accepted and which denied, counted from 0.

    Args:
        text: such as ``1,3 d2``; ``d2,4`` denies both.
        count: of the terms.

    Raises:
        ValueError: it is none, names a term that is not there, or one as both.
    """
    accepted: dict[int, None] = {}
    denied: dict[int, None] = {}
    for part in text.split():
        if not re.fullmatch(r"d?\d+(,d?\d+)*,?", part):
            raise ValueError(f"expected numbers such as '1,3 d2'; got {part!r}")
        into = denied if part.startswith("d") else accepted
        for number in re.findall(r"d?\d+", part):
            into = denied if number.startswith("d") else into
            at = int(number.removeprefix("d")) - 1
            if not 0 <= at < count:
                raise ValueError(f"there is no suggestion {at + 1}; expected 1 to {count}")
            into[at] = None
    if both := [at + 1 for at in accepted if at in denied]:
        raise ValueError(f"suggestion {both[0]} is accepted and denied; say one of them")
    return sorted(accepted), sorted(denied)
