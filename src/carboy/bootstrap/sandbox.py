"""Running the scripts of a base's packages: inside the sandbox, on the unpacked tree, without a network."""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING

from carboy.bootstrap.errors import ConfigureError
from carboy.runtime.native.launch import Stdio
from carboy.runtime.spec import DirectoryRoot, SandboxSpec, default_capabilities
from carboy.snapshots.snapshot import open_container

if TYPE_CHECKING:
    from carboy.bootstrap.layer import Making
    from carboy.bootstrap.progress import Progress
    from carboy.runtime.spec import BindMount
    from carboy.snapshots.snapshot import OverlayMount


def run_in_tree(
    tree: str | OverlayMount,
    script: str,
    *,
    env: tuple[str, ...],
    making: Making,
    mounts: tuple[BindMount, ...] = (),
) -> None:
    """Run a script of the shell's on the tree (a folder, or layers), as root with a build's capabilities and without a network.

    ``env`` is all of its environment, ``mounts`` what it sees besides. What it prints goes to the progress line by line. Raises
    ``ConfigureError``, with the last lines, when it fails.
    """
    output = _Output(making.progress)
    container_id = os.urandom(32).hex()
    with open_container(making.home, container_id):
        spec = SandboxSpec(
            id=container_id,
            root=DirectoryRoot(path=tree) if isinstance(tree, str) else tree,
            args=("/bin/sh", "-c", script),
            env=env,
            cwd="/",
            user="0:0",
            hostname="localhost",
            network="none",
            mounts=mounts,
            capabilities=default_capabilities("build"),
            tier=making.tier.name,
            id_count=making.tier.id_count,
        )
        status = making.runtime.run(spec, Stdio(capture=output.write))
    output.flush()
    if status:
        raise ConfigureError(
            "the base's packages could not be configured",
            details="\n".join([*output.tail, f"exit status {status}"]),
            hint=output.find_hint(),
        )


class _Output:
    """What the scripts print: passed on by lines, the last ones kept."""

    def __init__(self, progress: Progress) -> None:
        self.tail: deque[str] = deque(maxlen=30)
        self._progress = progress
        self._rest = b""

    def write(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            text = line.decode("utf-8", "replace").rstrip()
            self.tail.append(text)
            self._progress.log(text)

    def flush(self) -> None:
        if self._rest:
            self.write(b"\n")

    def find_hint(self) -> str:
        full = any("No space left on device" in line or "Disk quota exceeded" in line for line in self.tail)
        return "the disk is full: free some space, or `carboy system prune`" if full else ""
