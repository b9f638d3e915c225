"""The wiring graph: a checked program with nested bodies flattened and every fan-out, fan-in and loose end made a node.

Pure. ``ir`` is the data, ``passes`` the list of functions from one graph to the next, ``analysis`` what can be told
of a graph, ``render`` how to draw it. Pictures are made in two steps: ``layout`` finds the places, ``svg`` and
``ascii`` paint.
"""
