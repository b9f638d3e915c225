"""The modules that come with us."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import fabric.compiler
from fabric.compiler import INSTALLED, check_text
from fabric.lang.diagnostic import render_all
from fabric.lang.source import Source
from fabric.lang.tools import BUILTINS

MODULES = sorted(path.stem for path in INSTALLED.glob("*.plumb"))

USES = {
    "fs": "tools: [Fs.read, Fs.write, Fs.edit, Fs.grep, Fs.list, Fs.delete]",
    "sys": "tools: [Sys.exec]",
    "notify": "tools: [Notify.tell]",
}


def test_these_are_all():
    """Four modules."""
    assert MODULES == ["fs", "mem", "notify", "sys"]


@pytest.mark.parametrize("module", USES)
def test_an_agent_can_have_the_tools_of_a_module(module):
    """All of them at once."""
    text = f"use {module}\nlet main : !string -> !string = agent {{ {USES[module]} }}\n"
    checked, diagnostics = check_text(Source("x.plumb", text))
    assert checked is not None, render_all(diagnostics)
    assert not diagnostics


def test_every_builtin_is_in_a_module():
    """So that nobody has to write its types down again."""
    texts = "".join((INSTALLED / f"{module}.plumb").read_text() for module in MODULES)
    assert all(f'builtin: "{name}"' in texts for name in BUILTINS)


def test_compact_watches_an_agent_by_its_ports():
    """As its remark says: three channels, two spawns."""
    text = """
use mem
let worker : (!string, !Mem.CtrlCmd) -> (!string, !json) = agent { runtime_context: true }
let main : !string -> !string = plumb(i, o) {
  let c : !Mem.CtrlCmd = channel
  let r : !Mem.CtrlResp = channel
  let t : !json = channel
  spawn worker(input=i, ctrl_in=c, output=o, ctrl_out=r, telemetry=t)
  spawn Mem.compact(ctrl_out=r, telemetry=t, ctrl_in=c)
}
"""
    checked, diagnostics = check_text(Source("x.plumb", text))
    assert checked is not None, render_all(diagnostics)
    assert not diagnostics


def test_the_gate_lets_one_through_until_the_agent_has_resumed():
    """What is due meanwhile belongs to the same compaction."""
    spec = importlib.util.spec_from_file_location("mem", Path(fabric.compiler.__file__).parent / "library" / "mem.py")
    assert spec is not None
    assert spec.loader is not None
    mem = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mem)
    due, resumed = {"due": True}, {"kind": "resume_ack"}
    assert [mem.gate(event) for event in (due, due, resumed, due, due)] == [due, None, None, due, None]
