"""``--chown`` and the owner of WORKDIR: names by the image's own files, and who owns what where the disk cannot say it."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from carboy.errors import CarboyError
from carboy.runtime.passwd import MAX_FILE_BYTES, UnknownUserError, resolve_user
from carboy.snapshots.merged import Folder, find

if TYPE_CHECKING:
    from collections.abc import Iterable

    from carboy.oci.digest import Digest
    from carboy.store.store import Store

Ids = tuple[int, int]


def resolve_chown(text: str, root: Folder | None) -> Ids | None:
    """Return the (uid, gid) of "user[:group]", names by ``root``'s passwd and group; None for "".

    A user alone brings its group: a number that has no entry the same number (``--chown=1000`` is 1000:1000), a name its
    entry's. Raises ``CarboyError`` for a name that the image does not have, as the reference says; BuildKit takes root's id
    silently. ``root`` None: there is no image to look in, and names are refused.
    """
    if not text:
        return None
    user, has_group, group = text.partition(":")
    if user.isdigit() and not group:
        return _both(user, user)
    if user.isdigit() and group.isdigit():
        return _both(user, group)
    if root is None:
        raise CarboyError(
            f"--chown={text} names somebody, but with --link there is no image to look the name up in",
            hint="use numbers, or leave --link out",
        )
    passwd, groups = (_read(root, name) for name in ("passwd", "group"))
    try:
        uid, gid, _, _ = resolve_user(f"{user}:{group}" if has_group and group else user, passwd, groups)
    except UnknownUserError as error:
        raise CarboyError(
            f"--chown={text}: {error}", hint="make it before, by RUN useradd or groupadd, or use numbers"
        ) from error
    return uid, gid


def resolve_owner(text: str, root: Folder) -> Ids:
    """Return the (uid, gid) of USER's text, as a process of it would have them. Raises ``CarboyError``."""
    if text in {"", "0", "root", "0:0", "root:root"}:
        return 0, 0
    try:
        uid, gid, _, _ = resolve_user(text, _read(root, "passwd"), _read(root, "group"))
    except UnknownUserError as error:
        raise CarboyError(f"USER {text}: {error}", hint="make it before, by RUN useradd, or use a number") from error
    return uid, gid


def _both(user: str, group: str) -> Ids:
    uid, gid = int(user), int(group)
    if max(uid, gid) > 2**32 - 2:
        raise CarboyError(f"{user}:{group} is past the last user id")
    return uid, gid


def _read(root: Folder, name: str) -> bytes:
    """Return a file of the image's /etc; a missing one, or one that is no file, is empty."""
    try:
        with find(root, f"/etc/{name}".encode()) as place:
            if place.entry is None or place.folder is None or not stat.S_ISREG(place.entry.status.st_mode):
                return b""
            fd = place.folder.open_file(place.name)
    except OSError:
        return b""
    try:
        return os.read(fd, MAX_FILE_BYTES)
    finally:
        os.close(fd)


class Owners:
    """Whose the files of a state are, in the tier in which all on the disk are one user's: as its layers noted it."""

    def __init__(self, noted: dict[bytes, Ids] | None = None) -> None:
        self._noted = noted or {}

    @classmethod
    def read(cls, store: Store, chain: Iterable[Digest]) -> Owners:
        """Return those of layers, lowest first; nothing in the tiers where the disk knows."""
        noted: dict[bytes, Ids] = {}
        if store.kind != "single":
            return cls()
        for diff_id in chain:
            noted.update(
                (os.fsencode(name), (ids[0], ids[1])) for name, ids in store.layers.meta(diff_id)["owners"].items()
            )
        return cls(noted)

    def get(self, path: bytes, default: Ids) -> Ids:
        """Return whose ``path`` (without a leading "/") is."""
        return self._noted.get(path, default)

    def restrict(self, tree: str, own: dict[bytes, Ids]) -> dict[bytes, Ids]:
        """Return the owners of a new layer's tree: ``own`` where that says so, what lower layers noted of the others."""
        if not self._noted:
            return {path: ids for path, ids in own.items() if ids != (0, 0)}
        result: dict[bytes, Ids] = {}
        root = os.fsencode(tree)
        for above, folders, files in os.walk(root):
            for name in (*folders, *files):
                path = os.path.join(above, name)[len(root) + 1 :]
                ids = own.get(path) or self._noted.get(path)
                if ids is not None and ids != (0, 0):
                    result[path] = ids
        return result
