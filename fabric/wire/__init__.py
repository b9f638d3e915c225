"""What crosses a process boundary, and nothing else: types, frames, control messages, lifecycle, worker specs.

Pure: no socket, no event loop, no clock. ``PROTOCOL.md`` in this folder tells the same to authors of workers in other
languages. Read ``frame``, then ``codec``, ``lifecycle``, ``spec``; ``payload`` when you wonder what a message may be.
"""
