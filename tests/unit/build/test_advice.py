"""What is said of a RUN that failed."""

from __future__ import annotations

import pytest

from carboy.build.running.advice import advise


@pytest.mark.parametrize(
    ("printed", "status", "told"),
    [
        ("E: Unable to locate package gcc", 100, "apt-get update"),
        ("E: Package 'x' has no installation candidate", 100, "apt-get update"),
        ("error: externally-managed-environment", 1, "venv"),
        ("src/x.c:2:10: fatal error: Python.h: No such file or directory", 1, "python3-dev"),
        ("error: command 'x86_64-linux-gnu-gcc' failed: No such file or directory", 1, "a compiler is missing"),
        ("../meson.build:1:0: ERROR: Unknown compiler(s): [['cc'], ['gcc']]", 1, "a compiler is missing"),
        ("tar: x: Cannot write: No space left on device", 2, "system prune"),
        ("Temporary failure in name resolution", 1, "--network=none"),
        ("/bin/sh: 1: pyhton: not found", 127, "no such command"),
        ("", 137, "memory"),
        ("error: command 'gcc' failed with exit code 1", 1, "what it printed is above"),
        ("mkdir: cannot create directory '/x': Permission denied", 1, "what it printed is above"),
    ],
)
def test_advice(printed: str, status: int, told: str) -> None:
    assert told in advise(["before", printed, "after"], status)


@pytest.mark.parametrize("user", ["app", "1000", "app:app"])
def test_what_only_root_may(user: str) -> None:
    assert advise(["mkdir: cannot create directory '/x': Permission denied"], 1, user=user).startswith(
        f"the step runs as {user}: put it before USER"
    )
    assert "the step runs as" not in advise(["Permission denied"], 1, user="root:root")
