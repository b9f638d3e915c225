"""Run a command with the terminal on stderr as its controlling one. Started in a session of its own."""

import fcntl
import os
import sys
import termios

fcntl.ioctl(2, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
