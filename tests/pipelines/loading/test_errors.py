"""What is wrong with a pipeline, beside the lines where it is: ``errors.txt``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fabric.pipelines.errors import PipelineLoadError
from fabric.pipelines.loading.pipeline import load_pipeline

_MARK = re.compile(r" *#! (\w+) (\d+) (.*?)(?: \?(\S+))?$")
_CHUNKS = (Path(__file__).parent / "errors.txt").read_text().split("\n=== ")[1:]

_BESIDE = {
    "p.j2": "Read it.\n",
    "steps.py": "def clean(**inputs):\n    return inputs\n",
    "schemas.py": "from pydantic import BaseModel\n\nclass Paper(BaseModel):\n    title: str\n\nWord = str\n",
}


@pytest.mark.parametrize("chunk", _CHUNKS, ids=lambda chunk: chunk.partition("\n")[0])
def test_everything_that_is_wrong_is_said_where_it_is(tmp_path, chunk):
    """All of it, in the order of the lines, with class, place, words and what was meant; nothing else."""
    for name, text in _BESIDE.items():
        (tmp_path / name).write_text(text)
    marked = chunk.partition("\n")[2].rstrip("\n").split("\n")
    (tmp_path / "pipeline.yaml").write_text("\n".join(_MARK.sub("", line) for line in marked) + "\n")
    with pytest.raises(PipelineLoadError) as raised:
        load_pipeline(tmp_path / "pipeline.yaml")
    expected = [(number, *found.groups()) for number, line in enumerate(marked, 1) if (found := _MARK.search(line))]
    said = sorted(raised.value.problems, key=lambda problem: problem.line or 0)
    assert [(each.line, type(each).__name__, str(each.column)) for each in said] == [each[:3] for each in expected]
    for problem, (*_, words, meant) in zip(said, expected, strict=True):
        assert words in problem.message
        assert meant is None or problem.suggestion == meant


def test_marks_are_read():
    """There are chunks, and each has a mark."""
    assert len(_CHUNKS) > 30
    assert all(any(_MARK.search(line) for line in chunk.split("\n")) for chunk in _CHUNKS)
