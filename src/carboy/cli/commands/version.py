"""``carboy version``."""

from __future__ import annotations

import carboy


def version(arguments: list[str]) -> int:
    """Print the version."""
    del arguments
    print(f"carboy {carboy.__version__}")
    return 0
