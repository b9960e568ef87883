"""Print a table by the package that setup.py alone asks for."""

import importlib.metadata

from answers import ANSWER
from tabulate import tabulate

print(tabulate([["answer", ANSWER]]))
assert importlib.metadata.version("sample") == "1"
