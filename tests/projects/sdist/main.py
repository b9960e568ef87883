"""Print the answer by a package that has no wheel: it was built from its source."""

import docopt

arguments = docopt.docopt("Usage: main.py [--answer=N]\n\nOptions:\n  --answer=N  what to print [default: 42]\n", [])
print("answer ", arguments["--answer"])
