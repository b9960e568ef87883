"""Debian's ``docker-registry``, the distribution project's server, for the length of a test."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROGRAM = shutil.which("docker-registry")


@contextmanager
def open_registry(folder: Path, **settings: Any) -> Iterator[str]:
    """Return "127.0.0.1:PORT" of a registry whose files are below ``folder``; ``settings`` go into its configuration.

    Skips the test where there is no such program.
    """
    if PROGRAM is None:
        pytest.skip("docker-registry is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"127.0.0.1:{port}"
    configuration: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": {"addr": address},
    }
    for key, value in settings.items():
        configuration[key] = {**configuration.get(key, {}), **value}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yml").write_text(json.dumps(configuration))  # YAML holds JSON
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([PROGRAM, "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        _wait(server, port, folder / "log")
        yield address
    finally:
        server.terminate()
        server.wait()


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return when somebody listens."""
    for _ in range(500):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if server.poll() is not None:
            break
        time.sleep(0.02)  # there is nothing to wait on: it says nothing when it is ready
    raise AssertionError(log.read_text())
