"""What a step depends on, as one hash: its definition, what it stands on by content, and the digests of what it reads. Pure.

By content: the parent counts by its layers' diff ids, files by their digests. So a base that is made anew with the same
bytes, or a checkout with new times, changes nothing. Left out are the values of predefined proxies, hosts' addresses, ids
and sharing of caches, secrets and agents (trap 62), and what only people see.
"""

from __future__ import annotations

import hashlib
from typing import Any

from carboy.base.canonical import digest_json
from carboy.build.graph.ops import (
    BindMount,
    CacheMount,
    Copy,
    MakeFolder,
    Mount,
    Run,
    SecretMount,
    SshMount,
    is_linked,
)

FORMAT = 1


def step_key(
    op: Run | Copy | MakeFolder, *, parent: tuple[str, ...], epoch_s: int, inputs: tuple[str, ...] = ()
) -> str:
    """Return the key of a step on layers ``parent`` (diff ids) whose times are at most ``epoch_s``.

    ``inputs`` are the digests of the files that a copy takes or a RUN's bind mounts show, in order, with the names that count.
    """
    match op:
        case Copy():
            definition = describe_copy(op)
        case Run():
            definition = describe_run(op)
        case _:
            definition = describe_folder(op)
    below = () if isinstance(op, Copy) and is_linked(op) else parent
    value = [FORMAT, type(op).__name__, definition, below, epoch_s, inputs]
    return digest_json(value)


def describe_run(op: Run) -> dict[str, Any]:
    """Return what counts of a RUN."""
    return {
        "args": op.args,
        "env": dict(item.split("=", 1) for item in op.env),
        "cwd": op.cwd,
        "user": op.user,
        "network": op.network,
        "security": op.security,
        "mounts": [_describe_mount(mount) for mount in op.mounts],
        "files": [(file.name, file.mode, hashlib.sha256(file.content).hexdigest()) for file in op.files],
    }


def describe_copy(op: Copy) -> dict[str, Any]:
    """Return what counts of a COPY or ADD beside the digests of its files."""
    return {
        "destination": op.destination,
        "chown": op.chown,
        "chmod": op.chmod,
        "parents": op.parents,
        "link": op.link,
        "unpack": [item.unpack for item in op.items],
    }


def describe_folder(op: MakeFolder) -> dict[str, Any]:
    """Return what counts of a WORKDIR."""
    return {"path": op.path, "user": op.user, "mode": op.mode}


def _describe_mount(mount: Mount) -> list[Any]:
    match mount:
        case BindMount():
            return ["bind", mount.target, mount.read_only]
        case CacheMount():
            return ["cache", mount.target, mount.read_only]
        case SecretMount():
            return ["secret", mount.id, mount.target, mount.env, mount.mode, mount.uid, mount.gid]
        case SshMount():
            return ["ssh", mount.target, mount.mode, mount.uid, mount.gid]
        case _:
            return ["tmpfs", mount.target, mount.size_bytes]
