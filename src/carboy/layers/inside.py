"""Finding directories of a tree that is being filled by somebody hostile: by descriptor, and never out of the tree."""

from __future__ import annotations

import errno
import os
import stat

from carboy.layers.errors import LayerError
from carboy.linux.files import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
MAX_LINKS = 40


def split_name(name: bytes, *, depth: int) -> list[bytes]:
    """Return the components of a member's name; [] is the root itself.

    Raises ``LayerError`` for ".." (no tool that writes layers writes it) and for a name that is too deep.
    """
    parts = [part for part in name.split(b"/") if part not in {b"", b"."}]
    if b".." in parts:
        raise LayerError(f"the layer holds the name {os.fsdecode(name)!r}, which leads out of it")
    if len(parts) > depth:
        raise LayerError(f"the layer holds a name of {len(parts)} levels")
    return parts


def open_directory(root: int, parts: list[bytes]) -> int:
    """Return a descriptor of a directory of the tree; links in it are followed as seen from inside.

    Raises ``OSError``: ENOENT, ENOTDIR, ELOOP.
    """
    path = b"/".join(parts) or b"."
    try:
        return openat2(root, path, _DIRECTORY, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
    return _walk(root, parts)


def _walk(root: int, parts: list[bytes]) -> int:
    """What RESOLVE_IN_ROOT does, a component at a time, for kernels before 5.6."""
    stack = [os.dup(root)]
    todo = list(reversed(parts))
    links = 0
    try:
        while todo:
            part = todo.pop()
            if part == b"..":
                if len(stack) > 1:
                    os.close(stack.pop())
                continue
            if not stat.S_ISLNK(os.stat(part, dir_fd=stack[-1], follow_symlinks=False).st_mode):
                stack.append(os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=stack[-1]))
                continue
            links += 1
            if links > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = os.readlink(part, dir_fd=stack[-1])
            if target.startswith(b"/"):
                while len(stack) > 1:
                    os.close(stack.pop())
            todo += [p for p in reversed(target.split(b"/")) if p not in {b"", b"."}]
        return os.dup(stack[-1])
    finally:
        for fd in stack:
            os.close(fd)


def make_directories(root: int, parts: list[bytes]) -> int:
    """Return a descriptor of a directory, made with its parents (0755, owned by root) where they are missing."""
    try:
        return open_directory(root, parts)
    except FileNotFoundError:
        pass
    for count in range(1, len(parts) + 1):
        try:
            os.close(open_directory(root, parts[:count]))
        except FileNotFoundError:
            parent = open_directory(root, parts[: count - 1])
            try:
                os.mkdir(parts[count - 1], 0o755, dir_fd=parent)
                os.chmod(parts[count - 1], 0o755, dir_fd=parent)  # noqa: S103
            except FileExistsError:
                raise LayerError(
                    f"{os.fsdecode(parts[count - 1])!r} is a link to nowhere, and the layer writes below it"
                ) from None
            finally:
                os.close(parent)
    return open_directory(root, parts)


def remove_entry(parent: int, name: bytes) -> None:
    """Remove an entry of a directory, with all below it, never following a link; one that is not there is fine."""
    from carboy.base.fs import remove_at

    remove_at(parent, name)
