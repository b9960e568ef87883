"""Limits as a person meets them: refused with a reason, or held and reported."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Carboy, Leftovers

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.network]

HOG = "x = bytearray(10**9)"


def test_out_of_memory_is_said(shared_carboy: Carboy, leftovers: Leftovers) -> None:
    done = shared_carboy("run", "--memory", "64m", "iris:test", "python3", "-c", HOG, expect=137)
    assert "ran out of memory" in done.stderr
    assert "its limit is 64 MiB" in done.stderr
    assert "--memory" in done.stderr
    done = shared_carboy("run", "iris:test", "python3", "-c", "import os; os.kill(os.getpid(), 9)", expect=137)
    assert "memory" not in done.stderr
    assert leftovers.find() == []


def test_programs_find_their_limits(shared_carboy: Carboy) -> None:
    script = (
        "from pathlib import Path; r = Path('/sys/fs/cgroup')\n"
        "print(next(p.read_text() for p in (r / 'memory.max', r / 'memory/memory.limit_in_bytes') if p.exists()))"
    )
    done = shared_carboy("run", "--memory", "256m", "iris:test", "python3", "-c", script)
    assert done.stdout.strip() == str(256 * 2**20)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--memory", "1k", "--cpu-shares", "1"], ["--cpu-shares is 1", "(6m)"]),
        (["--memory", "lots", "--cpus", "two"], ["'lots' is no size", "'two' is no number"]),
        (["--cpuset-cpus", "4000"], ["this machine has"]),
        (["--ulimit", "nofile=1:9999999999"], ["its hard limit here is"]),
        (["--device", "/dev/no-such"], ["there is no device /dev/no-such"]),
    ],
)
def test_what_cannot_be_set_is_refused(shared_carboy: Carboy, options: list[str], words: list[str]) -> None:
    done = shared_carboy("run", *options, "iris:test", "true", expect=125)
    for word in words:
        assert word in done.stderr
