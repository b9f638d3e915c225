"""Object storage: answers that are lost, buckets that are not there, what is told of it."""

from __future__ import annotations

import itertools
import os
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from s3_server import BUCKET, CREDENTIALS, BreakingWire, environment

from fabric.errors import ConfigError, StoreFailed, StoreUnsure
from fabric.store.remote import AGAIN_S_MAX, ATTEMPTS_MAX, RemoteStore, open_remote, shorten

CREDENTIALS_OF_AWS = [
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    *("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    *("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_SKIP_SIGNATURE"),
]


@pytest.fixture
def wire(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[BreakingWire]:
    """A server behind a wire that breaks."""
    wire = BreakingWire(s3_port)
    for name, value in environment(wire.port).items():
        monkeypatch.setenv(name, value)
    try:
        yield wire
    finally:
        wire.close()


def _bucket() -> RemoteStore:
    return open_remote(f"s3://{BUCKET}/{secrets.token_hex(4)}")


@pytest.mark.parametrize("losses", range(1, ATTEMPTS_MAX))
def test_who_gets_no_answer_finds_his_own_object(wire: BreakingWire, losses: int):
    """The put was done, its answer was lost: the next attempt meets the first one."""
    store = _bucket()
    wire.losses = losses
    assert store.create("log/0", b"mine")
    assert wire.losses == 0
    assert store.get("log/0") == b"mine"
    assert not store.create("log/0", b"mine"), "and another create of the same bytes is another"


def test_who_gets_no_answer_does_not_take_another_one_s_object(wire: BreakingWire):
    """It was there before, so it was none of the attempts."""
    store = _bucket()
    assert store.create("log/0", b"theirs")
    wire.losses = 1
    assert not store.create("log/0", b"mine")
    assert store.get("log/0") == b"theirs"


def test_without_any_answer_nobody_knows(wire: BreakingWire):
    """It may be there, and here it is."""
    store = _bucket()
    wire.losses = ATTEMPTS_MAX
    with pytest.raises(StoreUnsure, match=rf"^{store.url}: cannot create log/0: .*\({ATTEMPTS_MAX} attempts\)$"):
        store.create("log/0", b"mine")
    assert wire.losses == 0
    assert store.get("log/0") == b"mine"


def test_a_server_that_is_slow_to_be_silent_is_not_asked_for_ever(wire: BreakingWire):
    """What limits a create is the time, too, not only the number of attempts."""
    times = itertools.count(0.0, AGAIN_S_MAX / 2)
    store = _bucket()
    slow = RemoteStore(store.url, store._reading, store._writing, {}, lambda _: None, lambda: next(times))
    wire.losses = ATTEMPTS_MAX
    with pytest.raises(StoreUnsure, match=r"\(2 attempts\)$"):
        slow.create("log/0", b"mine")


def test_of_many_behind_a_bad_wire_one_creates(wire: BreakingWire):
    """Every one of them is sure in the end."""
    store = _bucket()
    wire.losses = 5
    created: list[bytes] = []

    def write(body: bytes) -> None:
        if store.create("log/0", body):
            created.append(body)

    threads = [threading.Thread(target=write, args=(f"writer {number}".encode(),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert created == [store.get("log/0")]


def test_a_server_that_is_not_there(wire: BreakingWire):
    """Reading fails, creating is unsure; the cause is named, the key of the account is not."""
    store = _bucket()
    wire.close()
    with pytest.raises(StoreUnsure, match=r"cannot create a: .*Connection refused") as unsure:
        store.create("a", b"")
    for attempt in (lambda: store.get("a"), lambda: store.list(""), lambda: store.delete("a")):
        with pytest.raises(StoreFailed, match="Connection refused") as failed:
            attempt()
        assert not isinstance(failed.value, StoreUnsure)
        assert not any(
            secret in f"{failed.value}{unsure.value}" for secret in CREDENTIALS.values() if "-1" not in secret
        )
        assert "\n" not in str(failed.value)


def test_a_bucket_that_is_not_there_is_not_an_empty_one(wire: BreakingWire):
    """By every method."""
    store = open_remote("s3://no-such-bucket/x")
    for attempt in (lambda: store.get("a"), lambda: store.list(""), lambda: store.create("a", b"")):
        with pytest.raises(StoreFailed, match=r"s3://no-such-bucket/x: cannot \w+ \w+: .*NoSuchBucket") as failed:
            attempt()
        assert not isinstance(failed.value, StoreUnsure)


def test_a_store_of_before_a_fork_says_so(wire: BreakingWire):
    """Its threads are not there: it would wait for ever."""
    store = _bucket()
    child = os.fork()
    if child == 0:
        try:
            store.get("a")
        except StoreFailed as error:
            os._exit(0 if "before a fork" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    ("url", "variables", "message"),
    [
        ("s3:bucket", {}, "expected s3://BUCKET or s3://BUCKET/PREFIX"),
        ("s3:///x", {}, "expected s3://BUCKET or"),
        ("gs://b?x=1", {}, "expected gs://BUCKET or"),
        ("s3://key:secret@b", {}, "expected s3://BUCKET or"),
        (
            "s3://b",
            {"AWS_ENDPOINT_URL": "http://h"},
            "AWS_ENDPOINT_URL names a server without TLS; .*AWS_ALLOW_HTTP=true",
        ),
    ],
)
def test_an_url_that_cannot_be_meant_is_refused(url: str, variables: dict[str, str], message: str):
    """With what is expected."""
    with pytest.raises(ConfigError, match=message):
        open_remote(url, variables)


def test_without_obstore_the_extra_is_named():
    """The command ends with 2; the other buckets do without it."""
    program = """
import sys
sys.modules["obstore"] = None
from fabric.errors import ConfigError
from fabric.store.opening import open_store
open_store("memory:").create("a", b"")
try:
    open_store("s3://bucket")
except ConfigError as error:
    print(error, error.exit_code)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "bucket s3://bucket: it needs obstore: pip install 'plumb-fabric[storage]' 2\n"


def test_obstore_is_imported_when_it_is_needed():
    """Most commands need no bucket, and most buckets are directories."""
    program = "import sys, fabric.store.opening as o; o.open_store('file:x'); print('obstore' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_an_error_is_told_in_one_line_without_secrets():
    """Neither a password of an URL, nor a signature, nor what the environment holds under such a name."""
    text = (
        "Generic S3 error: PUT http://me:pass@h/b?sig=abc in 3ms - 403: <?xml?>\n<Error><Code>Denied</Code>\n"
        '<Message>token abcdef is\nold</Message></Error>\n\nDebug source:\n message: "Broken pipe",'
    )
    told = shorten(text, {"AWS_SESSION_TOKEN": "abcdef", "AWS_REGION": "S3 error", "X_TOKEN_FILE": "Denied"})
    assert told == "Generic S3 error: PUT http://h/b in 3ms - 403: Denied: token *** is old: Broken pipe"


def test_who_has_no_credentials_is_told_which_to_set(monkeypatch: pytest.MonkeyPatch):
    """Without any, the machine is asked for them: what it answers is not what is missing. Nothing was created."""
    for name in CREDENTIALS_OF_AWS:
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        store = open_remote("s3://nobody/x")
        for act in (lambda: store.get("a"), lambda: store.create("a", b"")):
            with pytest.raises(StoreFailed, match="no credentials: set AWS_ACCESS_KEY_ID") as caught:
                act()
            assert not isinstance(caught.value, StoreUnsure)
