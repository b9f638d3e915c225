"""``module:function``: two directories do not see each other's modules, and the rest of Python is as it was."""

from __future__ import annotations

import sys
import types

import pytest

from fabric.pipelines.errors import CallableImportError, SchemaRefError
from fabric.pipelines.loading.pipeline import load_pipeline
from fabric.pipelines.loading.references import Importer


def folder(tmp_path, name, **files):
    directory = tmp_path / name
    for stem, text in files.items():
        path = directory / f"{stem.replace('__', '/').replace('#', '__')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def test_two_directories_have_a_module_of_the_same_name(tmp_path):
    """Each pipeline gets its own."""
    one = folder(tmp_path, "one", schemas="WHO = 'one'\n")
    two = folder(tmp_path, "two", schemas="WHO = 'two'\n")
    assert [Importer(each).find("schemas:WHO") for each in (one, two, one)] == ["one", "two", "one"]
    assert "schemas" not in sys.modules


def test_modules_of_a_directory_import_each_other_by_their_names(tmp_path):
    """Also when a function runs, and from packages; whatever stands in another directory is not seen."""
    text = (
        "from words import WORD\nimport words as again\n\n"
        "def late():\n    import words\n    return words.WORD, again is words\n"
    )
    one = folder(tmp_path, "one", steps=text, words="WORD = 'one'\n", pack__inner="from words import WORD\n")
    two = folder(tmp_path, "two", steps=text, words="WORD = 'two'\n")
    assert [Importer(each).find("steps:late")() for each in (one, two)] == [("one", True), ("two", True)]
    assert Importer(one).find("pack.inner:WORD") == "one"


def test_importing_a_package_by_its_dots(tmp_path):
    """``import a.b`` gives a, as everywhere."""
    files = {"pack__#init#": "TOP = 1\n", "pack__inner": "from .other import X\n", "pack__other": "X = 2\n"}
    one = folder(tmp_path, "one", steps="import pack.inner\nfound = (pack.TOP, pack.inner.X)\n", **files)
    assert Importer(one).find("steps:found") == (1, 2)


def test_classes_of_such_modules_can_be_looked_up(tmp_path):
    """By the name of their module: dataclasses, pydantic and pickle do so."""
    text = (
        "from __future__ import annotations\nfrom pydantic import BaseModel\n\n"
        "class Inner(BaseModel):\n    a: int\n\nclass Paper(BaseModel):\n    inner: Inner\n"
    )
    paper = Importer(folder(tmp_path, "one", schemas=text)).find("schemas:Paper")
    assert paper(inner={"a": 1}).inner.a == 1
    assert sys.modules[paper.__module__].Paper is paper


def test_a_module_that_everybody_has_is_the_same_for_a_pipeline(tmp_path, monkeypatch):
    """Where Python itself leads to the file beside the pipeline."""
    one = folder(tmp_path, "one", everybodys_module="class Paper: pass\n")
    monkeypatch.syspath_prepend(str(one))
    import everybodys_module

    assert Importer(one).find("everybodys_module:Paper") is everybodys_module.Paper
    monkeypatch.delitem(sys.modules, "everybodys_module")


def test_a_module_of_another_place_is_not_taken_for_the_one_beside(tmp_path, monkeypatch):
    """Even if it was imported under that name already."""
    module = types.ModuleType("schemas")
    monkeypatch.setattr(module, "WHO", "somebody else's", raising=False)
    monkeypatch.setitem(sys.modules, "schemas", module)
    assert Importer(folder(tmp_path, "one", schemas="WHO = 'one'\n")).find("schemas:WHO") == "one"
    assert Importer(folder(tmp_path, "two", steps="")).find("schemas:WHO") == "somebody else's"


def test_modules_elsewhere_are_found(tmp_path):
    """Those of Python, and what dots lead to."""
    assert Importer(tmp_path).find("os.path:join") is __import__("os").path.join
    assert Importer(tmp_path).find("collections:OrderedDict.fromkeys")("ab") == {"a": None, "b": None}


@pytest.mark.parametrize("text", ["", "os", ":x", "os:", "os:a b", "os:path:join", "../steps:f", "os:1", "a-b:c"])
def test_what_is_no_reference_is_an_error(tmp_path, text):
    """It is said how one looks."""
    with pytest.raises(CallableImportError, match="module:name"):
        Importer(tmp_path).find(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("def f(:", "SyntaxError"),
        ("import no_such_module_at_all", "no_such_module_at_all"),
    ],
)
def test_a_module_that_cannot_be_imported_is_an_error(tmp_path, text, said):
    """It says what happened, of the kind that the caller wants."""
    with pytest.raises(SchemaRefError, match="importing 'steps' failed") as raised:
        Importer(folder(tmp_path, "one", steps=text)).find("steps:f", SchemaRefError)
    assert said in str(raised.value)


def test_nothing_is_left_in_the_search_path(tmp_path):
    """Other code of the process imports as it did."""
    before = list(sys.path)
    Importer(folder(tmp_path, "one", steps="X = 1\n")).find("steps:X")
    assert sys.path == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("async def f(): pass", "'steps:f' is an async function"),
        ("async def f():\n    yield", "'steps:f' is an async function"),
        ("import functools\nasync def g(): pass\nf = functools.partial(g)", "'steps:f' is an async function"),
        ("class F:\n    async def __call__(self): pass\nf = F()", "'steps:f' is an async function"),
        ("f = 3", "'steps:f' is not a function"),
    ],
)
def test_functions_of_steps_are_called_and_not_awaited(tmp_path, text, said):
    """Also those of failures, and those that read answers."""
    folder(tmp_path, "one", steps=text)
    (tmp_path / "one" / "p.yaml").write_text(
        "models: {m: {provider: mock, response: x}}\n"
        "steps:\n"
        "  - {name: a, type: transform, fn: 'steps:f'}\n"
        "  - {name: b, model: m, prompt_string: x, parser: 'steps:f', on_failure: 'steps:f'}\n"
    )
    with pytest.raises(CallableImportError) as raised:
        load_pipeline(tmp_path / "one" / "p.yaml", environment={})
    assert [problem.message.partition(": ")[2].partition(": ")[0] for problem in raised.value.problems].count("fn") == 1
    assert len(raised.value.problems) == 3
    assert all(said in problem.message for problem in raised.value.problems)
