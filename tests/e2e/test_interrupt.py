"""Ctrl-C and kill -9 at any moment: nothing stays mounted or running, and the store is whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Carboy, Leftovers

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.userns]


def strike(carboy: Carboy, arguments: list[str], *, number: signal.Signals, after_s: float) -> tuple[int, str]:
    """Start carboy, send it a signal after a while (to its whole group for Ctrl-C, as a terminal does), wait for it.

    Returns its status and what it had to say for itself.
    """
    process = carboy.start(*arguments)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        process.wait(timeout=after_s)
    except subprocess.TimeoutExpired:
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
    try:
        # Not communicate(): whatever carboy leaves running would hold the pipes, and that is for `leftovers` to say.
        status = process.wait(timeout=60)
        os.set_blocking(process.stderr.fileno(), False)
        try:
            said = os.read(process.stderr.fileno(), 65_536).decode(errors="replace")
        except BlockingIOError:
            said = ""
        return status, said
    finally:
        process.stdout.close()
        process.stderr.close()


def was_not_yet_carboy(status: int, said: str) -> bool:
    """Return whether Ctrl-C came while the interpreter itself was starting, before the first line of carboy.

    CPython turns SIGINT into an exception as soon as its core stands, and has nobody yet to catch it while it imports `io` and
    `site`: it ends with status 1 and this message (pylifecycle.c), whatever the program is. A little later it looks whether the
    program's path is an archive, prints an exception of that, and goes on as if nothing were (main.c).
    """
    if not said.rstrip().endswith("\nKeyboardInterrupt"):
        return False
    return (status == 1 and said.startswith("Fatal Python error: init_")) or (
        status == 0 and said.startswith("Failed checking if argv[0] is an import path entry")
    )


def find_folders(carboy: Carboy, *, patience_s: float = 30) -> list[Path]:
    """Return the containers' folders that are there now and stay: another test may run a container in the same home."""
    containers = carboy.home / "containers"
    # One that is kept (`run` without --rm) stays on purpose: `run --rm` leaves none of these.
    found = {folder for folder in containers.iterdir() if not (folder / "kept").exists()}
    end = time.monotonic() + patience_s
    while found and time.monotonic() < end:
        time.sleep(0.1)
        found &= set(containers.iterdir())
    return sorted(found)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_signal_during_a_run(shared_carboy: Carboy, number: signal.Signals, leftovers: Leftovers) -> None:
    chance = random.Random(number)
    moments = [chance.uniform(0, 0.25) for _ in range(8)] + [0.8]
    for after_s in moments:
        status, said = strike(
            shared_carboy, ["run", "--rm", "iris:test", "sleep", "30"], number=number, after_s=after_s
        )
        if number == signal.SIGINT:
            assert status in (130, -signal.SIGINT) or was_not_yet_carboy(status, said), (status, said)
        elif number == signal.SIGTERM:
            assert status in (143, -signal.SIGTERM), (status, said)
    assert leftovers.find() == []
    shared_carboy("run", "--rm", "iris:test", "true")
    shared_carboy("system", "check")
    assert find_folders(shared_carboy) == []


_measured_s: list[float] = []


def measure_build_s(carboy: Carboy, folder: Path) -> float:
    """Return how long a build takes that begins with nothing; it is done once, for all signals."""
    if not _measured_s:
        begin = time.monotonic()
        carboy.using(carboy.home.with_name("timed"))("build", str(folder), "-t", "iris:1", timeout_s=400)
        _measured_s.append(time.monotonic() - begin)
    return _measured_s[0]


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("interrupt")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_signal_during_a_build(carboy: Carboy, iris: Path, number: signal.Signals, leftovers: Leftovers) -> None:
    whole_s = measure_build_s(carboy, iris)
    chance = random.Random(number)
    for _ in range(6):
        strike(carboy, ["build", str(iris), "-t", "iris:1"], number=number, after_s=chance.uniform(0, whole_s))
        assert leftovers.find() == []
        carboy("system", "check")
    carboy("build", str(iris), "-t", "iris:1", timeout_s=400)
    assert "accuracy" in carboy("run", "--rm", "iris:1").stdout.lower()
    carboy("system", "check")
    for folder in ("ingest", "trash"):
        assert list((carboy.home / folder).iterdir()) == []
