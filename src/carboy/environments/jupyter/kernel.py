"""Starts a notebook's kernel by the folder's own Python: its packages first, those of the tools only where it has none."""

import glob
import site
import sys

TOOLS = "/opt/tools"


def main() -> None:
    """Add the tools behind everything else, and become the kernel."""
    del sys.path[0]  # where this file lies
    for place in glob.glob(f"{TOOLS}/lib/python3.*/site-packages"):
        site.addsitedir(place)
    from ipykernel import kernelapp

    kernelapp.launch_new_instance()


if __name__ == "__main__":
    main()
