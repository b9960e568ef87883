"""README tells the truth: every command in its `sh` blocks runs, in order, as written."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Carboy

CHECKOUT = Path(__file__).resolve().parents[2]
TEST_COMMAND = "python3 scripts/test.py"


def read_commands() -> list[str]:
    """Return the lines of README's `sh` blocks, without comments, a line that goes on joined to the next one."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", (CHECKOUT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if shlex.split(line, comments=True)]


def read_programs() -> list[str]:
    """Return README's `python` blocks."""
    return re.findall(r"^```python\n(.*?)^```", (CHECKOUT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def test_the_second_command_is_the_one_that_ci_runs() -> None:
    assert read_commands()[1] == TEST_COMMAND
    assert f"\n{TEST_COMMAND}" in (CHECKOUT / ".ci" / "run").read_text()


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.network
@pytest.mark.userns
@pytest.mark.timeout(600)
def test_every_command_runs(shared_carboy: Carboy, run_base: Path, tmp_path: Path) -> None:
    """Run them in a copy of the checkout, with the home that is warm, and with carboy on the PATH as README says."""
    copy = tmp_path / "checkout"
    for name in ("src", "scripts", "requirements", "examples"):
        shutil.copytree(CHECKOUT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, copy / name)
    (copy / "bin").mkdir()
    (copy / "bin" / "carboy").write_text(f'#!/bin/sh\nexec {shlex.join(shared_carboy.program)} "$@"\n')
    (copy / "bin" / "carboy").chmod(0o755)
    environ = {**shared_carboy.environ(), "PATH": f"{copy}/bin:{os.environ['PATH']}"}
    if (Path(sys.prefix) / "carboy-checkout.json").exists():
        # The copy is this checkout: its environment is up to date. That one is made, too, is in test_new_machine.
        environ["CARBOY_VENV"] = sys.prefix
    failed = []
    for command in read_commands():
        if command == TEST_COMMAND or command.startswith((". ", "git clone")):
            continue  # this very run; what only changes the shell
        done = subprocess.run(
            ["bash", "-ec", command], cwd=copy, env=environ, capture_output=True, text=True, check=False, timeout=280
        )
        if done.returncode:
            failed.append(f"$ {command}\n{done.stdout}\n{done.stderr}")
    assert not failed, "\n".join(failed)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.network
@pytest.mark.userns
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", range(len(read_programs())))
def test_every_program_runs(shared_carboy: Carboy, tmp_path: Path, number: int) -> None:
    shared_carboy("tag", "iris:test", "iris:1")
    data = tmp_path / "data"
    data.mkdir()
    script = tmp_path / "program.py"
    script.write_text(read_programs()[number].replace("/data", str(data), 1))
    done = shared_carboy.python(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')")
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
    shared_carboy("rmi", "iris:1")
