"""Names for services and files: what compose, Kubernetes and DNS all take, made of names that may be anything."""

from __future__ import annotations

__all__ = ["LABEL_MAX", "label_of", "labels_of", "namespace_of"]

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Collection

LABEL_MAX = 52
"""Characters of a name: a DNS label has 63, and Kubernetes puts a hash of up to 11 behind that of a StatefulSet."""

_MARK_CHARS = 6


def label_of(name: str) -> str:
    """Return a DNS label that is like a name: small letters, digits and single dashes, a letter first."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    label = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if not label[:1].isalpha():
        label = f"w-{label}" if label else "w"
    return label


def labels_of(names: Collection[str], reserved: Collection[str] = ()) -> dict[str, str]:
    """Return a label for each name, no two the same, and none that is reserved.

    A name keeps what is like it, unless another has the same, or it is too long: then a mark is put behind it that
    depends on nothing but the name itself. One that is its own label keeps it in any case.
    """
    count = Counter(map(label_of, names))
    labels = {}
    for name in names:
        label = label_of(name)
        own = name == label or count[label] == 1
        labels[name] = label if own and label not in reserved and len(label) <= LABEL_MAX else _marked(label, name)
    return labels


def namespace_of(label: str) -> str:
    """Return the namespace for a label: itself, unless it is one that Kubernetes has, or keeps for itself."""
    return _marked(f"fabric-{label}", label) if label == "default" or label.startswith("kube-") else label


def _marked(label: str, name: str) -> str:
    mark = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=_MARK_CHARS // 2).hexdigest()
    return f"{label[: LABEL_MAX - _MARK_CHARS - 1].rstrip('-')}-{mark}"
