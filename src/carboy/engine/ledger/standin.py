"""What stands in for a folder that a check must not write into: a copy of it, without what the run has made there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from carboy.errors import CarboyError
from carboy.runtime.mounts import parse_mount
from carboy.snapshots.copy import fill_folder
from carboy.snapshots.merged import LiveRoot, find

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.ledger.record import Mount

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def fill_stand_in(source: str, place: str, *, leave_out: Sequence[str], mount: Mount, user: str, tier: str) -> None:
    """Copy the folder ``source`` into the empty folder ``place``, less the files ``leave_out`` (paths in the container).

    Owners are those that the container's ``user`` would see through the mount. Raises ``OSError`` and ``CarboyError``.
    """
    fd, target = os.open(source, _FOLDER), os.open(place, _FOLDER)
    try:
        fill_folder(LiveRoot(fd), b"/", target, keep_owners=tier != "single")
        prefix = f"{mount.target.rstrip('/')}/"
        for path in leave_out:
            if path.startswith(prefix):
                _remove(target, os.fsencode(path.removeprefix(prefix)))
        if tier == "root" and parse_mount(mount.text).idmap == "owner":
            _exchange_owner(target, os.fstat(fd).st_uid, _find_id(user, mount))
    finally:
        os.close(fd)
        os.close(target)


def _remove(top: int, path: bytes) -> None:
    """Remove a file of the copy, and folders that are empty without it: an empty one is no file of anybody's."""
    parts = path.split(b"/")
    root = LiveRoot(top)
    try:
        with root.open() as folder, find(folder, path, follow=False) as found:
            if found.parts != parts or found.entry is None or found.entry.is_folder:
                return  # something else lies there by now; it shows as different
        above = root.open_writable(parts[:-1])
    except OSError:
        return
    try:
        os.unlink(parts[-1], dir_fd=above)
    finally:
        os.close(above)


def _find_id(user: str, mount: Mount) -> int:
    name = user.partition(":")[0]
    if name in {"", "root"}:
        return 0
    if name.isdigit():
        return int(name)
    raise CarboyError(
        f"{mount.target} is mounted with idmap=owner for the user {name}, which a check cannot imitate",
        hint="record it with --user and a number",
    )


def _exchange_owner(top: int, owner: int, user: int) -> None:
    """Give what the source's owner has to the container's user. Raises ``OSError``."""
    if owner == user:
        return
    for _, folders, files, fd in os.fwalk(".", dir_fd=top):
        if os.fstat(fd).st_uid == owner:
            os.fchown(fd, user, -1)
        for name in (*folders, *files):
            if os.stat(name, dir_fd=fd, follow_symlinks=False).st_uid == owner:
                os.chown(name, user, -1, dir_fd=fd, follow_symlinks=False)
