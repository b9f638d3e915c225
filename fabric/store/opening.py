"""From the URL of a bucket to the bucket.

    file:///var/lib/fabric  file:relative  ~/sessions   a directory
    memory:  memory:NAME                                nowhere; with a name the same one within a process
    s3://BUCKET/PREFIX  gs://...  az://...              object storage, with the extra ``storage``

Who has a bucket of another kind adds it to ``SCHEMES``.
"""

from __future__ import annotations

__all__ = ["SCHEMES", "open_store"]

import difflib
import re
from collections.abc import Callable

from fabric.errors import ConfigError
from fabric.store.file import open_file
from fabric.store.memory import open_memory
from fabric.store.objects import ObjectStore, shown_url
from fabric.store.remote import open_remote

SCHEMES: dict[str, Callable[[str], ObjectStore]] = {
    "file": open_file,
    "memory": open_memory,
    "s3": open_remote,
    "gs": open_remote,
    "az": open_remote,
}
"""What opens the bucket of an URL, by what stands before its colon."""


def open_store(url: str) -> ObjectStore:
    """Return the bucket of an URL. Nothing is looked at or made yet, but what is needed to speak to it.

    Raises:
        ConfigError: there is no such scheme, the URL is wrong, or something that it needs is not installed.
    """
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", url)
    if scheme is None:
        return open_file(url)
    opened = SCHEMES.get(scheme[1])
    if opened is None:
        near = difflib.get_close_matches(scheme[1], SCHEMES, 1, cutoff=0.5)
        known = (
            f"did you mean {near[0]}:?"
            if near
            else f"expected {', '.join(SCHEMES)}; ./{shown_url(url)} would be a path"
        )
        raise ConfigError(f"bucket {shown_url(url)}: there is no scheme {scheme[1]!r}; {known}")
    return opened(url)
