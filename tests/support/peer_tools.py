"""Docker and podman for tests, each with storage of its own, and nothing of it where other tests look."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

CHECKOUT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 120


def load_peers() -> ModuleType:
    """Return the benchmark's module of peers, which is no part of a package."""
    name = "benchmark_peers"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, CHECKOUT / "benchmarks" / "peers.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@dataclass(frozen=True, slots=True)
class Podman:
    """Calls podman, each time in a mount namespace of its own."""

    words: list[str]

    def __call__(self, *words: str) -> str:
        """Return what a command prints; it must end well."""
        done = self._call(*words)
        assert done.returncode == 0, f"podman {words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def run(self, image: str, *command: str) -> str:
        """Run an image and return what it prints."""
        # Its own limits are above this machine's, where CAP_SYS_RESOURCE may be missing.
        limits = ["--ulimit", "nofile=1000:1000", "--ulimit", "nproc=1000:1000"]
        rest = ["run", "--rm", *limits, "--network", "none", image, *command]
        done = self._call(*rest)
        if done.returncode:  # crun refuses some machines with both versions of control groups; runc does not
            return self("--runtime", "runc", *rest)
        return done.stdout

    def reset(self) -> None:
        """Remove what it stores. It stumbles over its own log of events at times."""
        self._call("system", "reset", "--force")

    def _call(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [*self.words, *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)


@contextmanager
def open_podman() -> Iterator[Podman]:
    """Give podman with an empty storage; skips where it is not installed."""
    program = shutil.which("podman")
    if program is None or os.getuid() != 0:
        pytest.skip("podman is not installed (Debian: podman), or cannot be called by root")
    folder = tempfile.mkdtemp(prefix="podman-")  # its paths may have 50 characters
    places = ["--root", f"{folder}/storage", "--runroot", f"{folder}/run", "--tmpdir", f"{folder}/tmp"]
    storage = [*places, "--cgroup-manager", "cgroupfs"]
    private = ["unshare", "--mount", "--propagation", "private"]
    podman = Podman([*private, program, *storage, "--storage-driver", "overlay"])
    try:
        yield podman
    finally:
        podman.reset()
        shutil.rmtree(folder, ignore_errors=True)
        for path in glob("/sys/fs/cgroup/libpod_parent") + glob("/sys/fs/cgroup/*/libpod_parent"):
            for folder, _, _ in os.walk(path, topdown=False):
                with suppress(OSError):  # somebody else's podman is at work
                    os.rmdir(folder)
