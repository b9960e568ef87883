"""Finding and making the targets of mounts below a root that an image filled: by descriptor, never by string."""

from __future__ import annotations

import errno
import os

from carboy.linux.files import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2
from carboy.runtime.passwd import MAX_FILE_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

_PATH = os.O_PATH | os.O_CLOEXEC
MAX_LINKS = 8


def open_below(rootfd: int, path: str, *, follow: bool = True) -> int:
    """Return an O_PATH descriptor of ``path`` in the root; links lead nowhere outside it, and nowhere unless ``follow``.

    Raises ``OSError``; on a kernel without openat2 every link is refused.
    """
    resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | (0 if follow else RESOLVE_NO_SYMLINKS)
    try:
        return openat2(rootfd, os.fsencode(path), _PATH, 0, resolve)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
    return _walk(rootfd, path)


def _walk(rootfd: int, path: str) -> int:
    fd = os.dup(rootfd)
    try:
        for name in _parts(path):
            inner = os.open(name, _PATH | os.O_NOFOLLOW, dir_fd=fd)
            os.close(fd)
            fd = inner
            if os.fstat(fd).st_mode & 0o170000 == 0o120000:
                raise OSError(errno.ELOOP, f"{path}: a symbolic link is in the way")
    except OSError:
        os.close(fd)
        raise
    return fd


def _parts(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise OSError(errno.EINVAL, f"{path}: a target cannot hold '..'")
    return parts


class below:  # noqa: N801
    """A descriptor of a mount's target, made with its parent directories when it is missing; closed at the end.

    What a dangling link points to is not made, in the root or elsewhere (CVE-2024-45310), unless ``through_links``: then
    it is made in the root, whatever the link says. That is for files of our own (/etc/resolv.conf is a dangling link in many
    images), in a root that no process of the container has seen yet.
    """

    def __init__(
        self, rootfd: int, path: str, *, directory: bool, follow: bool = True, through_links: bool = False
    ) -> None:
        for _ in range(MAX_LINKS):
            found = self._open(rootfd, path, directory=directory, follow=follow)
            if isinstance(found, int):
                self._fd = found
                return
            if not through_links:
                break
            path = found
        raise OSError(errno.ELOOP, f"{path}: a dangling symbolic link is in the way")

    @staticmethod
    def _open(rootfd: int, path: str, *, directory: bool, follow: bool) -> int | str:
        """Return the descriptor, or the path in the root that the dangling link ``path`` points to."""
        try:
            return open_below(rootfd, path, follow=follow)
        except FileNotFoundError:
            pass
        parts = _parts(path)
        for count in range(1, len(parts)):
            make_directory(rootfd, "/".join(parts[:count]), follow=follow)
        folder = "/".join(parts[:-1])
        parent = open_below(rootfd, folder or "/", follow=follow)
        try:
            if directory:
                os.mkdir(parts[-1], 0o755, dir_fd=parent)
            else:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                os.close(os.open(parts[-1], flags, 0o644, dir_fd=parent))
        except FileExistsError:
            target = os.readlink(parts[-1], dir_fd=parent)
            return os.path.normpath(target if target.startswith("/") else f"/{folder}/{target}")
        finally:
            os.close(parent)
        return open_below(rootfd, path, follow=False if directory else follow)

    def __enter__(self) -> int:
        return self._fd

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)


def make_directory(rootfd: int, path: str, *, follow: bool = True) -> None:
    """Make one directory in the root unless it is there; its parent must be."""
    try:
        os.close(open_below(rootfd, path, follow=follow))
    except FileNotFoundError:
        head, _, name = path.rstrip("/").rpartition("/")
        parent = open_below(rootfd, head or "/", follow=follow)
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:
            raise OSError(errno.ELOOP, f"{path}: a dangling symbolic link is in the way") from None
        finally:
            os.close(parent)


def read_own(rootfd: int, path: str) -> bytes:
    """Return a small file of an image; one that is not a plain file, or behind a link, counts as empty (CVE-2026-47262).

    Raises ``FileNotFoundError`` when it is missing, ``OSError`` EFBIG when it is larger than ``MAX_FILE_BYTES``.
    """
    try:
        found = open_below(rootfd, path, follow=False)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            return b""
        raise
    try:
        status = os.fstat(found)
        if status.st_mode & 0o170000 != 0o100000:
            return b""
        if status.st_size > MAX_FILE_BYTES:
            raise OSError(errno.EFBIG, f"{path} is larger than {MAX_FILE_BYTES} bytes")
        # O_PATH has shown that it is a plain file; this descriptor can only be of the same one.
        fd = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    finally:
        os.close(found)
    try:
        return os.read(fd, MAX_FILE_BYTES)
    finally:
        os.close(fd)


def write_file(path: str, content: bytes, mode: int) -> None:
    """Write a new file."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.fchmod(fd, mode)
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
    finally:
        os.close(fd)
