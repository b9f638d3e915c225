"""Templates: which there are, what is in them, what a folder may be called."""

from __future__ import annotations

from pathlib import Path

import pytest

import fabric
from fabric.cli.template import TEMPLATES, folder_name_fault, template_files, template_names
from fabric.compiler import check_file
from fabric.settings import parse_dotenv, read_settings

FOLDER = Path(fabric.__file__).parent / "templates"


def written(template: str, folder: Path) -> Path:
    for name, content in template_files(template, "greeter").items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_every_folder_is_a_template():
    """But for the one whose files are in all of them."""
    assert {path.name for path in FOLDER.iterdir()} - {"every"} == set(template_names()) == set(TEMPLATES)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_project_is_whole(template: str, tmp_path: Path):
    """Settings that name its program, which checks without a warning; what is not committed; a test; a README."""
    settings = read_settings(written(template, tmp_path))
    assert settings.spec is not None
    assert check_file(settings.spec).warnings == ()
    assert {".env", ".fabric/", "__pycache__/"} <= set((tmp_path / ".gitignore").read_text().splitlines())
    variables = parse_dotenv((tmp_path / ".env.example").read_text(), ".env.example")
    assert {name: variable.value for name, variable in variables.items()} == {
        "ANTHROPIC_API_KEY": "",
        "OPENAI_API_KEY": "",
    }
    assert (tmp_path / "README.md").read_text().startswith("# greeter\n")
    assert (tmp_path / "tests" / "test_pipeline.py").is_file()


def test_hello_has_a_program_of_six_lines():
    """The least there is."""
    assert template_files("hello", "hello")["hello.plumb"].count(b"\n") == 6


@pytest.mark.parametrize("name", ["hello", "a", "my-project_2", "A.b"])
def test_a_name_that_will_do(name: str):
    """Letters, digits and few signs."""
    assert folder_name_fault(name) is None


@pytest.mark.parametrize(
    ("name", "better"),
    [("my project", "my-project"), ("-f", "f"), (".hidden", "hidden"), ("a/b", "a-b"), ("a\nb", "a-b"), ("ü", "hello"),
     ("", "hello")],
)  # fmt: skip
def test_a_name_that_will_not_do_and_one_that_does(name: str, better: str):
    """It would have to be quoted, or be taken for a flag."""
    fault = folder_name_fault(name)
    assert fault is not None
    assert fault.endswith(f"such as '{better}'")
    assert folder_name_fault(better) is None
