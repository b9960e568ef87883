"""The tools of CONTRIBUTING.md, as ordinary tests: what they refuse does not land."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
CODE = ["src", "tests", "scripts", "benchmarks", "examples"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["ruff", "check", "--no-cache", *CODE], id="ruff-check"),
        pytest.param(["ruff", "format", "--check", "--no-cache", *CODE], id="ruff-format"),
        pytest.param(["mypy"], id="mypy"),
        pytest.param(["lint-imports", "--no-logo", "--no-cache"], id="import-linter"),
    ],
)
def test_linter_is_content(command: list[str], tmp_path: Path) -> None:
    if command == ["mypy"]:
        command = ["mypy", "--cache-dir", str(tmp_path)] if not _is_writable(CHECKOUT / ".mypy_cache") else command
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]], cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(exist_ok=True)
        (folder / "probe").touch()
        (folder / "probe").unlink()
    except OSError:
        return False
    return True
