"""``python -m fabric.cli``."""

from fabric.cli import main

main()
