"""Serves a script, which is written to be run once for each invocation, in RPC mode: ``serve_script.py SDK SCRIPT``.

For each request the script is run anew, and what it reads and writes with the functions of its module goes to the
session of the request.
"""

from __future__ import annotations

import contextlib
import importlib
import runpy
import sys
from typing import Any


def main() -> None:
    """Serve until killed."""
    sdk, script = sys.argv[1:]
    module: Any = importlib.import_module(sdk)
    http: Any = importlib.import_module(f"{sdk}.http")
    # Where the functions of the module look for their session.
    place, name = (
        (module, "_default_session") if sdk == "pugmark" else (importlib.import_module(f"{sdk}.process"), "_session")
    )
    sys.modules["pugmark"] = module
    sys.argv[:] = [script]

    def handler(session: Any) -> None:
        setattr(place, name, session)
        stdin, sys.stdin = sys.stdin, session.reader.stream
        try:
            with contextlib.redirect_stdout(session.writer.stream):
                runpy.run_path(script, run_name="__main__")
        except SystemExit as exit_:
            if exit_.code:
                raise RuntimeError(f"the script ended with status {exit_.code}") from None
        finally:
            sys.stdin = stdin

    http.serve(http.WSGIPugmark(handler))


if __name__ == "__main__":
    main()
