"""Unpacked layers, by diff id: a tree is published whole or not at all, and never changed after that."""

from __future__ import annotations

import errno
import fcntl
import os

from carboy.store.claims import Gate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Any

    from carboy.base.home import Home
    from carboy.oci.digest import Digest
    from carboy.store.claims import Claims


class IngestDir:
    """A folder below ``ingest/`` for a block; see :meth:`LayerStore.ingest_dir`."""

    __slots__ = ("_home", "_lock", "_path")

    def __init__(self, home: Home) -> None:
        self._home = home
        self._path = f"{home.ingest}/{os.urandom(12).hex()}"

    def __enter__(self) -> str:
        with ingest_gate(self._home, exclusive=False):
            os.mkdir(self._path, 0o700)
            self._lock = os.open(f"{self._path}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            os.mkdir(f"{self._path}/tree", 0o755)
            os.chmod(f"{self._path}/tree", 0o755)  # noqa: S103  the root directory of a container
        except BaseException:
            self._end()
            raise
        return self._path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        try:
            if os.path.isdir(self._path):
                discard(self._home, self._path)
        finally:
            os.close(self._lock)


class LayerStore:
    """The unpacked layers below ``layers/<kind>/<hex of the diff id>/{tree/,meta.json}``.

    ``kind`` is "multi" where files have many owners on the disk and "single" where all have one: the same layer looks
    different there, so a user whose id range comes or goes unpacks it again.
    """

    def __init__(self, home: Home, kind: str, claims: Claims) -> None:
        self.folder = f"{home.layers}/{kind}"
        self._home = home
        self._claims = claims

    def path(self, diff_id: Digest) -> str:
        """Return the tree of a layer, there or not."""
        return self.path_of_hex(diff_id.hex)

    def path_of_hex(self, hex_digits: str) -> str:
        """Return the tree of the layer whose diff id has these digits."""
        return f"{self.folder}/{hex_digits}/tree"

    def has(self, diff_id: Digest) -> bool:
        """Return whether the layer is unpacked; if so it counts as just used."""
        return self._claims.touch(f"{self.folder}/{diff_id.hex}")

    def has_hex(self, hex_digits: str) -> bool:
        """Return whether the layer is unpacked, for a caller that holds another claim to it; writes nothing."""
        return os.path.isdir(f"{self.folder}/{hex_digits}")

    def meta(self, diff_id: Digest) -> dict[str, Any]:
        """Return what was noted of the layer when it was published."""
        with open(f"{self.folder}/{diff_id.hex}/meta.json", "rb") as file:
            import json

            value: dict[str, Any] = json.load(file)
        return value

    def ingest_dir(self) -> IngestDir:
        """Return a new folder with an empty ``tree/`` in it, removed at the end unless it was published."""
        return IngestDir(self._home)

    def publish(self, diff_id: Digest, ingest_dir: str, meta: dict[str, Any]) -> None:
        """Make the finished tree the layer ``diff_id``, durably; when another process was first, its tree stays."""
        self.note(ingest_dir, meta)
        self.sync(ingest_dir)
        self.publish_synced([(diff_id, ingest_dir)])

    @staticmethod
    def note(ingest_dir: str, meta: dict[str, Any]) -> None:
        """Write down what :meth:`meta` will say of a finished tree."""
        import json

        with open(f"{ingest_dir}/meta.json", "w", encoding="utf-8") as file:
            json.dump(meta, file, sort_keys=True)

    @staticmethod
    def sync(ingest_dir: str) -> int:
        """Wait until all that was written to the file system of a tree is on its disk; returns the file system's number."""
        from carboy.linux.files import syncfs

        fd = os.open(ingest_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            syncfs(fd)
            return os.fstat(fd).st_dev
        finally:
            os.close(fd)

    def publish_synced(self, trees: Sequence[tuple[Digest, str]]) -> None:
        """Publish trees, by diff id and ingest folder, that were noted and synced; durable together at the end."""
        from carboy.base.fs import fsync_dir

        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        for diff_id, ingest_dir in trees:
            with ingest_gate(self._home, exclusive=False):
                os.unlink(f"{ingest_dir}/lock")
                try:
                    os.rename(ingest_dir, f"{self.folder}/{diff_id.hex}")
                except OSError as error:
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                        raise
        fsync_dir(self.folder)

    def remove(self, diff_id: Digest) -> None:
        """Remove an unpacked layer: out of sight at once, off the disk after that."""
        discard(self._home, f"{self.folder}/{diff_id.hex}")

    def diff_ids(self) -> list[str]:
        """Return the digits of every unpacked layer's diff id, in order."""
        try:
            return sorted(os.listdir(self.folder))
        except FileNotFoundError:
            return []


def discard(home: Home, path: str) -> None:
    """Move a folder to the trash, then remove it; killed in between, the next opener removes it."""
    from carboy.base.fs import remove_tree

    target = f"{home.trash}/{os.urandom(12).hex()}"
    try:
        os.rename(path, target)
    except FileNotFoundError:
        return
    remove_tree(target)


def ingest_gate(home: Home, *, exclusive: bool) -> Gate:
    """Keep "made but not yet locked" and "is it locked" apart."""
    return Gate(f"{home.run}/ingest", exclusive=exclusive)


def recover(home: Home) -> None:
    """Remove what interrupted processes left in ``ingest/`` and ``trash/``. Cheap when there is nothing; idempotent."""
    if not os.listdir(home.ingest) and not os.listdir(home.trash):
        return
    from carboy.base.fs import remove_tree

    with ingest_gate(home, exclusive=True):
        dead = [
            f"{home.ingest}/{name}" for name in os.listdir(home.ingest) if not _is_locked(f"{home.ingest}/{name}/lock")
        ]
        for path in dead:
            os.rename(path, f"{home.trash}/{os.urandom(12).hex()}")
    for name in os.listdir(home.trash):
        remove_tree(f"{home.trash}/{name}")  # another process may be removing it, too


def _is_locked(path: str) -> bool:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
