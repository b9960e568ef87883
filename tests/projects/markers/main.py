"""Print a table by what the markers leave: an extra's packages are there, another platform's and an old Python's are not."""

import importlib.metadata
import sys

import wcwidth  # the extra `widechars` of tabulate asks for it
from tabulate import tabulate

print(tabulate([["answer", 6 * wcwidth.wcswidth("carboy!")]]))
names = {item.metadata["Name"] for item in importlib.metadata.distributions()}
sys.exit(f"not for here: {sorted(names)}" if names & {"tzdata", "click"} else 0)
