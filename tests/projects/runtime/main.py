"""Print a table by the Python that runtime.txt names."""

import sys

from tabulate import tabulate

print(tabulate([["answer", 42 if sys.version_info[:2] == (3, 11) else sys.version]]))
