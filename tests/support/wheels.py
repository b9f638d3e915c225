"""Wheels of what is installed here, packed from its files: an image can be built of them without a network."""

from __future__ import annotations

import importlib.metadata
import zipfile
from pathlib import Path

from images import needs


def write_wheels(folder: Path) -> None:
    """Write a wheel of everything that the fabric needs to run."""
    for name in needs("plumb-fabric"):
        distribution = importlib.metadata.distribution(name)
        lines = (distribution.read_text("WHEEL") or "").splitlines()
        # The last: of those for several Pythons that is the newest.
        tag = [line.removeprefix("Tag: ") for line in lines if line.startswith("Tag: ")][-1]
        stem = f"{distribution.metadata['Name'].replace('-', '_').replace('.', '_')}-{distribution.version}"
        with zipfile.ZipFile(folder / f"{stem}-{tag}.whl", "w") as wheel:
            for packed in distribution.files or ():
                if ".." not in packed.parts and packed.suffix != ".pyc" and packed.name not in LOCAL:
                    wheel.write(Path(str(packed.locate())), str(packed))


LOCAL = {"INSTALLER", "REQUESTED", "direct_url.json"}
"""What an installation adds."""
