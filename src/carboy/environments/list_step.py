"""Runs inside the sandbox, by an interpreter that has packages of its own: prints them as constraints, one in each line."""

from __future__ import annotations

import importlib.metadata
import re


def main() -> None:
    """Print what is installed, where its notes say a name and a version."""
    found = set()
    for distribution in importlib.metadata.distributions():
        name, version = distribution.metadata["Name"] or "", distribution.version or ""
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) and re.fullmatch(r"[A-Za-z0-9.!+_-]+", version):
            found.add(f"{name}=={version}")
    print("\n".join(sorted(found)))


if __name__ == "__main__":
    main()
