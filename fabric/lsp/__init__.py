"""The language server: what an editor asks about a program while it is written.

``positions`` are lines and columns as editors count them, ``workspace`` the open texts and what the checker says of
them, ``place`` what stands at a place, ``bodies`` what words mean in a body, ``signs`` how all that is shown,
``cursor`` what surrounds the cursor in a text that need not parse, ``probe`` what flows there, ``completion`` what may
be written there, ``outline`` the list of what a file declares. All these only decide. ``server`` speaks the protocol,
and is the only one that knows of it.
"""
