"""``RUN --mount`` to the mounts of an operation. Sources: dockerfile2llb/convert_{runmount,secrets,ssh}.go."""

from __future__ import annotations

import posixpath
from collections.abc import Callable

from carboy.build.dockerfile.paths import join_path
from carboy.build.dockerfile.stage import StageState
from carboy.build.graph import ops
from carboy.dockerfile.errors import LanguageError
from carboy.dockerfile.instructions.model import Run
from carboy.dockerfile.instructions.mounts import Mount, parse_mount
from carboy.dockerfile.stages import SCRATCH

FindOrigin = Callable[[str], ops.Origin]


def plan_mounts(stage: StageState, instruction: Run, find_origin: FindOrigin) -> tuple[ops.Mount, ...]:
    """Return the mounts of a RUN; ``find_origin`` is asked for what ``from`` names. Raises ``LanguageError``."""
    mounts: list[ops.Mount] = []
    agents = 0
    for text in instruction.mounts:
        mount = parse_mount(text, stage.scope.word)
        if mount.kind == "ssh":
            mounts.append(_ssh(stage, mount, agents))
            agents += 1
        elif mount.kind == "secret":
            mounts.append(_secret(stage, mount))
        else:
            mounts.append(_files(stage, mount, find_origin))
    return tuple(mounts)


def _files(stage: StageState, mount: Mount, find_origin: FindOrigin) -> ops.Mount:
    target = join_path(stage.folder, mount.target)
    if target == "/":
        raise LanguageError(
            f'invalid mount target "{mount.target}"', word="--mount", hint="name a folder with target=/path"
        )
    if mount.kind == "tmpfs":
        return ops.TmpfsMount(target=target, size_bytes=mount.size_bytes)
    source = join_path("/", mount.source)
    if mount.kind == "bind":
        origin = find_origin(mount.origin) if mount.origin else stage.given.context
        return ops.BindMount(target=target, origin=origin, source=source, read_only=mount.read_only)
    space = stage.given.build_args.get("BUILDKIT_CACHE_MOUNT_NS", "")
    name = mount.id or posixpath.normpath(mount.target)
    return ops.CacheMount(
        target=target,
        id=f"{space}/{name}" if space else name,
        sharing=mount.sharing,
        origin=find_origin(mount.origin) if mount.origin and mount.origin != SCRATCH else None,
        source=source,
        mode=0o755 if mount.mode is None else mount.mode,
        uid=mount.uid or 0,
        gid=mount.gid or 0,
        read_only=mount.read_only,
    )


def _secret(stage: StageState, mount: Mount) -> ops.SecretMount:
    """Return a secret: a file unless only ``env`` asks for it (trap 63)."""
    name = mount.source or mount.id or posixpath.basename(mount.target)
    if not name:
        raise LanguageError("one of source, target required", word="--mount", hint="write id=name")
    target = join_path(stage.folder, mount.target) if mount.target else None
    if target is None and mount.env is None:
        target = f"/run/secrets/{posixpath.basename(name)}"
    return ops.SecretMount(
        id=name,
        target=target,
        env=mount.env,
        required=mount.required,
        mode=0o400 if mount.mode is None else mount.mode,
        uid=mount.uid or 0,
        gid=mount.gid or 0,
    )


def _ssh(stage: StageState, mount: Mount, number: int) -> ops.SshMount:
    return ops.SshMount(
        target=join_path(stage.folder, mount.target) if mount.target else f"/run/buildkit/ssh_agent.{number}",
        id=mount.id or "default",
        required=mount.required,
        mode=0o600 if mount.mode is None else mount.mode,
        uid=mount.uid or 0,
        gid=mount.gid or 0,
    )
