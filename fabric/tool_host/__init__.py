"""The process that holds the MCP servers of a session: ``python -m fabric.tool_host``.

The MCP library costs half a second and 63 MiB, so it is loaded here, once a session, and neither by workers nor by the
coordinator; :mod:`fabric.runtime.tool_host` is the other side. ``protocol`` is what they say to each other, ``host``
hears it, ``server`` owns one server, ``program`` speaks to one that is started here, ``content`` reads results.

Nothing of it outlives the coordinator: the host dies with it by the liveness pipe, and a guard ends the servers, which
are programs of others. What tools a server has is read when it starts; ``notifications/tools/list_changed`` is ignored.
"""
