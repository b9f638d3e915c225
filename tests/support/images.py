"""Root file systems for containers, made of the interpreter that runs here, what it is linked with, and its packages.

They are written as a tar for ``docker import``: no registry is asked, and nothing is downloaded.
"""

from __future__ import annotations

import importlib.metadata
import io
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]

PYTHON = Path(sys.base_prefix)
"""It lies at the same place in the image: an interpreter knows where it was built for."""

LIBRARY = Path(sysconfig.get_path("stdlib"))
PROGRAMS = ("sh", "env", "cat", "ls", "sleep", "mkdir", "rm", "chmod", "chown", "id", "cp", "mv", "ln")
NOT_NEEDED = {"test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "site-packages"}


def python_image(out: IO[bytes]) -> None:
    """Write an image with Python and pip, and with nothing else installed."""
    with tarfile.open(fileobj=out, mode="w|") as tar:
        _Root(tar).python()


def fabric_image(out: IO[bytes]) -> None:
    """Write an image with Python, the fabric as it lies here, and the packages that it needs to run."""
    with tarfile.open(fileobj=out, mode="w|") as tar:
        root = _Root(tar)
        root.python()
        root.fabric()


class _Root:
    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._added: set[str] = set()

    def python(self) -> None:
        """Add what a small system has, and Python."""
        for name in ("bin", "lib", "lib64"):
            self._directory(f"usr/{name}")
            self._link(name, f"usr/{name}")
        for name in ("etc", "proc", "sys", "dev", "run", "root", "app"):
            self._directory(name)
        self._directory("tmp", 0o1777)
        self._text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
        self._text("etc/group", "root:x:0:\nnogroup:x:65534:\n")
        self._text("etc/nsswitch.conf", "hosts: files dns\n")
        programs = [path for name in PROGRAMS if (path := Path("/usr/bin", name)).exists()]
        for path in programs:
            self._file(path.resolve(), f"usr/bin/{path.name}")
        binary = (PYTHON / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}").resolve()
        self._file(binary)
        for name in ("python", "python3", binary.name):
            self._link(f"usr/local/bin/{name}", str(binary))
        libraries = list(PYTHON.glob("lib/libpython*.so*"))
        for path in (*libraries, *_files(LIBRARY)):
            self._file(path)
        pip = Path(LIBRARY, "site-packages")
        for path in (*_files(pip / "pip"), *(file for found in pip.glob("pip-*") for file in _files(found))):
            self._file(path)
        self._needed([*programs, binary, *LIBRARY.rglob("*.so")])

    def fabric(self) -> None:
        """Add the packages."""
        names = needs("plumb-fabric")
        shared: list[Path] = []
        for name in sorted(names):
            for packaged in importlib.metadata.files(name) or ():
                path = Path(str(packaged.locate()))
                if ".." in packaged.parts or not path.is_file():
                    continue
                self._file(path, f"{LIBRARY}/site-packages/{packaged}")
                shared += [path] if ".so" in path.suffixes else []
        for folder, name in ((ROOT, "fabric"), (ROOT / "agents", "plumb_agent")):
            for path in _files(folder / name):
                self._file(path, f"{LIBRARY}/site-packages/{path.relative_to(folder)}")
        for found in importlib.metadata.files("plumb-fabric") or ():
            if ".dist-info" in str(found) and found.name in ("METADATA", "entry_points.txt", "WHEEL"):
                self._file(Path(str(found.locate())), f"{LIBRARY}/site-packages/{found}")
        start = "#!/usr/local/bin/python3\nimport sys\nfrom fabric.cli import main\nsys.exit(main())\n"
        self._text("usr/local/bin/fabric", start, 0o755)
        self._needed(shared)

    def _needed(self, binaries: Iterable[Path]) -> None:
        """Add the libraries that these are linked with."""
        told = subprocess.run(["ldd", *map(str, binaries)], capture_output=True, text=True, check=False).stdout
        words = {word for line in told.splitlines() for word in line.split() if word.startswith("/") and ".so" in word}
        for word in sorted(words):
            path = Path(word.rstrip(":"))
            if path.is_file() and path.parts[1] in ("lib", "lib64", "usr"):
                name = str(path) if path.parts[1] == "usr" else f"/usr{path}"
                self._file(path.resolve(), name)

    def _file(self, path: Path, name: str = "") -> None:
        name = (name or str(path)).lstrip("/")
        if name in self._added:
            return
        self._parents(name)
        info = self._tar.gettarinfo(str(path.resolve()), name)
        if not info.isreg():  # a second name of the same file
            info.type, info.linkname, info.size = tarfile.REGTYPE, "", path.stat().st_size
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.mode = 0o755 if info.mode & 0o100 else 0o644
        with open(path, "rb") as file:
            self._add(info, file)

    def _text(self, name: str, text: str, mode: int = 0o644) -> None:
        self._parents(name)
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(text.encode()), mode
        self._add(info, io.BytesIO(text.encode()))

    def _link(self, name: str, target: str) -> None:
        self._parents(name)
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
        self._add(info)

    def _directory(self, name: str, mode: int = 0o755) -> None:
        if name not in self._added:
            self._parents(name)
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, mode
            self._add(info)

    def _parents(self, name: str) -> None:
        for parent in reversed(Path(name).parents[:-1]):
            self._directory(str(parent))

    def _add(self, info: tarfile.TarInfo, file: IO[bytes] | None = None) -> None:
        self._added.add(info.name)
        self._tar.addfile(info, file)


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder, but for what no program needs."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir():
            if path.name not in NOT_NEEDED and not path.name.startswith("config-"):
                yield from _files(path)
        elif ".opt-" not in path.name and path.suffix not in (".a", ".exe"):
            yield path


def needs(name: str) -> set[str]:
    """Return the distributions that one needs, directly or not, without its extras."""
    found: set[str] = set()
    missing = [(name, "")]
    seen = set(missing)
    while missing:
        name, extra = missing.pop()
        for text in importlib.metadata.requires(name) or ():
            requirement = Requirement(text)
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
                continue
            found.add(requirement.name)
            for each in ("", *requirement.extras):
                if (requirement.name, each) not in seen:
                    seen.add((requirement.name, each))
                    missing.append((requirement.name, each))
    return found
