"""The canonical style: what it looks like, what it keeps."""

from __future__ import annotations
