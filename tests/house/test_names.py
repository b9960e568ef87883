"""Names that say nothing, and names that must not stand in the project."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc", "shared", "stuff", "lib"}
SKIPPED_FOLDERS = {".git", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", "__pycache__"}

# Package indexes and archives are configuration of the machine, never of this project: docs/adr/0004. The list is one
# of hashes, because a list of names would be the first to break the rule.
FOREIGN_HOSTS = {
    "e680c440a2e92079",
    "c2b35955576ffa71",
    "a4aa2ac280bb8d1a",
    "8b5bb5eb9d758455",
    "0dc11026ac75c015",
    "1ba4e37997a2e986",
}
HOST = re.compile(
    r"(?<![\w.-])[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)+", re.ASCII | re.IGNORECASE
)
PLACES = re.compile(r"(?<![\w.])/work/[\w.]|\.\./shared/")


def iter_texts() -> list[tuple[str, str]]:
    """Return (path, text) of every text file of the checkout."""
    found = []
    for folder, folders, files in os.walk(CHECKOUT):
        folders[:] = [
            name
            for name in folders
            if name not in SKIPPED_FOLDERS and not (Path(folder) / name / "pyvenv.cfg").exists()
        ]
        for name in files:
            path = Path(folder) / name
            if name == ".git":  # a worktree's: it names the place of its repository
                continue
            if path.is_symlink() or path.stat().st_size > 4_000_000:
                continue
            data = path.read_bytes()
            if b"\0" not in data:
                found.append((path.relative_to(CHECKOUT).as_posix(), data.decode(errors="replace")))
    return found


def test_every_module_is_named_after_something() -> None:
    modules = (CHECKOUT / "src").rglob("*")
    assert not [path for path in modules if path.stem.strip("_").lower() in EMPTY_NAMES]


def test_no_package_host_is_named() -> None:
    named = []
    for path, text in iter_texts():
        for host in {match.group().lower() for match in HOST.finditer(text)}:
            parts = host.split(".")
            suffixes = (".".join(parts[start:]) for start in range(len(parts) - 1))
            if any(hashlib.sha256(suffix.encode()).hexdigest()[:16] in FOREIGN_HOSTS for suffix in suffixes):
                named.append(f"{path}: {host}")
    assert not named


def test_no_path_of_a_developers_machine() -> None:
    assert not [f"{path}: {match.group()}" for path, text in iter_texts() for match in PLACES.finditer(text)]
