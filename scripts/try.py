#!/usr/bin/env python3
"""Run carboy from this checkout, in an environment that is made the first time: ``python3 scripts/try.py VERB ...``."""

from __future__ import annotations

import os
import sys

import checkout


def main() -> None:
    """Become carboy, with the arguments of this script."""
    try:
        checkout.main_python()
        carboy = checkout.open_environment("run", os.environ) / "bin" / "carboy"
    except checkout.SetupError as error:
        sys.exit(f"error: {error}")
    os.execv(carboy, [str(carboy), *sys.argv[1:]])


if __name__ == "__main__":
    main()
