"""Buckets of Amazon S3 and what speaks like it, of Google and of Azure, through obstore.

Where they are and who may use them is said by the usual variables: ``AWS_ENDPOINT_URL``, ``AWS_REGION``,
``AWS_ACCESS_KEY_ID``, ``GOOGLE_APPLICATION_CREDENTIALS``, ``AZURE_STORAGE_ACCOUNT_NAME`` and so on. obstore reads
them. A server without TLS needs ``AWS_ALLOW_HTTP=true``.

A create is a put with the condition that there is nothing (``If-None-Match: *``). We repeat it ourselves, and obstore
does not: only who knows that an earlier attempt of his had no answer may take an object that is there, and that is
byte for byte what he wrote, for his own. Without such an attempt it is somebody else's, whatever is in it.

obstore has threads of its own, which a fork does not copy: a store is opened in the process that uses it.
"""

from __future__ import annotations

__all__ = ["ATTEMPTS_MAX", "TIMEOUT", "RemoteStore", "open_remote"]

import os
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fabric.errors import ConfigError, StoreFailed, StoreUnsure
from fabric.store.objects import check_key, check_prefix, shown_url

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

TIMEOUT = timedelta(seconds=60)
"""For one request: enough for a body of some 100 MB on a usual line."""

CONNECT_TIMEOUT = timedelta(seconds=5)

ATTEMPTS_MAX = 4
"""Of a create. With the pauses between them they outlast a server that is started again."""

AGAIN_S_MAX = 20.0
"""No attempt begins so long after the first one. So who waits for a silent server waits for this and one request."""

PAUSE_S = 0.1
"""Before the second attempt, twice as much before each further one, up to half of it more by chance."""

SECRETS = ("KEY", "SECRET", "TOKEN", "PASSWORD", "SAS")
"""In a variable's name: its value is never told."""

_SCHEMES = {"s3": "S3Store", "gs": "GCSStore", "az": "AzureStore"}
_METADATA = re.compile(r"/latest/(api/token|meta-data)|/computeMetadata/|/metadata/identity")
"""Where obstore asks for credentials on machines of the vendors, if none are set."""

_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_ALLOW_HTTP = ("AWS_ALLOW_HTTP", "GOOGLE_ALLOW_HTTP", "AZURE_ALLOW_HTTP")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT")


class RemoteStore:
    """Objects of a bucket, below a prefix. Any thread of this process may use it.

    Args:
        url: of it.
        reading: repeats what is safe to be repeated.
        writing: the same bucket, repeats nothing.
        environment: whose secrets are not told.
        sleep: waits for so many seconds between attempts.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        url: str,
        reading: ObjectStore,
        writing: ObjectStore,
        environment: Mapping[str, str],
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url
        self._reading = reading
        self._writing = writing
        self._environment = environment
        self._sleep = sleep
        self._clock = clock
        self._pid = os.getpid()
        self._answered = False
        """Whether there is such a bucket at all: a missing object and a missing bucket look alike."""

    def create(self, key: str, body: bytes) -> bool:
        """Create an object if there is none; return whether it was created. When this returns, it is durable."""
        check_key(key)
        unsure, trouble, begun_s, attempts = False, "", self._clock(), 0
        for attempt in range(ATTEMPTS_MAX):
            if attempt:
                if self._clock() - begun_s >= AGAIN_S_MAX:
                    break
                self._sleep(PAUSE_S * 2 ** (attempt - 1) * random.uniform(1, 1.5))
            attempts += 1
            try:
                created = self._try(key, body, mine_too=unsure)
            except StoreUnsure as error:
                unsure, trouble = True, str(error)
                continue
            except StoreFailed as error:
                if unsure:
                    raise StoreUnsure(str(error)) from None
                raise
            if created is not None:
                return created
            trouble = trouble or f"{self.url}: cannot create {key}: others create and delete it all the time"
        raise (StoreUnsure if unsure else StoreFailed)(f"{trouble} ({attempts} attempts)")

    def _try(self, key: str, body: bytes, *, mine_too: bool) -> bool | None:
        """Try to create an object; return whether it is mine, or ``None``: there was a conflict, and it is not there.

        Args:
            key, body: of it.
            mine_too: an earlier attempt may have created it.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._told("create", key, unanswered=StoreUnsure):
            try:
                obstore.put(self._writing, key, body, mode="create", use_multipart=False)
                self._answered = True
                return True
            except (AlreadyExistsError, PreconditionError):  # S3: 412, or 409 if somebody else is at it
                pass
        there = self.get(key)
        return None if there is None else mine_too and there == body

    def get(self, key: str) -> bytes | None:
        """Return an object, or ``None`` if there is none."""
        import obstore

        check_key(key)
        with self._told("read", key):
            try:
                body = bytes(obstore.get(self._reading, key).bytes())
            except FileNotFoundError:
                if not self._answered:
                    self._look_for_bucket()
                return None
            self._answered = True
            return body

    def _look_for_bucket(self) -> None:
        import obstore

        next(iter(obstore.list(self._reading, chunk_size=1)), None)
        self._answered = True

    def list(self, prefix: str, after: str = "") -> list[str]:
        """Return the keys that begin with a prefix and come after another key, in order."""
        import obstore

        with self._told("list", prefix):
            found = obstore.list(self._reading, check_prefix(prefix) or None, offset=after or None)
            keys = sorted(key for chunk in found for meta in chunk if (key := meta["path"]) > after)
            self._answered = True
            return [key for key in keys if key.startswith(prefix)]

    def delete(self, key: str) -> None:
        """Delete an object, if there is one."""
        import obstore

        check_key(key)
        with self._told("delete", key):
            try:
                obstore.delete(self._reading, key)
            except FileNotFoundError:  # Google and Azure say it, Amazon does not
                return

    def link(self, key: str) -> str:
        """Return the URL of the object, as tools of its vendor take it."""
        return f"{self.url}/{check_key(key)}"

    @contextmanager
    def _told(self, what: str, key: str, unanswered: type[StoreFailed] = StoreFailed) -> Iterator[None]:
        """Say what the bucket does not do. What it has refused is not done; of the rest nobody knows."""
        from obstore import exceptions

        if os.getpid() != self._pid:
            raise StoreFailed(f"{self.url}: it was opened before a fork: open it in the process that uses it")
        refused = (
            FileNotFoundError,
            ValueError,
            exceptions.InvalidPathError,
            exceptions.NotSupportedError,
            exceptions.PermissionDeniedError,
            exceptions.UnauthenticatedError,
        )
        try:
            yield
        except refused as error:
            raise StoreFailed(self._text(what, key, error)) from None
        except exceptions.BaseError as error:
            if _METADATA.search(str(error)):  # so it did not come to asking the bucket
                names = _CREDENTIALS[self.url.partition(":")[0]]
                raise StoreFailed(
                    f"{self.url}: cannot {what} {key or 'it'}: no credentials: set {names} (this machine gives none: "
                    f"{shorten(str(error), self._environment)})"
                ) from None
            raise unanswered(self._text(what, key, error)) from None

    def _text(self, what: str, key: str, error: Exception) -> str:
        return f"{self.url}: cannot {what} {key or 'it'}: {shorten(str(error), self._environment)}"


def shorten(text: str, environment: Mapping[str, str]) -> str:
    """Return what a person can use of an error of obstore: one line, without secrets.

    Args:
        text: of it: a sentence that may hold XML of the server, a blank line, its cause as data.
        environment: whose secrets are not told.
    """
    sentence, _, debug = text.partition("\n\nDebug source")
    code, message = (re.search(f"<{tag}>([^<]*)</{tag}>", sentence) for tag in ("Code", "Message"))
    cause = re.search(r'message: "([^"]*)"', debug)
    sentence = re.sub(r"\s*<.*", "", sentence, flags=re.DOTALL)
    told = [sentence, *(found[1] for found in (code, message, cause) if found)]
    line = re.sub(r"\s+", " ", ": ".join(part.rstrip(": ") for part in told)).strip()
    line = re.sub(r"//[^/@\s]*@", "//", line)  # the password of an URL
    line = re.sub(r"\?[^\s)]*", "", line)  # a query may be a signature
    for name, value in environment.items():
        if len(value) >= 4 and any(word in name.upper() for word in SECRETS) and not name.endswith("_FILE"):
            line = line.replace(value, "***")
    return line


def open_remote(url: str, environment: Mapping[str, str] | None = None) -> RemoteStore:
    """Return the bucket of ``s3://BUCKET/PREFIX``, ``gs://BUCKET/PREFIX`` or ``az://CONTAINER/PREFIX``.

    Raises:
        ConfigError: it names no bucket, obstore is not there or does not like what is set, or the server has no TLS.
    """
    environment = os.environ if environment is None else environment
    split = urlsplit(url)
    if not split.netloc or split.query or split.fragment or {"@", ":"} & {*split.netloc}:
        raise ConfigError(
            f"bucket {shown_url(url)}: expected {split.scheme}://BUCKET or {split.scheme}://BUCKET/PREFIX"
        )
    prefix = split.path.strip("/")
    if prefix:
        check_key(prefix)
    try:
        from obstore import exceptions, store
    except ImportError:
        raise ConfigError(f"bucket {url}: it needs obstore: pip install 'plumb-fabric[storage]'") from None
    kind: Any = getattr(store, _SCHEMES[split.scheme])
    client: ClientConfig = {"timeout": TIMEOUT, "connect_timeout": CONNECT_TIMEOUT}
    if _allows_http(url, environment):
        client["allow_http"] = True

    def opened(retries: int) -> ObjectStore:
        retry: RetryConfig = {"max_retries": retries, "retry_timeout": TIMEOUT}
        made: ObjectStore = kind(split.netloc, prefix=prefix or None, client_options=client, retry_config=retry)
        return made

    try:
        return RemoteStore(url.rstrip("/"), opened(ATTEMPTS_MAX - 1), opened(0), environment)
    except (exceptions.BaseError, ValueError) as error:
        raise ConfigError(f"bucket {url}: {shorten(str(error), environment)}") from None


def _allows_http(url: str, environment: Mapping[str, str]) -> bool:
    """Whether a server without TLS may be used. Raises ConfigError: one is named, and it may not."""
    if any(environment.get(name, "").lower() in ("1", "true", "yes", "on") for name in _ALLOW_HTTP):
        return True
    plain = next((name for name in _ENDPOINTS if environment.get(name, "").startswith("http:")), None)
    if plain is not None and url.startswith("az:" if plain.startswith("AZURE") else "s3:"):
        allow = f"{plain.partition('_')[0]}_ALLOW_HTTP=true"
        raise ConfigError(f"bucket {url}: {plain} names a server without TLS; if that is meant, set {allow}")
    return False
