"""Wiring graph to plan: which worker is started how, under which endpoints, and which way every message takes.

Pure. ``plan`` is the data, ``make`` the function, ``fuse`` turns chains of morphisms into routes, ``endpoints`` gives
addresses, ``order`` says what is started and ended before what.
"""
