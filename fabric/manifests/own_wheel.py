"""A wheel of the fabric as it is installed here, from a checkout or not: what runs here is what an image gets.

It is packed from the files themselves: there is no build backend to be had where there is no network.
"""

from __future__ import annotations

__all__ = ["AGENT_NEEDS", "WHEEL", "own_requirements", "pack_wheel"]

import base64
import hashlib
import importlib.util
import io
import re
import zipfile
from collections.abc import Collection, Iterable, Iterator
from importlib import metadata
from pathlib import Path

from fabric.errors import ConfigError

DISTRIBUTION = "plumb-fabric"
PACKAGES = ("fabric", "plumb_agent")

AGENT_NEEDS = frozenset({"anyio", "h11", "httpx2", "msgspec", "pyzmq", "trio"})
"""What workers of ours import. The rest of what we need is for people and for the coordinator."""

TAG = "py3-none-any"
WHEEL = f"Wheel-Version: 1.0\nGenerator: {DISTRIBUTION}\nRoot-Is-Purelib: true\nTag: {TAG}\n"

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every file, so that the same files make the same wheel: an engine knows again what it made of it."""


AGENT_EXTRAS = frozenset({"otel"})
"""Extras that workers use, too."""


def own_requirements(extras: Collection[str] = ()) -> tuple[list[str], list[str]]:
    """Return what a worker needs, and all that we need, with what these extras need.

    Raises:
        ConfigError: there is no such extra.
    """
    known = metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    for extra in extras:
        if extra not in known:
            raise ConfigError(f"there is no extra {extra!r}; there are {', '.join(sorted(known))}")
    required = metadata.requires(DISTRIBUTION) or ()
    needed = [text for text in required if ";" not in text]
    agent = [text for text in needed if re.split(r"[^\w.-]", text, maxsplit=1)[0] in AGENT_NEEDS]
    for text in required:
        requirement, _, marker = text.partition(";")
        found = re.search(r"""extra\s*==\s*["']([^"']+)["']""", marker)
        if found is not None and found[1] in extras:
            needed.append(requirement.strip())
            agent += [requirement.strip()] if found[1] in AGENT_EXTRAS else []
    return sorted(set(agent)), sorted(set(needed))


def pack_wheel() -> tuple[str, bytes]:
    """Return the file name and the content of the wheel.

    Raises:
        ConfigError: we are not installed as files.
    """
    distribution = metadata.distribution(DISTRIBUTION)
    stem = f"{DISTRIBUTION.replace('-', '_')}-{distribution.version}"
    about = f"{stem}.dist-info"
    files = dict(_package_files())
    files[f"{about}/METADATA"] = (distribution.read_text("METADATA") or "").encode()
    files[f"{about}/WHEEL"] = WHEEL.encode()
    files[f"{about}/entry_points.txt"] = (distribution.read_text("entry_points.txt") or "").encode()
    files[f"{about}/RECORD"] = _record(files.items(), f"{about}/RECORD")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, EPOCH)
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            wheel.writestr(info, content)
    return f"{stem}-{TAG}.whl", packed.getvalue()


def _package_files() -> Iterator[tuple[str, bytes]]:
    for package in PACKAGES:
        found = importlib.util.find_spec(package)
        if found is None or not found.submodule_search_locations:
            raise ConfigError(f"the package {package!r} is not installed as files here; an image is made of those")
        root = Path(found.submodule_search_locations[0])
        for path in sorted(root.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield f"{package}/{path.relative_to(root).as_posix()}", path.read_bytes()


def _record(files: Iterable[tuple[str, bytes]], itself: str) -> bytes:
    lines = []
    for name, content in files:
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}")
    return "\n".join([*lines, f"{itself},,", ""]).encode()
