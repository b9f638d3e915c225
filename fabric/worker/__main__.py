"""The program ``python -m fabric.worker``: the worker behind ``python { call: ... }``, started by a fabric."""

from __future__ import annotations

__all__ = ["main"]

import sys

from fabric.worker.program import main

if __name__ == "__main__":
    sys.exit(main())
