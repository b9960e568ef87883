"""The program where no network is."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.conftest import Carboy


def without_network(carboy: Carboy, *words: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the program in an empty network namespace: not even 127.0.0.1 answers."""
    person = carboy.person
    command = ["unshare", "-n"] if os.getuid() == 0 else ["unshare", "-rn"]
    if person.uid != os.getuid():
        command += ["setpriv", f"--reuid={person.uid}", f"--regid={person.gid}", "--clear-groups"]
    done = subprocess.run(
        [*command, *carboy.program, *words],
        env=carboy.environ(), cwd=person.home, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == expect, f"{words}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done
