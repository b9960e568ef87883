"""Print a table by two packages that lie beside this script and are installed as any other."""

import importlib.metadata
import subprocess
import sys

import click  # the extra `checks` asks for it
from numbers_of_ours import ANSWER
from tables import show

click.echo(show("answer", ANSWER))
assert importlib.metadata.version("tables-of-ours") == "1.2"
sys.exit(subprocess.run(["show-answer"], check=False).returncode)
