"""The names of ``fabric.testing``: all there, each loaded when it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import fabric.testing


def test_every_name_is_there_and_no_other():
    """What is listed can be had, also by a star."""
    names: dict[str, object] = {}
    exec("from fabric.testing import *", names)
    assert set(fabric.testing.__all__) <= names.keys()
    assert sorted(fabric.testing.__all__) == sorted(name for names in fabric.testing._PLACES.values() for name in names)
    assert dir(fabric.testing) == sorted(fabric.testing.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'scripted_models'"):
        fabric.testing.scripted_models  # noqa: B018


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import fabric.testing", {"trio", "zmq", "msgspec", "httpx2", "h11", "fabric.client"}),
        ("from fabric.testing import scripted_model", {"zmq", "httpx2", "fabric.client", "fabric.session", "pytest"}),
        ("from fabric.testing import cassette", {"zmq", "httpx2", "fabric.client", "fabric.session", "pytest"}),
        ("from fabric.testing import run_virtual", {"httpx2", "fabric.client", "plumb_agent", "fabric.launch.zygote"}),
    ],
)
def test_a_name_loads_what_it_needs(code: str, absent: set[str]):
    """A model needs no sockets of ours, virtual time no client and no zygote."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"], capture_output=True, text=True, check=True
    )
    assert absent & set(done.stdout.split()) == set()
