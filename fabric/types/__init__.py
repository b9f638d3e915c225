"""Types of the language as Python types, and back.

As data a type is a dict, as in a worker's spec: ``{"kind": "list", "item": {"kind": "prim", "name": "int"}}``;
see :mod:`fabric.wire.payload`. Beside those there are streams, ``{"kind": "stream", "item": …}``, and products of them.

===================  =================================  ==============================================
type                 Python type of ``map_type``        what else ``from_python`` takes for it
===================  =================================  ==============================================
``string`` ``bool``  ``str`` ``bool``                   ``Literal["a", "b"]``, an enumeration of texts
``int`` ``number``   ``int`` ``float``                  ``int | float`` is ``number``
``unit``             ``None``
``json``             ``Any``                            ``object``, ``dict``, ``dict[str, Any]``
``[T]``              ``list[T]``                        ``Sequence[T]``, ``tuple[T, ...]``
``{ f: T }``         a pydantic model                   dataclasses, msgspec structs, ``TypedDict`` s
``A | B``            ``Union[A, B]``                    ``Optional[A]`` is ``A | unit``
``(A, B)``           ``tuple[A, B]``
``!T``               ``T``; of several ports the tuple  (none: a port is no value)
===================  =================================  ==============================================

``mapped`` is the way there, ``derived`` the way back.
"""

from __future__ import annotations

__all__ = ["Checked", "TypeData", "from_python", "input_type", "map_type", "output_type"]

from fabric.types.derived import from_python
from fabric.types.mapped import Checked, TypeData, input_type, map_type, output_type
