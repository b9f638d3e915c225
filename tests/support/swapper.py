"""Swap a folder and a file for symbolic links that lead outside, and back, as fast as that goes, until stdin ends.

``swapper.py FOLDER``: ``FOLDER/sub`` and ``FOLDER/file`` change places with links, in one step each, so that there is
always one or the other. Source: renameat2(2), RENAME_EXCHANGE.
"""

import ctypes
import os
import sys
import threading

AT_FDCWD, RENAME_EXCHANGE = -100, 2
libc = ctypes.CDLL(None, use_errno=True)
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
os.chdir(sys.argv[1])
os.symlink("..", "sub.link")
os.symlink("../secret", "file.link")
print("swapping", flush=True)
while not over.is_set():
    for name in (b"sub", b"file"):
        if libc.renameat2(AT_FDCWD, name, AT_FDCWD, name + b".link", RENAME_EXCHANGE):
            raise OSError(ctypes.get_errno(), "renameat2")
