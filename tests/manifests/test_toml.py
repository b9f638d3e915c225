"""Settings that are written and read again."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.manifests.toml import write_settings
from fabric.settings import (
    PortRange,
    ProjectHost,
    ProjectLimits,
    ProjectPrice,
    ProjectSettings,
    ProjectWorker,
    Resources,
    read_settings,
)

WORDS = st.text(min_size=1, max_size=8).filter(lambda text: text.isprintable())
PLACED = st.just("")
SECONDS = st.none() | st.floats(0.5, 1e6)
COUNTS = st.none() | st.integers(1, 64)


def structs(kind, **fields):
    return st.builds(kind, **fields)


ADDRESSES = st.from_regex(r"[a-z][a-z0-9]{0,9}(\.[a-z0-9]{1,9}){0,2}", fullmatch=True) | st.ip_addresses().map(str)
HOSTS = structs(
    ProjectHost,
    place=PLACED,
    address=ADDRESSES,
    bind=st.none() | ADDRESSES,
    ports=st.none() | st.just(PortRange(5000, 5099)),
    engine=st.none() | st.just("unix:///run/x.sock"),
)
LIMITS = structs(
    Resources,
    memory_bytes=st.none() | st.integers(2**20, 2**40),
    cpus=st.none() | st.floats(0.1, 64),
    pids=COUNTS,
)
IMAGES = st.none() | st.from_regex(r"[a-z0-9][a-z0-9./:@_-]{0,20}", fullmatch=True)
VARIABLES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True)
WORKERS = structs(
    ProjectWorker,
    place=PLACED,
    retries=COUNTS,
    idle_timeout_s=SECONDS,
    on_crash=st.sampled_from([None, "fail", "forget"]),
    host=st.none() | WORDS,
    runner=st.sampled_from([None, "process", "container", "external"]),
    image=IMAGES,
    replicas=COUNTS,
    limits=LIMITS,
    env=st.lists(VARIABLES, max_size=2).map(tuple),
)
PRICES = structs(
    ProjectPrice,
    place=PLACED,
    input=st.floats(0, 100),
    output=st.floats(0, 100),
    cache_read=st.none() | st.floats(0, 100),
    cache_write=st.none(),
)
SETTINGS = structs(
    ProjectSettings,
    spec=st.just(Path("/app/main.plumb")),
    launch=st.sampled_from([None, "zygote", "spawn"]),
    provider=st.none() | WORDS,
    model=st.none() | WORDS,
    ready_timeout_s=SECONDS,
    grace_s=SECONDS,
    restarts_max=COUNTS,
    redeliveries_max=COUNTS,
    stall_s=SECONDS,
    queue=COUNTS,
    policy=st.sampled_from([None, "block", "dead_letter"]),
    store=st.sampled_from([None, "s3://bucket/sessions", "file:///var/lib/sessions"]),
    approval_timeout_s=SECONDS,
    tool_timeout_s=SECONDS,
    host=st.none() | WORDS,
    runner=st.sampled_from([None, "process", "container", "external"]),
    image=IMAGES,
    http=st.none() | WORDS,
    workers=st.dictionaries(WORDS, WORKERS, max_size=3),
    hosts=st.dictionaries(WORDS, HOSTS, max_size=3),
    limits=structs(ProjectLimits, usd=st.none() | st.floats(0.1, 100), tokens=COUNTS, calls=COUNTS, wall_s=SECONDS),
    prices=st.dictionaries(WORDS, PRICES, max_size=2),
)


def without_places(said: ProjectSettings) -> ProjectSettings:
    tables = {
        name: {key: msgspec.structs.replace(item, place="") for key, item in getattr(said, name).items()}
        for name in ("workers", "hosts", "prices")
    }
    return msgspec.structs.replace(said, **tables)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("project")


@given(said=SETTINGS)
def test_what_is_written_says_the_same(folder: Path, said: ProjectSettings):
    """Whatever a project may say: a key that is forgotten would be lost on the way into the container."""
    (folder / "fabric.toml").write_text(write_settings(said, "above\nit"), encoding="utf-8")
    assert without_places(read_settings(folder)) == said


def test_every_field_of_the_settings_is_varied():
    """So one that is added is not forgotten here."""
    for kind, made in ((ProjectSettings, SETTINGS), (ProjectWorker, WORKERS), (ProjectHost, HOSTS)):
        assert set(kind.__struct_fields__) == set(made.wrapped_strategy.kwargs), kind
