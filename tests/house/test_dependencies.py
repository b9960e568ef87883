"""What is imported is declared, and what starts often imports little."""

from __future__ import annotations

import ast
import os
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
BUDGETS = {"carboy.cli.main": 7, "HOT_PATH": 60, "PRIVATE_PATH": 75}
# What `carboy run IMAGE` imports as root, from the command line to the stage program. Nothing that it shares with other
# commands may grow this: `contextlib` alone brings `collections` and `functools`, and costs what three forks do.
HOT_PATH = (
    "carboy.cli.main", "carboy.cli.commands.run", "carboy.runtime.native.stage", "carboy.runtime.native.cgroup",
    "carboy.base.fs",
)  # fmt: skip
# And with the network `private`, which is the default where it can be had.
PRIVATE_PATH = (
    *HOT_PATH, "carboy.containers.connect", "carboy.network.private", "carboy.network.bridges", "carboy.network.nftables",
)  # fmt: skip
SLOW = HEAVY | {
    "collections", "contextlib", "ctypes", "enum", "functools", "importlib", "json", "pathlib", "re",
    "signal", "socket", "_sqlite3", "sqlite3", "struct", "termios", "threading", "types", "warnings",
}  # fmt: skip
# Distributions whose import has another name.
IMPORT_NAMES = {"py-rattler": "rattler", "pyyaml": "yaml"}
# Of the standard library too, since Python 3.12; what it replaces has the name `_sha256` before.
LATER = {"_sha2"}
# Never carboy's own: a task's values are turned into these where their owner has them; programs in a container use its own.
OPTIONAL = {
    "numpy": "wire.py", "pandas": "wire.py", "nbclient": "execute.py", "nbformat": "execute.py", "ipykernel": "kernel.py",
    "jupyter_client": "execute.py", "jupyterlab": "lab.py", "traitlets": "execute.py",
}  # fmt: skip


def imported_by(module: str) -> set[str]:
    """Return the names of the modules that a fresh interpreter has after importing ``module``, without its own."""
    script = f"import os, sys; before = set(sys.modules); import {module}; print(*(set(sys.modules) - before))"
    # Without `site`: what an environment's own start-up files import would be in `before`.
    paths = ":".join(path for path in sys.path if path)
    command = [sys.executable, "-S", "-c", script]
    environ = {**os.environ, "PYTHONPATH": paths}
    return set(subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize("module", ["carboy.cli.main"])
def test_start_up_imports_nothing_heavy(module: str) -> None:
    names = imported_by(module)
    assert not names & HEAVY
    assert len(names) <= BUDGETS[module], sorted(names)


@pytest.mark.slow
def test_a_start_imports_nothing_slow() -> None:
    names = imported_by(", ".join(HOT_PATH))
    assert not names & SLOW
    assert len(names) <= BUDGETS["HOT_PATH"], sorted(names)


@pytest.mark.slow
def test_a_start_on_a_private_network_imports_nothing_slow_but_struct() -> None:
    names = imported_by(", ".join(PRIVATE_PATH))
    assert not names & (SLOW - {"struct"})
    assert len(names) <= BUDGETS["PRIVATE_PATH"], sorted(names)


def test_every_foreign_import_is_declared() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(requirement for extra in extras for requirement in extra)]
    distributions = {re.split(r"[^\w-]", requirement)[0] for requirement in wanted}
    declared = {IMPORT_NAMES.get(name, name).replace("-", "_") for name in distributions}
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
    foreign = {
        name: path for name, path in used.items() if name not in sys.stdlib_module_names | LATER | declared | own
    }
    assert foreign == OPTIONAL


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
