"""Functions of a test as the module of a pipeline's steps: ``fn: NAME:function``."""

from __future__ import annotations

import itertools
import sys
import types
from collections.abc import Callable
from typing import Any

_NUMBERS = itertools.count(1)


def module_of(**functions: Callable[..., Any]) -> str:
    """Return the name of a new module that has these functions."""
    module = types.ModuleType(f"functions_of_test_{next(_NUMBERS)}")
    vars(module).update(functions)
    sys.modules[module.__name__] = module
    return module.__name__
