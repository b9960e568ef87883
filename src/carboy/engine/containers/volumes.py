"""The mounts of a container: what was asked for when it is made, what is mounted when it starts, what goes with it.

When it is made, every source is looked for, volumes are made, noted as used and filled; the requests are then written down in
one notation (``format_mount``), with absolute paths and the names of anonymous volumes, so that a later start needs neither
the caller's folder nor luck.
"""

from __future__ import annotations

import errno
import os
import stat

from carboy.errors import CarboyError
from carboy.runtime.mounts import MountRequest, format_mount, parse_mount, plan_requests
from carboy.runtime.native.binds import check_outside
from carboy.runtime.spec import BindMount, TmpfsMount
from carboy.snapshots.copy import fill_folder
from carboy.snapshots.merged import MergedRoot
from carboy.volumes.store import VolumeStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from carboy.base.home import Home

OPTIONS = ("volume", "mount", "tmpfs")


def make_mounts(
    home: Home,
    container_id: str,
    asked: Sequence[tuple[str, str]],
    *,
    image_volumes: Sequence[str] = (),
    lowers: Sequence[str] = (),
    keep_owners: bool,
    cwd: str,
) -> tuple[tuple[str, str], ...]:
    """Return the mounts of a new container as pairs ("mount", text), for its record, with all that they need made.

    ``asked`` are pairs of an option of ``OPTIONS`` and its text, other options are passed through; ``image_volumes`` the
    targets that the image asks volumes for, ``lowers`` its unpacked layers (lowest first), which fill empty ones;
    ``keep_owners`` is False in the single tier. The container's folder must be there. When it fails, the container has no
    volume; a named one that was made for it stays. Raises ``CarboyError`` (125).
    """
    texts = {option: [text for kind, text in asked if kind == option] for option in OPTIONS}
    requests = plan_requests(
        volumes=texts["volume"], mounts=texts["mount"], tmpfs=texts["tmpfs"], image_volumes=image_volumes, cwd=cwd
    )
    for request in requests:
        if request.kind == "bind":
            check_source(request.source, home)
    volumes = VolumeStore(home)
    made = []
    try:
        for request in requests:
            if request.kind != "volume":
                made.append(request)
                continue
            name = request.source or volumes.create().name
            fill = _filling(lowers, request.target, keep_owners=keep_owners) if request.copy_up else None
            volumes.acquire(name, container_id, fill=fill)
            made.append(request.replace(source=name))
    except BaseException as error:
        volumes.release(container_id, remove_anonymous=True)
        if isinstance(error, CarboyError):
            error.code = 125
        raise
    return (
        *(pair for pair in asked if pair[0] not in OPTIONS),
        *(("mount", format_mount(request)) for request in made),
    )


def open_mounts(home: Home, recorded: Sequence[tuple[str, str]]) -> tuple[BindMount | TmpfsMount, ...]:
    """Return what to mount for a container whose record has these pairs, every source there. Raises ``CarboyError`` (125)."""
    volumes = VolumeStore(home)
    result: list[BindMount | TmpfsMount] = []
    for option, text in recorded:
        if option != "mount":
            continue
        request = parse_mount(text)
        if request.kind == "tmpfs":
            result.append(_tmpfs(request))
        elif request.kind == "bind":
            check_source(request.source, home)
            result.append(_bind(request, request.source, outside=home.path))
        else:
            try:
                volume = volumes.inspect(request.source)
            except CarboyError as error:
                error.code = 125
                raise
            result.append(_bind(request, volume.path, outside=""))
    return tuple(result)


def release_mounts(home: Home, container_id: str, *, remove_anonymous: bool) -> None:
    """Take back what a container that is removed has of volumes (``rm -v`` and ``--rm``: its anonymous ones go). Idempotent."""
    VolumeStore(home).release(container_id, remove_anonymous=remove_anonymous)


def check_source(source: str, home: Home) -> None:
    """Raise ``CarboyError`` (125) unless this can be the source of a bind mount. It is looked at again when it is opened."""
    try:
        fd = os.open(source, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        hint = f"make it first: mkdir -p {source}"
        raise CarboyError(f"bind source path does not exist: {source}", hint=hint, code=125) from None
    except OSError as error:
        raise CarboyError(
            f"bind source path cannot be opened: {source}", details=error.strerror or "", code=125
        ) from error
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            hint = f"give it as a device: --device {source}"
            raise CarboyError(f"bind source is a device: {source}", hint=hint, code=125)
        check_outside(fd, home.path)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise CarboyError(f"bind source cannot be checked: {source}", details=str(error), code=125) from error
        hint = "name a folder that neither holds carboy's own folder nor lies in it"
        raise CarboyError(
            f"bind source is not allowed: {source}", details=error.strerror or "", hint=hint, code=125
        ) from error
    finally:
        os.close(fd)


def _filling(lowers: Sequence[str], target: str, *, keep_owners: bool) -> Callable[[int], None]:
    return lambda fd: fill_folder(MergedRoot(lowers), os.fsencode(target), fd, keep_owners=keep_owners)


def _bind(request: MountRequest, source: str, *, outside: str) -> BindMount:
    return BindMount(
        source=source,
        target=request.target,
        read_only=request.read_only,
        noexec=request.noexec,
        recursive=request.recursive,
        idmap=request.idmap or "ids",
        outside=outside,
    )


def _tmpfs(request: MountRequest) -> TmpfsMount:
    mount = TmpfsMount(target=request.target, mode=request.mode, read_only=request.read_only, noexec=request.noexec)
    return mount.replace(size_bytes=request.size_bytes) if request.size_bytes else mount
