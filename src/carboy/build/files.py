"""A folder's files as a layer: the same whoever checked it out, when, and with which umask."""

from __future__ import annotations

import fnmatch
import os
from typing import TYPE_CHECKING

from carboy.base.fs import translate_os_errors
from carboy.layers.apply import commit_tree
from carboy.layers.batch import LayerResult

if TYPE_CHECKING:
    from carboy.store.store import Store


def is_ignored(path: str, patterns: tuple[str, ...]) -> bool:
    """Return whether a path relative to the folder is left out; as .dockerignore, the last pattern that fits decides.

    A pattern without a slash fits a name at any depth, as .gitignore has it; ``!`` takes a file back in.
    """
    ignored = False
    for pattern in patterns:
        negated = pattern.startswith("!")
        bare = pattern.removeprefix("!").strip("/")
        name = path.rpartition("/")[2]
        if fnmatch.fnmatchcase(path, bare) or ("/" not in bare and fnmatch.fnmatchcase(name, bare)):
            ignored = not negated
    return ignored


def is_left_out(path: str, patterns: tuple[str, ...]) -> bool:
    """Return whether a path, or a folder above it, is left out: nothing of such a folder is looked at."""
    parts = path.split("/")
    return any(is_ignored("/".join(parts[: count + 1]), patterns) for count in range(len(parts)))


def list_files(folder: str, patterns: tuple[str, ...], apart: tuple[str, ...] = ()) -> list[tuple[str, os.stat_result]]:
    """Return (relative path, status) of what goes into the image, in order; links are themselves, never followed.

    What is at the paths ``apart`` goes another way.
    """
    result: list[tuple[str, os.stat_result]] = []
    stack = [""]
    while stack:
        above = stack.pop()
        with os.scandir(f"{folder}/{above}") as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                path = f"{above}{entry.name}"
                if path in apart or is_ignored(path, patterns):
                    continue
                result.append((path, entry.stat(follow_symlinks=False)))
                if entry.is_dir(follow_symlinks=False):
                    stack.append(f"{path}/")
    return sorted(result)


def commit_files(
    store: Store, folder: str, *, target: str, ignore: tuple[str, ...], apart: tuple[str, ...] = (), mtime_s: int
) -> LayerResult:
    """Make the layer: owners are root, modes 0644 or 0755, times ``mtime_s``. Raises ``CarboyError``."""
    from shutil import copyfile

    with store.layers.ingest_dir() as ingest, translate_os_errors(f"read the folder {folder}"):
        root = f"{ingest}/tree{target}"
        above = f"{ingest}/tree"
        for part in target.strip("/").split("/"):
            above = f"{above}/{part}"
            _make_directory(above, mtime_s)
        directories = [root]
        for path, _ in list_files(folder, ignore, apart):
            source, destination = f"{folder}/{path}", f"{root}/{path}"
            if os.path.islink(source):
                os.symlink(os.readlink(source), destination)
            elif os.path.isdir(source):
                _make_directory(destination, mtime_s)
                directories.append(destination)
                continue
            elif os.path.isfile(source):
                copyfile(source, destination)
                os.chmod(destination, 0o755 if os.stat(source).st_mode & 0o111 else 0o644)
            else:
                continue  # a socket or a device has no place in an image
            os.utime(destination, (mtime_s, mtime_s), follow_symlinks=False)
        for directory in reversed(directories):
            os.utime(directory, (mtime_s, mtime_s))
        return commit_tree(store, ingest, mtime_cap=mtime_s)


def _make_directory(path: str, mtime_s: int) -> None:
    os.mkdir(path, 0o755)
    os.chmod(path, 0o755)  # noqa: S103  the same whatever the umask
    os.utime(path, (mtime_s, mtime_s))


def fingerprint(folder: str, patterns: tuple[str, ...], apart: tuple[str, ...] = ()) -> str:
    """Return a hash over names, kinds, executable bits and contents of what goes into the image."""
    import hashlib

    total = hashlib.sha256()
    with translate_os_errors(f"read the folder {folder}"):
        for path, status in list_files(folder, patterns, apart):
            full = f"{folder}/{path}"
            kind = f"{status.st_mode & 0o170000:o}{'x' if status.st_mode & 0o111 else '-'}"
            content = b""
            if os.path.islink(full):
                content = os.fsencode(os.readlink(full))
            elif os.path.isfile(full):
                with open(full, "rb") as file:
                    content = hashlib.file_digest(file, "sha256").digest()
            total.update(
                b"%d:%s:%s:%d:%s" % (len(os.fsencode(path)), os.fsencode(path), kind.encode(), len(content), content)
            )
    return total.hexdigest()
