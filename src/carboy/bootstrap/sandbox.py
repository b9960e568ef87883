"""Running the scripts of a base's packages: inside the sandbox, on the unpacked tree, without a network."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from carboy.base.lines import Lines
from carboy.bootstrap.errors import ConfigureError
from carboy.errors import FREE_SPACE
from carboy.runtime.native.launch import Stdio
from carboy.runtime.spec import DirectoryRoot, SandboxSpec, default_capabilities
from carboy.snapshots.snapshot import open_container

if TYPE_CHECKING:
    from collections.abc import Iterable

    from carboy.bootstrap.layer import Making
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
    output = Lines(making.progress.log)
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
        status = making.runtime.run(spec, Stdio(capture=output.take))
    output.finish()
    if status:
        raise ConfigureError(
            "the base's packages could not be configured",
            details="\n".join([*output.last, f"exit status {status}"]),
            hint=find_hint(output.last),
        )


def find_hint(lines: Iterable[str]) -> str:
    """Return what to do about a failure that printed these lines, "" where they do not tell."""
    full = any("No space left on device" in line or "Disk quota exceeded" in line for line in lines)
    return f"the disk is full: {FREE_SPACE}" if full else ""
