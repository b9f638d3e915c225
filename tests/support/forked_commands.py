"""Commands of ours as processes that begin with everything imported: each is a tenth of what it would be."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["forked_commands", "fabric.cli.session"])


class Done(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    said: str


def run_command(words: list[str], folder: Path, environment: Mapping[str, str], given: bytes = b"") -> Done:
    """Run `fabric ...` in a folder; return what came of it."""
    with tempfile.TemporaryDirectory() as place:
        files = [Path(place, name) for name in ("in", "out", "err")]
        for file in files:
            file.touch()
        files[0].write_bytes(given)
        process = _CONTEXT.Process(target=_command, args=(words, folder, dict(environment), files))
        process.start()
        process.join(timeout=60)
        if process.exitcode is None:
            process.kill()
            process.join()
        code = process.exitcode
        process.close()
        assert code is not None
        return Done(code, files[1].read_bytes().decode(), files[2].read_bytes().decode())


def _command(words: list[str], folder: Path, environment: dict[str, str], files: list[Path]) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, file in enumerate(files):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND if number else os.O_RDONLY), number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.argv = ["fabric", *words]
    from fabric.cli import main

    main()
