"""Files that survive a power cut, trees that can always be removed, and disk errors in plain words."""

from __future__ import annotations

import errno
import os
import stat

from carboy.errors import FREE_SPACE, CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import BinaryIO

_MESSAGES = {
    errno.ENOSPC: ("the disk is full", f"{FREE_SPACE}; CARBOY_HOME names another place"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, or set CARBOY_HOME to another disk"),
    errno.EROFS: ("the file system is read-only", "set CARBOY_HOME to a folder that can be written"),
    errno.EIO: ("the disk reports an error", "check the disk, then `carboy system check`"),
    errno.EMFILE: ("too many files are open", "raise the limit: ulimit -n 4096"),
    errno.EACCES: ("permission denied", "check who owns it"),
    errno.EPERM: ("not permitted", "check who owns it"),
    errno.ENOENT: ("no such file or folder", "check the name"),
}


class translate_os_errors:  # noqa: N801
    """Turn an ``OSError`` of the block into a ``CarboyError`` that says what was being done.

    A class and no generator, as :class:`open_durable` is: ``contextlib`` would be imported at every start for it.
    """

    __slots__ = ("_doing",)

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, OSError):
            return
        brief, hint = _MESSAGES.get(error.errno or 0, (error.strerror or str(error), ""))
        # A descriptor stands there for what os.fdopen and the like refuse.
        where = f": {os.fsdecode(error.filename)}" if error.filename and not isinstance(error.filename, int) else ""
        raise CarboyError(f"cannot {self._doing}: {brief}", details=f"{error.strerror}{where}", hint=hint) from error


def fsync_dir(path: str) -> None:
    """Make the entries of a directory durable. Raises ``OSError``."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_dir(path: str, *, mode: int = 0o700) -> None:
    """Make a directory and its parents, durably; one that is there is left as it is. Raises ``OSError``."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if parent and not os.path.isdir(parent):
        make_dir(parent, mode=mode)
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        return
    fsync_dir(parent or ".")


def make_open_dirs(below: str, path: str) -> list[str]:
    """Make the directories of ``path`` in the directory ``below``, 0755 whatever the umask; returns those that were not there.

    For trees that become layers, and for what a sandbox's user is to read. Raises ``OSError``.
    """
    made = []
    for part in filter(None, path.split("/")):
        below = f"{below}/{part}"
        if not os.path.isdir(below):
            os.mkdir(below, 0o755)
            os.chmod(below, 0o755)  # noqa: S103
            made.append(below)
    return made


class open_durable:  # noqa: N801
    """Return a file that appears at ``path``, whole and durable, when the block ends well; else not at all."""

    __slots__ = ("_file", "_mode", "_path", "_temporary")

    def __init__(self, path: str, *, mode: int = 0o600) -> None:
        self._path = path
        self._mode = mode
        self._temporary = f"{path}.{os.urandom(6).hex()}.tmp"

    def __enter__(self) -> BinaryIO:
        fd = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, self._mode)
        self._file = os.fdopen(fd, "wb")
        return self._file

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._file:
                if error is None:
                    self._file.flush()
                    os.fsync(self._file.fileno())
            if error is None:
                os.rename(self._temporary, self._path)
        except BaseException:
            self._discard()
            raise
        if error is None:
            fsync_dir(os.path.dirname(self._path) or ".")
        else:
            self._discard()

    def _discard(self) -> None:
        if os.path.lexists(self._temporary):
            os.unlink(self._temporary)


def write_durable(path: str, data: bytes, *, mode: int = 0o600) -> None:
    """Replace the file ``path`` by ``data``: after a crash it is the old one or the new one, never a part."""
    with open_durable(path, mode=mode) as file:
        file.write(data)


def remove_tree(path: str) -> None:
    """Remove a file or a tree, never following a link out of it; one that is not there is fine. Raises ``OSError``."""
    parent = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        remove_at(parent, os.path.basename(path))
    finally:
        os.close(parent)


def remove_at(parent: int, name: str | bytes) -> None:
    """Remove the entry ``name`` of the directory ``parent``, a tree with all in it; what is not there (any more) is fine.

    Several may remove the same tree at once. Raises ``OSError``.
    """
    try:
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=parent)
            return
    except FileNotFoundError:
        return
    # Depth is the tree's, which is hostile: a stack of our own instead of recursion, one descriptor per level.
    stack: list[tuple[int, str | bytes, int]] = []
    _push(stack, parent, name)
    try:
        while stack:
            above, own_name, fd = stack[-1]
            inner = _remove_files(fd)
            if inner is not None:
                _push(stack, fd, inner)
                continue
            os.close(fd)
            stack.pop()
            try:
                os.rmdir(own_name, dir_fd=above)
            except FileNotFoundError:
                continue
    finally:
        for _, _, fd in stack:
            os.close(fd)


def _remove_files(fd: int) -> str | None:
    """Remove the files of a directory up to the first directory in it, which is returned."""
    with os.scandir(fd) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                return entry.name
            try:
                os.unlink(entry.name, dir_fd=fd)
            except FileNotFoundError:
                continue
    return None


def _push(stack: list[tuple[int, str | bytes, int]], parent: int, name: str | bytes) -> None:
    try:
        stack.append((parent, name, _open_dir(parent, name)))
    except FileNotFoundError:
        return


def _open_dir(parent: int, name: str | bytes) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=parent)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent)
        return os.open(name, flags, dir_fd=parent)
