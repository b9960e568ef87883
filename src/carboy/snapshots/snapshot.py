"""Containers' folders.

::

    containers/<id>/
        lock        held (flock) by the process that runs the container; free: it does not run
        kept        an empty file: the container outlives its process, until somebody removes it
        claim       diff ids of its layers, one a line; clean-up keeps these while the lock is held, or the container kept
        rw/upper    what the container wrote          rw/work    overlayfs's own
    containers/<id>~<random>/   on its way off the disk: anybody may remove it

A folder is claimed by its lock and renamed before it is removed. One without a lock was left by somebody who died
between two system calls, or is about to be locked: its maker notices when it was taken away, and starts again.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time

from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from carboy.base.home import Home

MAX_ID_LENGTH = 64
_ID_FIRST = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
_ID_REST = _ID_FIRST | frozenset(".-")
_ATTEMPTS = 100
_SHARED_S = 0.005
_DYING = "~"
# What a container that wrote nothing has, its lock last: whoever sees the folder without one may remove it.
_FILES = ("claim", "config.json", "control", "kept", "log", "name", "state.json", "claim.new", "lock")
_FULL = (errno.ENOSPC, errno.EDQUOT)


class OverlayMount:
    """What to mount: ``lower`` trees, lowest first, below ``upper``; ``userxattr`` inside a user namespace.

    A tree that is given twice, as an empty layer may be, is there once, where it is the upper one: overlayfs refuses the other.
    """

    __slots__ = ("lower", "upper", "userxattr", "work")

    def __init__(self, *, lower: Sequence[str], upper: str, work: str, userxattr: bool) -> None:
        # All that the lower of two equal layers says is said again by the upper one.
        self.lower = tuple(dict.fromkeys(reversed(lower)))[::-1]
        self.upper = upper
        self.work = work
        self.userxattr = userxattr


class Container:
    """One container's folder, locked; a context manager that lets go of it, and removes it unless it is kept.

    Make it with :func:`open_container`, or :func:`lock_container` for one that is there.
    """

    __slots__ = ("_kept", "lock", "path")

    def __init__(self, path: str, lock: int, *, kept: bool = False) -> None:
        self.path = path
        self.lock = lock
        self._kept = kept

    def keep(self) -> None:
        """Let the folder outlive the context and this process, until :meth:`forsake`. Raises ``CarboyError`` (125)."""
        try:
            os.close(os.open(f"{self.path}/kept", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise _explain(error, self.path) from error
        self._kept = True

    def forsake(self) -> None:
        """Undo :meth:`keep` for everybody else; this context removes the folder only after :meth:`take_back`."""
        try:  # noqa: SIM105
            os.unlink(f"{self.path}/kept")
        except FileNotFoundError:
            pass

    def hand_over(self) -> None:
        """Leave the folder to another process: one that has inherited the lock, or the next clean-up, unless it is kept."""
        self._kept = True

    def take_back(self) -> None:
        """Undo :meth:`hand_over`: this context removes the folder."""
        self._kept = False

    def claim(self, diff_ids: Sequence[str]) -> None:
        """Name the layers that clean-up must keep while this container lives. Raises ``CarboyError`` (125)."""
        try:
            with open(f"{self.path}/claim.new", "w", encoding="ascii") as file:
                file.write("".join(f"{diff_id}\n" for diff_id in diff_ids))
            os.rename(f"{self.path}/claim.new", f"{self.path}/claim")
        except OSError as error:
            raise _explain(error, self.path) from error

    def prepare(self, lower: Sequence[str], *, userxattr: bool) -> OverlayMount:
        """Make the writable directories, unless they are there, and return what to mount over ``lower`` (lowest first).

        Raises ``CarboyError`` (125).
        """
        try:
            if os.path.isdir(f"{self.path}/rw/work"):
                make_mountable(self.path)
                return self._overlay(lower, userxattr=userxattr)
            for name, mode in (("rw", 0o700), ("rw/upper", 0o755), ("rw/work", 0o700)):
                os.mkdir(f"{self.path}/{name}", mode)
            os.chmod(f"{self.path}/rw/upper", 0o755)  # noqa: S103  whatever the umask: the container's /
        except OSError as error:
            raise _explain(error, self.path) from error
        return self._overlay(lower, userxattr=userxattr)

    def _overlay(self, lower: Sequence[str], *, userxattr: bool) -> OverlayMount:
        return OverlayMount(
            lower=lower, upper=f"{self.path}/rw/upper", work=f"{self.path}/rw/work", userxattr=userxattr
        )

    def __enter__(self) -> Container:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not self._kept:
                _remove(self.path)
        finally:
            os.close(self.lock)


def make_mountable(path: str) -> None:
    """Remove the mark by which overlayfs refuses a volatile upper layer a second time; ``path`` is a container's folder.

    It warns of data that a power cut may have lost, which a container's writable layer is allowed to lose. Raises
    ``OSError``.
    """
    if os.path.isdir(f"{path}/rw/work/work/incompat/volatile"):
        from carboy.base.fs import remove_tree

        remove_tree(f"{path}/rw/work/work")


def check_id(container_id: str) -> None:
    """Raise ``CarboyError`` (125) unless this can be a container's id, which is the name of a folder."""
    first, rest = container_id[:1], container_id[1:]
    if len(container_id) > MAX_ID_LENGTH or first not in _ID_FIRST or not _ID_REST.issuperset(rest):
        raise CarboyError(
            "this is no container id",
            details=repr(container_id[: 2 * MAX_ID_LENGTH]),
            hint=f"an id has 1 to {MAX_ID_LENGTH} letters, digits, and behind the first also . _ -",
            code=125,
        )


def open_container(home: Home, container_id: str) -> Container:
    """Make the folder of a container, locked; leaving the context removes it and all that the container wrote.

    Raises ``CarboyError`` (125) when there is a container of this id, or the folder cannot be made.
    """
    check_id(container_id)
    path = f"{home.containers}/{container_id}"
    try:
        for _ in range(_ATTEMPTS):
            os.mkdir(path, 0o700)
            lock = _lock_new(path)
            if lock is not None:
                return Container(path, lock)
    except FileExistsError as error:
        raise CarboyError(f"there is a container {container_id} already", code=125) from error
    except OSError as error:
        raise _explain(error, path) from error
    raise CarboyError("the folder of a container is taken away as often as it is made", details=path, code=125)


def lock_container(home: Home, container_id: str) -> Container | None:
    """Return a container's folder, locked, whose process does not run; None when it runs or there is none."""
    path = f"{home.containers}/{container_id}"
    fd = None
    for _ in range(_ATTEMPTS):
        fd = _lock_dead(path) if os.path.isdir(path) else None
        if fd is not None or not _is_shared(path):
            break
        time.sleep(_SHARED_S)  # `is_running` of somebody else holds a shared lock for a moment
    return None if fd is None else Container(path, fd, kept=os.path.exists(f"{path}/kept"))


def _is_shared(path: str) -> bool:
    """Return whether the lock is held by readers only."""
    try:
        fd = os.open(f"{path}/lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def adopt_container(home: Home, container_id: str, lock: int) -> Container:
    """Return the folder of a container whose lock this process has inherited."""
    path = f"{home.containers}/{container_id}"
    return Container(path, lock, kept=os.path.exists(f"{path}/kept"))


def is_running(home: Home, container_id: str) -> bool:
    """Return whether a process keeps the container now. Reads only."""
    try:
        fd = os.open(f"{home.containers}/{container_id}/lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def is_kept(home: Home, container_id: str) -> bool:
    """Return whether the container outlives its process. Reads only."""
    return _is_kept(f"{home.containers}/{container_id}")


def _lock_new(path: str) -> int | None:
    """Make and take the lock of a folder made just now; None when a clean-up was quicker and took the folder away."""
    try:
        fd = os.open(f"{path}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError:
        return None
    fcntl.flock(fd, fcntl.LOCK_EX)  # waits for a clean-up that holds it, which then removes the folder
    if os.fstat(fd).st_nlink:
        return fd
    os.close(fd)
    return None


def _explain(error: OSError, path: str) -> CarboyError:
    if error.errno in _FULL:
        hint = "`carboy system df` says what carboy holds, `carboy builder prune` removes what is kept for builds"
        return CarboyError("the disk is full", details=f"{path}: {os.strerror(error.errno)}", hint=hint, code=125)
    return CarboyError("the folder of a container cannot be made", details=str(error), code=125)


# --- removal ------------------------------------------------------------------------------------------------------


def _remove(path: str) -> None:
    """Remove a container's folder, whose lock the caller holds; one that wrote nothing goes without much ado.

    Raises ``CarboyError``; a later clean-up tries again.
    """
    dying = path if _is_dying(path) else f"{path}{_DYING}{os.urandom(6).hex()}"
    work = ("rw/work/work/incompat/volatile", "rw/work/work/incompat", "rw/work/work", "rw/work")
    try:
        if dying != path:
            os.rename(path, dying)
        try:  # noqa: SIM105  `contextlib` is slower to import than this is to do
            os.unlink(f"{dying}/{work[0]}/dirty")  # newer kernels make one; without it there is nothing to do
        except FileNotFoundError:
            pass
        for name in (*work, "rw/upper", "rw"):
            try:
                os.rmdir(f"{dying}/{name}")
            except FileNotFoundError:
                continue
        for name in _FILES:
            try:
                os.unlink(f"{dying}/{name}")
            except FileNotFoundError:
                continue
        os.rmdir(dying)
    except FileNotFoundError:
        return
    except OSError:
        _remove_tree(dying)


def _is_dying(path: str) -> bool:
    return _DYING in path.rpartition("/")[2]


def _is_kept(path: str) -> bool:
    return os.path.exists(f"{path}/kept")


def _remove_tree(path: str) -> None:
    from carboy.base.fs import remove_tree

    problem: OSError | None = None
    for _ in range(_ATTEMPTS):
        try:
            remove_tree(path)
            return
        except OSError as error:
            problem = error
            if error.errno not in {errno.ENOENT, errno.ENOTEMPTY}:  # these: somebody else is removing it as well
                break
    raise CarboyError("the folder of a container cannot be removed", details=f"{path}: {problem}") from problem


def _lock_dead(path: str) -> int | None:
    """Return the lock of a dead container's folder, now ours; None when the container lives or the folder is gone."""
    try:
        fd = os.open(f"{path}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    if os.fstat(fd).st_nlink:
        return fd
    os.close(fd)
    return None


def _iter_paths(home: Home) -> Iterator[str]:
    try:
        names = os.listdir(home.containers)
    except FileNotFoundError:
        return
    for name in sorted(names):
        yield f"{home.containers}/{name}"


def iter_stale(home: Home) -> Iterator[str]:
    """Yield the paths of the folders whose process died; each may be gone, but not alive, when it is looked at."""
    for path in _iter_paths(home):
        fd = None if _is_dying(path) or _is_kept(path) else _lock_dead(path)
        if fd is not None:
            os.close(fd)
        if fd is not None or _is_dying(path):
            yield path


def remove_stale(home: Home, before: Callable[[str], None] | None = None) -> list[str]:
    """Remove the folders whose process died without removing them, and return the ids of their containers.

    ``before`` is called with each id while its folder is still there. Any number of processes may do so at once; quick when
    there is nothing to do.
    """
    removed = []
    for path in _iter_paths(home):
        is_dying = _is_dying(path)
        fd = None if is_dying or _is_kept(path) else _lock_dead(path)
        if fd is None and not is_dying:
            continue
        container_id = os.path.basename(path).partition(_DYING)[0]
        try:
            if before is not None:
                before(container_id)
            _remove(path)
            removed.append(container_id)
        finally:
            if fd is not None:
                os.close(fd)
    return removed


def read_claims(home: Home) -> set[str]:
    """Return the diff ids that living and kept containers stand on."""
    claims: set[str] = set()
    for path in _iter_paths(home):
        if _is_dying(path):
            continue
        fd = None if _is_kept(path) else _lock_dead(path)
        if fd is not None:
            os.close(fd)
            continue
        try:
            with open(f"{path}/claim", encoding="ascii") as file:
                claims.update(file.read().split())
        except (FileNotFoundError, NotADirectoryError):
            continue
    return claims
