"""Containers' folders.

::

    containers/<id>/
        lock        held (flock) by the process that runs the container; free: the container is dead
        claim       diff ids of its layers, one a line; clean-up keeps these while the lock is held
        rw/upper    what the container wrote          rw/work    overlayfs's own
        mnt/        covered by a mount that only the sandbox sees
"""

from __future__ import annotations

import fcntl
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from carboy.base.home import Home


class OverlayMount:
    """What to mount: ``lower`` trees, lowest first, below ``upper``; ``userxattr`` inside a user namespace."""

    __slots__ = ("lower", "upper", "userxattr", "work")

    def __init__(self, *, lower: Sequence[str], upper: str, work: str, userxattr: bool) -> None:
        self.lower = tuple(lower)
        self.upper = upper
        self.work = work
        self.userxattr = userxattr


class Container:
    """One container's folder; a context manager that removes it. Make it with :func:`open_container`."""

    def __init__(self, home: Home, container_id: str) -> None:
        self.path = f"{home.containers}/{container_id}"
        os.mkdir(self.path, 0o700)
        self._lock = os.open(f"{self.path}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def claim(self, diff_ids: Sequence[str]) -> None:
        """Name the layers that clean-up must keep while this container lives."""
        with open(f"{self.path}/claim.new", "w", encoding="ascii") as file:
            file.write("".join(f"{diff_id}\n" for diff_id in diff_ids))
        os.rename(f"{self.path}/claim.new", f"{self.path}/claim")

    def prepare(self, lower: Sequence[str], *, userxattr: bool) -> OverlayMount:
        """Make the writable directories and return what to mount over ``lower`` (trees, lowest first)."""
        for name, mode in (("rw", 0o700), ("rw/upper", 0o755), ("rw/work", 0o700), ("mnt", 0o700)):
            os.mkdir(f"{self.path}/{name}", mode)
        os.chmod(f"{self.path}/rw/upper", 0o755)  # whatever the umask: it is the container's root directory
        return OverlayMount(
            lower=lower, upper=f"{self.path}/rw/upper", work=f"{self.path}/rw/work", userxattr=userxattr
        )

    def __enter__(self) -> Container:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _remove(self.path)
        os.close(self._lock)


def open_container(home: Home, container_id: str) -> Container:
    """Make the folder of a container, locked; leaving the context removes it and all that the container wrote."""
    return Container(home, container_id)


def _remove(path: str) -> None:
    """Remove a container's folder; the few entries of one that wrote nothing go without the general machinery."""
    try:
        for name in ("rw/work/work/incompat/volatile", "rw/work/work/incompat", "rw/work/work", "rw/work", "rw/upper", "rw", "mnt"):
            try:
                os.rmdir(f"{path}/{name}")
            except FileNotFoundError:
                continue
        for name in ("claim", "lock"):
            if os.path.lexists(f"{path}/{name}"):
                os.unlink(f"{path}/{name}")
        os.rmdir(path)
    except OSError:
        from carboy.base.fs import remove_tree

        remove_tree(path)


def _iter_containers(home: Home) -> Iterator[tuple[str, bool]]:
    """Yield (path, whether its process lives) of every container's folder."""
    try:
        names = os.listdir(home.containers)
    except FileNotFoundError:
        return
    for name in names:
        path = f"{home.containers}/{name}"
        try:
            fd = os.open(f"{path}/lock", os.O_RDWR | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            yield path, False
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield path, True
        else:
            yield path, False
        finally:
            os.close(fd)


def remove_stale(home: Home) -> int:
    """Remove the folders whose process died without removing them, and return how many there were."""
    dead = [path for path, alive in _iter_containers(home) if not alive]
    for path in dead:
        _remove(path)
    return len(dead)


def read_claims(home: Home) -> set[str]:
    """Return the diff ids that living containers stand on."""
    claims: set[str] = set()
    for path, alive in _iter_containers(home):
        if alive:
            try:
                with open(f"{path}/claim", encoding="ascii") as file:
                    claims.update(file.read().split())
            except FileNotFoundError:
                continue
    return claims
