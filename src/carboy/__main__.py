"""``python -m carboy`` is the same as ``carboy``."""

from carboy.cli.main import program

program()
