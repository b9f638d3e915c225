"""What the fabric itself can do for an agent: the functions behind ``tool { builtin: "fs.read" }``.

They run in a worker of their own, as any Python function. What has effects outside of the session gets here only if
somebody has approved it: that is decided where calls are, :mod:`fabric.session.approvals`.
"""

from __future__ import annotations

__all__ = ["FUNCTIONS", "Refused", "builtin"]

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from fabric.builtin_tools import files, machine
from fabric.builtin_tools.refused import Refused
from fabric.errors import ConfigError

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "fs.read": files.read,
    "fs.write": files.write,
    "fs.edit": files.edit,
    "fs.grep": files.grep,
    "fs.list": files.list_folder,
    "fs.delete": files.delete,
    "sys.exec": machine.execute,
    "notify.send": machine.notify,
}
"""By name. Those of files take the document root first; all take the arguments as a dict."""


def builtin(config: Mapping[str, Any]) -> Callable[[Any], Any]:
    """Return the function of a builtin tool.

    Args:
        config: ``builtin`` (its name), ``docroot`` (a folder).

    Raises:
        ConfigError: the document root cannot be opened.
    """
    name = config["builtin"]
    try:
        root = files.Root(config["docroot"])
    except OSError as error:
        raise ConfigError(f"cannot open the folder of the tools, {config['docroot']}: {error.strerror}") from None
    return partial(FUNCTIONS[name], root)
