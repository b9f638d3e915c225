"""Errors as values: they cross processes, and several tasks may be told of one."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest

from fabric.compiler import Library, check_program
from fabric.dsl import BuiltCheckError, Program
from fabric.errors import (
    BinaryNotFoundError,
    CheckError,
    FabricError,
    PipelineError,
    PlumbingModelError,
    RemoteProtocolError,
    RunError,
    ValueRejected,
)
from fabric.lang.diagnostic import check_error, to_json
from fabric.lang.source import Source


def _checked() -> CheckError:
    compiled, diagnostics = check_program(Source("main.plumb", "let main : !string -> !int = id\n"), Library(()))
    assert compiled is None
    return check_error(diagnostics)


def _built() -> CheckError:
    program = Program()
    program.let("main", str, str, "nobody")
    with pytest.raises(BuiltCheckError) as caught:
        program.check()
    return caught.value


PLAIN = [
    RunError("no key", 7),
    BinaryNotFoundError("there is none"),
    PipelineError("it died", 3, "last words", "child_died"),
    PlumbingModelError("no output"),
    ValueRejected("$.a", "int", "string"),
    RemoteProtocolError("version", "an old one"),
]


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
@pytest.mark.parametrize("error", [*PLAIN, _checked(), _built()], ids=lambda error: type(error).__name__)
def test_an_error_is_the_same_on_the_other_side(error: FabricError, again: Callable[[FabricError], FabricError]):
    """Pickled or copied: its kind, its text and all that it tells."""
    other = again(error)
    assert other is not error
    assert type(other) is type(error)
    assert (str(other), other.code, other.exit_code, other.args) == (
        str(error),
        error.code,
        error.exit_code,
        error.args,
    )
    assert _told(other) == _told(error)


def _told(error: FabricError) -> dict[str, object]:
    """Return the attributes of an error; diagnostics as plain values, which can be compared."""
    told = vars(error)
    return told | {"diagnostics": [to_json(diagnostic) for diagnostic in told.get("diagnostics", ())]}


def test_the_cause_of_an_error_of_a_model_comes_along():
    """As what it was."""
    error = PlumbingModelError("it failed", PipelineError("it died", 3))
    other = pickle.loads(pickle.dumps(error))
    assert isinstance(other.cause, PipelineError)
    assert (other.cause.detail, other.cause.returncode) == ("it died", 3)
