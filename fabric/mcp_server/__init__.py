"""`fabric mcp`: programs, for those who speak the Model Context Protocol.

``programs`` says which programs may run here, ``tools`` are the two tools, and neither knows the protocol; ``server``
puts them behind the SDK, ``lines`` and ``http`` are the two ways to it.
"""
