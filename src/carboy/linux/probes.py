"""What this kernel lets this process do, found out by doing it, in children that leave nothing behind.

Every ``try_`` function returns "" when the thing works, else what went wrong in the kernel's words. They fork: for
processes without threads.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal

from carboy.linux import files, mounts, namespaces, seccomp
from carboy.linux.identity import enter_tier, run_in_child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def _try(action: Callable[[], None]) -> str:
    def attempt() -> str:
        action()
        return "done"

    answer = run_in_child(attempt)
    return "" if answer == "done" else answer.removeprefix("error: ") or "the child process died"


def try_overlay(folder: str, tier: str) -> str:
    """Mount an overlay below ``folder`` in the tier, remove a file in it, and look at the whiteout."""

    def attempt() -> None:
        enter_tier(tier)
        place = f"{folder}/.carboy-probe-{os.urandom(6).hex()}"
        try:
            for name in ("", "/lower", "/upper", "/work", "/merged"):
                os.mkdir(place + name, 0o700)
            with open(f"{place}/lower/file", "wb") as file:
                file.write(b"lower")
            _mount_overlay(place, userxattr=tier != "root")
            os.unlink(f"{place}/merged/file")
            if os.path.lexists(f"{place}/merged/file") or not os.path.lexists(f"{place}/upper/file"):
                raise OSError(errno.EIO, "a removed file left no whiteout")
            mounts.umount(f"{place}/merged")
        finally:
            _remove_probe(place)

    return _try(attempt)


def _mount_overlay(place: str, *, userxattr: bool) -> None:
    namespaces.unshare(namespaces.CLONE_NEWNS)
    mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)
    options = f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work"
    mounts.mount("overlay", f"{place}/merged", "overlay", 0, options + (",userxattr" if userxattr else ""))


def _remove_probe(place: str) -> None:
    from carboy.base.fs import remove_tree

    with contextlib.suppress(OSError):
        mounts.umount(f"{place}/merged")
    remove_tree(place)


def try_id_mapped_mount(folder: str) -> str:
    """Make a detached id-mapped copy of the mount that ``folder`` lies on; needs root. Source: mount_setattr(2)."""

    def attempt() -> None:
        wait_fd, go_fd = os.pipe()
        done_fd, say_fd = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(go_fd)
                namespaces.unshare(namespaces.CLONE_NEWUSER)
                os.write(say_fd, b"1")
                os.read(wait_fd, 1)
            finally:
                os._exit(0)
        os.close(say_fd)
        try:
            if not os.read(done_fd, 1):
                raise OSError(errno.EPERM, "a user namespace cannot be made")
            extents = [(0, 1_879_048_192, 65_536)]
            namespaces.write_id_maps(pid, extents, extents, deny_setgroups=False)
            user_fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
            tree_fd = mounts.open_tree(folder)
            mounts.mount_setattr(tree_fd, attr_set=mounts.MOUNT_ATTR_IDMAP, userns_fd=user_fd)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    return _try(attempt)


def try_openat2() -> str:
    """Open a directory with restrictions on its path (Linux 5.6)."""
    try:
        os.close(files.openat2(mounts.AT_FDCWD, b"/", _DIRECTORY, resolve=files.RESOLVE_NO_MAGICLINKS))
    except OSError as error:
        return str(error.strerror)
    return ""


def try_mount_setattr(tier: str) -> str:
    """Call mount_setattr (Linux 5.12) on no descriptor, in the tier: EBADF says that it is there and allowed."""

    def attempt() -> None:
        enter_tier(tier)
        namespaces.unshare(namespaces.CLONE_NEWNS)
        try:
            mounts.mount_setattr(-1, attr_set=mounts.MOUNT_ATTR_RDONLY)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise

    return _try(attempt)


def try_seccomp() -> str:
    """Load carboy's own filter into a child."""
    return _try(lambda: seccomp.load(seccomp.compile_profile(emulate_root=False)))
