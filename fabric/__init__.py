"""fabric runs typed graphs of agents.

A program is checked as a whole, compiled to ZeroMQ endpoints, started as worker processes and run until it has
drained. To read the code, follow one program on its way:

1. ``compiler``               text to plan, on one screen
2. ``lang``                   text to typed module: source, lexer, parser, types, check
3. ``graph``                  typed module to wiring graph
4. ``plan``                   wiring graph to plan: workers, endpoints, routes
5. ``session.session``        what a running session decides: events in, commands out
6. ``runtime.coordinator``    who carries it out
7. ``wire``                   what crosses a process boundary; ``wire/PROTOCOL.md`` says it for other languages
8. ``worker``                 the worker that calls a Python function; the LLM worker is the package ``plumb_agent``

``DESIGN.md`` holds the reasons. Importing this module imports nothing.
"""

__version__ = "0.1.0"
