"""What is imported is declared, and what starts often imports little."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]

# Each of these costs milliseconds that every `carboy run IMAGE` would pay.
HEAVY = {
    "argparse", "asyncio", "ctypes.util", "dataclasses", "email", "hashlib", "httpx", "inspect", "isal", "msgspec",
    "pysequoia", "rich", "shutil", "ssl", "subprocess", "tempfile", "typing", "unittest", "urllib.request", "zstandard",
}  # fmt: skip
# What may be imported beyond what a bare interpreter has, counted in modules: stable where milliseconds are not.
BUDGETS = {"carboy.cli.main": 12}


def imported_by(module: str) -> set[str]:
    """Return the names of the modules that a fresh interpreter has after importing ``module``, without its own."""
    script = f"import sys; before = set(sys.modules); import {module}; print(*(set(sys.modules) - before))"
    return set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )


@pytest.mark.slow
@pytest.mark.parametrize("module", ["carboy.cli.main"])
def test_start_up_imports_nothing_heavy(module: str) -> None:
    names = imported_by(module)
    assert not names & HEAVY
    assert len(names) <= BUDGETS[module], sorted(names)


def test_every_foreign_import_is_declared() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[^\w-]", requirement)[0].replace("-", "_") for requirement in project["dependencies"]}
    used: dict[str, str] = {}
    for path in (CHECKOUT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            used |= {name.partition(".")[0]: path.name for name in names}
    # The stage program imports its neighbours by their bare names (it runs with -S, without the package).
    own = {path.stem for path in (CHECKOUT / "src" / "carboy").rglob("*.py")} | {"carboy"}
    foreign = {name: path for name, path in used.items() if name not in sys.stdlib_module_names | declared | own}
    assert not foreign


def test_locks_pin_every_dependency_with_hashes_and_without_addresses() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    for lock in ("run", "dev"):
        text = (CHECKOUT / "requirements" / f"{lock}.lock").read_text()
        entries = re.split(r"\n(?=\S)", text.strip())
        assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)
        assert "://" not in text
        pinned = {entry.partition("==")[0] for entry in entries}
        wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
        wanted += (
            [item for item in project["dependency-groups"][lock] if isinstance(item, str)] if lock == "dev" else []
        )
        assert {re.split(r"[^\w-]", requirement)[0] for requirement in wanted} <= pinned
