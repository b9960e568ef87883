"""Finding and making the targets of mounts below a root that an image filled: by descriptor, never by string."""

from __future__ import annotations

import errno
import os

from carboy.linux.files import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

_PATH = os.O_PATH | os.O_CLOEXEC


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
    fd = os.dup(rootfd)
    for name in _parts(path):
        inner = os.open(name, _PATH | os.O_NOFOLLOW, dir_fd=fd)
        os.close(fd)
        fd = inner
        if os.fstat(fd).st_mode & 0o170000 == 0o120000:
            os.close(fd)
            raise OSError(errno.ELOOP, f"{path}: a symbolic link is in the way")
    return fd


def _parts(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise OSError(errno.EINVAL, f"{path}: a target cannot hold '..'")
    return parts


class below:  # noqa: N801
    """A descriptor of a mount's target, made with its parent directories when it is missing; closed at the end."""

    def __init__(self, rootfd: int, path: str, *, directory: bool, follow: bool = True) -> None:
        self._fd = self._open(rootfd, path, directory=directory, follow=follow)

    @staticmethod
    def _open(rootfd: int, path: str, *, directory: bool, follow: bool) -> int:
        try:
            return open_below(rootfd, path, follow=follow)
        except FileNotFoundError:
            pass
        parts = _parts(path)
        for count in range(1, len(parts)):
            make_directory(rootfd, "/".join(parts[:count]), follow=follow)
        parent = open_below(rootfd, "/".join(parts[:-1]) or "/", follow=follow)
        try:
            if directory:
                os.mkdir(parts[-1], 0o755, dir_fd=parent)
            else:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                os.close(os.open(parts[-1], flags, 0o644, dir_fd=parent))
        except FileExistsError:
            # A dangling link: what it points to is not made, in the root or elsewhere (CVE-2024-45310).
            raise OSError(errno.ELOOP, f"{path}: a dangling symbolic link is in the way") from None
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
        finally:
            os.close(parent)


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
