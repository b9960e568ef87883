"""Mounting, by path and by descriptor, one function per system call.

Sources: mount(2), umount2(2), pivot_root(2), open_tree(2), move_mount(2), mount_setattr(2), fsopen(2).
"""

from __future__ import annotations

import errno

from carboy.linux import foreign
from carboy.linux.libc import LIBC, check, syscall

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_RELATIME = 0x200000
MNT_DETACH = 0x2

OPEN_TREE_CLONE = 0x1
OPEN_TREE_CLOEXEC = 0o2000000
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_FDCWD = -100
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_EMPTY_PATH = 0x40

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_IDMAP = 0x100000
# How mountinfo spells them, and what statvfs(3) answers.
ATTRIBUTE_WORDS = {
    MOUNT_ATTR_RDONLY: b"ro", MOUNT_ATTR_NOSUID: b"nosuid", MOUNT_ATTR_NODEV: b"nodev", MOUNT_ATTR_NOEXEC: b"noexec",
}  # fmt: skip
ATTRIBUTE_MASK = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC

FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6
FSOPEN_CLOEXEC = 0x1
FSMOUNT_CLOEXEC = 0x1


class _MountAttr(foreign.Structure):
    _fields_ = (
        ("attr_set", foreign.c_uint64),
        ("attr_clr", foreign.c_uint64),
        ("propagation", foreign.c_uint64),
        ("userns_fd", foreign.c_uint64),
    )


def _text(value: str | None) -> foreign.c_char_p:
    return foreign.c_char_p(None if value is None else value.encode("utf-8", "surrogateescape"))


def mount(source: str | None, target: str, kind: str | None, flags: int = 0, data: str | None = None) -> None:
    """mount(2). Raises ``OSError``."""
    result = LIBC.mount(_text(source), _text(target), _text(kind), foreign.c_ulong(flags), _text(data))
    check(result, "mount", kind or source or "", "on", target)


def umount(target: str, flags: int = MNT_DETACH) -> None:
    """umount2(2), lazily unless told otherwise. Raises ``OSError``."""
    check(LIBC.umount2(_text(target), flags), "umount", target)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2). Raises ``OSError``."""
    syscall("pivot_root", _text(new_root), _text(put_old))


def open_tree(path: str, *, dirfd: int = AT_FDCWD, recursive: bool = False) -> int:
    """Return a detached copy of the mount at ``path`` (an empty path: at ``dirfd`` itself). Raises ``OSError``."""
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (AT_RECURSIVE if recursive else 0) | (0 if path else AT_EMPTY_PATH)
    return syscall("open_tree", dirfd, _text(path), flags)


def move_mount(fd: int, target: str, *, target_fd: int = AT_FDCWD) -> None:
    """Attach the detached mount ``fd`` at ``target`` (an empty path: at ``target_fd`` itself). Raises ``OSError``."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | (0 if target else MOVE_MOUNT_T_EMPTY_PATH)
    syscall("move_mount", fd, _text(""), target_fd, _text(target), flags)


def mount_setattr(fd: int, *, attr_set: int, userns_fd: int = 0, recursive: bool = False) -> None:
    """Change the attributes of the mount ``fd``; with ``MOUNT_ATTR_IDMAP`` its ids are mapped by ``userns_fd``."""
    attr = _MountAttr(attr_set, 0, 0, userns_fd)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    try:
        syscall("mount_setattr", fd, _text(""), flags, foreign.byref(attr), foreign.sizeof(attr))
    except OSError as error:
        if error.errno == errno.ENOSYS:  # a mount that cannot be restricted is not used unrestricted
            raise OSError(errno.ENOSYS, "mount_setattr: Linux 5.12 or newer is needed") from None
        raise


def new_mount(kind: str, options: tuple[tuple[str, str | None], ...] = (), *, attributes: int = 0) -> int:
    """Return a detached mount of a new file system; an option without a value is a flag. Raises ``OSError``."""
    import os

    fd = syscall("fsopen", _text(kind), FSOPEN_CLOEXEC)
    try:
        for name, value in options:
            command = FSCONFIG_SET_FLAG if value is None else FSCONFIG_SET_STRING
            syscall("fsconfig", fd, command, _text(name), _text(value), 0)
        syscall("fsconfig", fd, FSCONFIG_CMD_CREATE, _text(None), _text(None), 0)
        return syscall("fsmount", fd, FSMOUNT_CLOEXEC, attributes)
    finally:
        os.close(fd)
