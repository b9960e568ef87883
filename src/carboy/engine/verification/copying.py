"""A copy of a folder at another path, made in another order, with other owners and times: the same to every honest build."""

from __future__ import annotations

import os
import shutil
import stat
from typing import TYPE_CHECKING

from carboy.base.fs import translate_os_errors
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Collection

    from carboy.engine.verification.conditions import Settings


def copy_folder(
    source: str, target: str, settings: Settings, *, leave_out: Collection[str] = (), mask: int = 0
) -> None:
    """Copy ``source`` to ``target``, which is made; names at its top that are in ``leave_out`` are left out.

    Modes but for the bits of ``mask``, and links, stay; sockets and the like are left out. Raises ``CarboyError``.
    """
    with translate_os_errors(f"copy the folder {source}"):
        if not os.path.isdir(source):
            raise CarboyError(f"there is no folder {source}", hint="name the folder with --from")
        os.makedirs(target, mode=0o755)
        _copy(source, target, settings, frozenset(leave_out), mask)


def _copy(source: str, target: str, settings: Settings, leave_out: frozenset[str], mask: int) -> None:
    with os.scandir(source) as found:
        entries = sorted(found, key=lambda entry: entry.name, reverse=True)
    for entry in entries:
        if entry.name in leave_out:
            continue
        path = f"{target}/{entry.name}"
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), path)
        elif entry.is_dir():
            os.mkdir(path, 0o700)
            _copy(entry.path, path, settings, frozenset(), mask)
        elif entry.is_file():
            shutil.copyfile(entry.path, path)
        else:
            continue
        _dress(entry, path, settings, mask)


def _dress(entry: os.DirEntry[str], path: str, settings: Settings, mask: int) -> None:
    status = entry.stat(follow_symlinks=False)
    if settings.owner is not None:
        os.chown(path, settings.owner, settings.owner, follow_symlinks=False)
    if not entry.is_symlink():
        os.chmod(path, stat.S_IMODE(status.st_mode) & ~mask)
    time_s = status.st_mtime if settings.file_time_s is None else settings.file_time_s
    os.utime(path, (time_s, time_s), follow_symlinks=False)
