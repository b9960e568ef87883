"""Print the answer by the Python that .python-version names, and by no other."""

import sys

print("answer ", 42 if sys.version_info[:2] == (3, 13) else sys.version)
