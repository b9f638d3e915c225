"""Sells from Python: one order for tea."""

from pathlib import Path

import fabric

print(fabric.call_sync(Path(__file__).with_name("main.plumb"), {"item": "tea", "count": 2}))
