"""Volumes on the disk.

::

    volumes/<name>/
        lock            held (flock) by who changes anything here, for moments; and while the first contents come
        meta.json       Volume: when it was made, its labels, whether it is anonymous
        data/           what containers see; ids on it are the image's
        users/<id>      one empty file for each container that has the volume, running or not
        filling         the first contents are coming, or whoever brought them died: then they come again
    volumes/.new-<random>/    being made: appears under its name as a whole
    volumes/.old-<random>/    on its way off the disk: anybody may remove it

A volume is locked, then looked at again: its folder may have been renamed away meanwhile, which is how one is removed. A
user whose container is gone does not count, so nothing that dies half-way keeps a volume for ever.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.base.fs import fsync_dir, make_dir, remove_at, remove_tree, translate_os_errors, write_durable
from carboy.errors import CarboyError
from carboy.linux.files import syncfs
from carboy.volumes.name import find_issue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from carboy.base.home import Home

_NEW, _OLD = ".new-", ".old-"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_ATTEMPTS = 100
_PATIENCE_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A volume: ``path`` is the folder that containers see, ``users`` the ids of those that have it, sorted.

    ``created_at_s`` is in seconds since 1970. An ``anonymous`` one goes with its container.
    """

    name: str
    path: str
    created_at_s: float
    labels: tuple[tuple[str, str], ...] = ()
    anonymous: bool = False
    users: tuple[str, ...] = ()


class VolumeStore:
    """The volumes of one home. Any number of processes may use it at once; holds nothing open between calls."""

    def __init__(self, home: Home) -> None:
        self._path = f"{home.path}/volumes"
        self._containers = home.containers

    def create(self, name: str | None = None, *, labels: Mapping[str, str] | None = None) -> Volume:
        """Make a volume and return it; without a name an anonymous one. One that is there is returned as it is.

        Durable, and there as a whole or not at all. Raises ``CarboyError`` for a bad name, or when the disk refuses.
        """
        anonymous = name is None
        name = os.urandom(32).hex() if name is None else name
        issue = find_issue(name)
        if issue:
            raise CarboyError(f"create {name}: {issue}", hint="use letters, digits, and behind the first also _ . -")
        with translate_os_errors(f"make the volume {name}"):
            make_dir(self._path)
            self._remove_rests()
            for _ in range(_ATTEMPTS):
                try:
                    return self._read(name)
                except FileNotFoundError:
                    self._make(name, labels or {}, anonymous=anonymous)
        raise CarboyError(f"the volume {name} is removed as often as it is made")

    def _make(self, name: str, labels: Mapping[str, str], *, anonymous: bool, user: str = "") -> None:
        """Make a volume, in use by ``user`` from the beginning; one that is there by then stays."""
        for _ in range(_ATTEMPTS):
            new = f"{self._path}/{_NEW}{os.urandom(8).hex()}"
            os.mkdir(new, 0o700)
            held = os.open(f"{new}/lock", _LOCK | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                fcntl.flock(held, fcntl.LOCK_EX)
                if not os.fstat(held).st_nlink:
                    continue  # taken for a dead one before it was locked
                for folder, mode in (("data", 0o755), ("users", 0o700)):
                    os.mkdir(f"{new}/{folder}", mode)
                    os.chmod(f"{new}/{folder}", mode)
                if user:
                    _touch(f"{new}/users/{user}")
                meta = {"created_at_s": time.time(), "labels": dict(labels), "anonymous": anonymous}
                write_durable(f"{new}/meta.json", json.dumps(meta, sort_keys=True).encode())
                fsync_dir(new)
                try:
                    os.rename(new, f"{self._path}/{name}")
                except OSError as error:
                    remove_tree(new)
                    if error.errno not in {errno.EEXIST, errno.ENOTEMPTY}:
                        raise
                    return  # somebody else was quicker: theirs is as good
                fsync_dir(self._path)
                return
            finally:
                os.close(held)

    def list_volumes(self) -> list[Volume]:
        """Return all volumes, sorted by name."""
        found = []
        for name in self._names():
            try:
                found.append(self._read(name))
            except FileNotFoundError:
                continue
        return found

    def inspect(self, name: str) -> Volume:
        """Return one volume. Raises ``CarboyError`` with the nearest name when there is none."""
        try:
            if not find_issue(name):
                return self._read(name)
        except (FileNotFoundError, NotADirectoryError):
            pass
        raise self._unknown(name)

    def acquire(self, name: str, container_id: str, *, fill: Callable[[int], None] | None = None) -> Volume:
        """Note that a container has the volume, which is made when it is missing, and return it.

        The container's folder must be there already, or the note counts for nothing. While the volume is empty, ``fill``
        is called with a descriptor of its folder, to bring the image's contents; other users wait for that. When it fails, or
        this process dies, the volume is empty again for the next one. Raises ``CarboyError``.
        """
        issue = find_issue(name)
        if issue:
            raise CarboyError(
                f"create {name}: {issue}", hint="use letters, digits, and behind the first also _ . -", code=125
            )
        with translate_os_errors(f"use the volume {name}"):
            make_dir(self._path)
            for _ in range(_ATTEMPTS):
                try:
                    with self._locked(name) as path:
                        _touch(f"{path}/users/{container_id}")
                        if fill is not None:
                            _fill(path, fill)
                        return self._read(name)
                except FileNotFoundError:
                    if os.path.isdir(f"{self._path}/{name}"):
                        raise
                    self._make(name, {}, anonymous=False, user=container_id)
        raise CarboyError(f"the volume {name} is removed as often as it is made", code=125)

    def release(self, container_id: str, *, remove_anonymous: bool) -> list[str]:
        """Take a container's notes back, and return the names of the volumes that were removed with it.

        Anonymous ones are, when asked for and nobody else has them (``rm -v``, ``--rm``). Idempotent.
        """
        removed = []
        for name in self._names():
            if not os.path.lexists(f"{self._path}/{name}/users/{container_id}"):
                continue
            try:
                with self._locked(name) as path:
                    try:
                        os.unlink(f"{path}/users/{container_id}")
                    except FileNotFoundError:
                        continue
                    volume = self._read(name)
                    if remove_anonymous and volume.anonymous and not volume.users:
                        self._take_away(name)
                        removed.append(name)
            except FileNotFoundError:
                continue
        self._remove_rests()
        return removed

    def remove(self, name: str, *, force: bool = False) -> None:
        """Remove a volume with all that is in it. ``force`` does not mind a missing one, and never takes one in use.

        Raises ``CarboyError``.
        """
        try:
            if find_issue(name):
                raise FileNotFoundError(name)
            with self._locked(name):
                volume = self._read(name)
                if volume.users:
                    users = ", ".join(user[:12] for user in volume.users)
                    hint = f"carboy rm {volume.users[0][:12]}"
                    raise CarboyError(f"remove {name}: volume is in use - [{users}]", hint=hint)
                self._take_away(name)
        except (FileNotFoundError, NotADirectoryError):
            if not force:
                raise self._unknown(name) from None
        self._remove_rests()

    def prune(self, *, all: bool = False, accept: Callable[[Volume], bool] | None = None) -> tuple[list[str], int]:
        """Remove the anonymous volumes that no container has (``all``: the named as well), and those only that ``accept``.

        Returns their names and how many bytes they had on the disk.
        """
        names, size_bytes = [], 0
        for volume in self.list_volumes():
            if volume.users or not (volume.anonymous or all) or (accept is not None and not accept(volume)):
                continue
            size = measure(volume.path)
            try:
                self.remove(volume.name)
            except CarboyError:
                continue  # somebody took it meanwhile
            names.append(volume.name)
            size_bytes += size
        return names, size_bytes

    # --- below --------------------------------------------------------------------------------------------------

    def _names(self) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self._path) if not name.startswith("."))
        except FileNotFoundError:
            return []

    def _read(self, name: str) -> Volume:
        path = f"{self._path}/{name}"
        with open(f"{path}/meta.json", "rb") as file:
            meta = json.loads(file.read())
        users = [user for user in os.listdir(f"{path}/users") if os.path.isdir(f"{self._containers}/{user}")]
        return Volume(
            name=name,
            path=f"{path}/data",
            created_at_s=float(meta["created_at_s"]),
            labels=tuple(sorted(meta["labels"].items())),
            anonymous=bool(meta["anonymous"]),
            users=tuple(sorted(users)),
        )

    @contextmanager
    def _locked(self, name: str) -> Iterator[str]:
        """Hold the volume's lock; yields its path. Raises ``FileNotFoundError`` when it is gone."""
        path = f"{self._path}/{name}"
        while True:
            held = os.open(f"{path}/lock", _LOCK)
            try:
                fcntl.flock(held, fcntl.LOCK_EX)
                if _is_same(held, f"{path}/lock"):
                    yield path
                    return
            finally:
                os.close(held)

    def _take_away(self, name: str) -> None:
        """Take a volume, whose lock is held, out of sight. What is then on the disk is removed by anybody."""
        os.rename(f"{self._path}/{name}", f"{self._path}/{_OLD}{os.urandom(8).hex()}")
        fsync_dir(self._path)

    def _remove_rests(self) -> None:
        """Remove what was taken away, and what was being made by somebody who died."""
        try:
            names = [name for name in os.listdir(self._path) if name.startswith((_NEW, _OLD))]
        except FileNotFoundError:
            return
        for name in names:
            path = f"{self._path}/{name}"
            held = _lock_dead(path) if name.startswith(_NEW) else -1
            if held is None:
                continue
            try:
                remove_tree(path)
            except OSError:
                continue  # somebody else is at it, or the next one tries again
            finally:
                if held >= 0:
                    os.close(held)

    def _unknown(self, name: str) -> CarboyError:
        import difflib

        near = difflib.get_close_matches(name, self._names(), n=1)
        hint = f"did you mean {near[0]}?" if near else "`carboy volume ls` lists them"
        return CarboyError(f"get {name}: no such volume", hint=hint)


def _is_same(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _touch(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _lock_dead(path: str) -> int | None:
    """Return the lock of a volume that nobody is making any more, now ours; None when somebody is, or it is gone.

    One without a lock has a maker who died between two system calls, or comes to the next one: it is given a minute.
    """
    try:
        if time.time() - os.stat(path).st_ctime > _PATIENCE_S:
            held = os.open(f"{path}/lock", _LOCK | os.O_CREAT, 0o600)
        else:
            held = os.open(f"{path}/lock", _LOCK)
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        os.close(held)
        return None
    return held


def _fill(path: str, fill: Callable[[int], None]) -> None:
    """Bring the first contents into the volume at ``path``, unless it has some."""
    data = os.open(f"{path}/data", _FOLDER)
    try:
        if os.path.lexists(f"{path}/filling"):
            _empty(data)
        elif os.listdir(data):
            return
        write_durable(f"{path}/filling", b"")
        try:
            fill(data)
        except BaseException:
            _empty(data)
            os.unlink(f"{path}/filling")
            raise
        syncfs(data)
        os.unlink(f"{path}/filling")
        fsync_dir(path)
    finally:
        os.close(data)


def _empty(data: int) -> None:
    for name in os.listdir(data):
        remove_at(data, name)


def measure(path: str) -> int:
    """Return the bytes that a tree takes on the disk; what goes away meanwhile, or is closed to us, counts nothing."""
    total = 0
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except OSError:
                continue
    return total
