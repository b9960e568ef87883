#!/usr/bin/env python3
"""Run the tests: ``python3 scripts/test.py [PYTEST ARGUMENTS]``, in an environment that is made the first time.

Without arguments: all but the ones marked ``long`` (``-m long`` runs those, ``-m ""`` all).
"""

from __future__ import annotations

import os
import sys

import checkout


def main() -> None:
    """Become pytest."""
    try:
        checkout.main_python()
        place = checkout.open_environment("dev", os.environ)
    except checkout.SetupError as error:
        sys.exit(f"error: {error}")
    os.chdir(checkout.CHECKOUT)
    environ = {**os.environ, "PATH": f"{place}/bin:{os.environ.get('PATH', os.defpath)}"}
    # Kept compiled, test modules are read in a tenth of the time, by each of the workers and in each later run.
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    arguments = ["-m", "pytest", "-n", "3", "--dist", "loadgroup", "-m", "not long", *sys.argv[1:]]
    python = str(place / "bin" / "python")
    os.execve(python, [python, *arguments], environ)


if __name__ == "__main__":
    main()
