"""``state.db``: names and what is cached. SQLite in WAL mode with full durability.

Opening an existing database writes nothing, so that it costs a start nothing to look a name up. For the same reason the C
half of ``sqlite3`` is used: the other half only adds adapters for dates, and imports much for that.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence
    from types import TracebackType
    from typing import Any

    from carboy.base.home import Home
    from carboy.errors import CarboyError
    from carboy.oci.descriptor import Descriptor
    from carboy.oci.digest import Digest
    from carboy.store.shortcuts import Shortcuts
else:
    import _sqlite3 as sqlite3

VERSION = 1
BUSY_TIMEOUT_S = 30
_SCHEMA = """
CREATE TABLE refs (
    name TEXT PRIMARY KEY, digest TEXT NOT NULL, media_type TEXT NOT NULL, size INTEGER NOT NULL, created_at_s REAL NOT NULL);
CREATE TABLE cache (key TEXT PRIMARY KEY, kind TEXT NOT NULL, value TEXT NOT NULL, created_at_s REAL NOT NULL);
CREATE TABLE cache_digests (
    key TEXT NOT NULL REFERENCES cache (key) ON DELETE CASCADE, digest TEXT NOT NULL, PRIMARY KEY (key, digest));
"""


def open_database(path: str) -> sqlite3.Connection:
    """Return the connection, the schema made when the file is new. Raises ``CarboyError`` for a newer or damaged one."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            _create(connection, path)
        elif version != VERSION:
            _refuse(
                f"it has version {version}, this carboy reads {VERSION}",
                "use the carboy that wrote it, or another CARBOY_HOME",
            )
    except sqlite3.DatabaseError as error:
        raise translate(error) from error
    return connection


def translate(error: sqlite3.Error) -> CarboyError:
    """Return what a failure of SQLite's means to a person."""
    from carboy.errors import FREE_SPACE, CarboyError

    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}:
        hint = f"{FREE_SPACE}; CARBOY_HOME names another place"
        return CarboyError(
            "the state database cannot be written: the disk is full, or fails", details=str(error), hint=hint
        )
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return CarboyError(
            "the state database is busy", details=str(error), hint="wait for the other carboy, then try again"
        )
    hint = "move state.db away; images are found again by building them"
    return CarboyError("the state database cannot be read", details=str(error), hint=hint)


def _refuse(details: str, hint: str) -> None:
    from carboy.errors import CarboyError

    raise CarboyError("the state database cannot be read", details=details, hint=hint)


def _create(connection: sqlite3.Connection, path: str) -> None:
    os.chmod(path, 0o600)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("BEGIN IMMEDIATE")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        for statement in _SCHEMA.strip().split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={VERSION}")
    connection.execute("COMMIT")


class RefStore:
    """Names of images. The table is the truth; ``index.json`` follows it for other tools."""

    def __init__(self, connection: sqlite3.Connection, home: Home) -> None:
        self._db = connection
        self._home = home

    def set(self, name: str, descriptor: Descriptor) -> None:
        """Give ``name`` (a full reference) to a manifest that is in the store; durable when this returns.

        A name that it has already stays as old as it is.
        """
        row = (name, str(descriptor.digest), descriptor.media_type, descriptor.size)
        own = self._db.execute("SELECT name, digest, media_type, size FROM refs WHERE name = ?", (name,)).fetchone()
        if own != row:
            self._db.execute("INSERT OR REPLACE INTO refs VALUES (?, ?, ?, ?, ?)", (*row, time.time()))
        self._write_index()

    def find_digest(self, name: str) -> str | None:
        """Return the digest's text, or None. The way of every start: nothing else is loaded for it."""
        row = self._db.execute("SELECT digest FROM refs WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def get(self, name: str) -> Descriptor | None:
        """Return the manifest's descriptor, or None."""
        return next((d for n, d, _ in self.list() if n == name), None)

    def remove(self, name: str) -> bool:
        """Forget a name and return whether it was there; the content stays until clean-up."""
        removed = self._db.execute("DELETE FROM refs WHERE name = ?", (name,)).rowcount > 0
        if removed:
            self._write_index()
        return removed

    def list(self) -> list[tuple[str, Descriptor, float]]:
        """Return (name, descriptor, when it was given in seconds since 1970), by name."""
        from carboy.oci.descriptor import Descriptor
        from carboy.oci.digest import Digest

        rows = self._db.execute(
            "SELECT name, digest, media_type, size, created_at_s FROM refs ORDER BY name"
        ).fetchall()
        return [(n, Descriptor(media_type=m, digest=Digest.parse(d), size=s), t) for n, d, m, s, t in rows]

    def _write_index(self) -> None:
        """Write ``index.json`` to match the table. Source: OCI image-spec, image-layout.md."""
        import fcntl

        import msgspec

        from carboy.base.fs import write_durable
        from carboy.oci.index import make_index
        from carboy.oci.reference import Reference

        fd = os.open(f"{self._home.run}/index", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            entries = []
            for name, descriptor, _ in self.list():
                annotations = {"org.opencontainers.image.ref.name": Reference.parse(name).familiar}
                entries.append(msgspec.structs.replace(descriptor, annotations=annotations))
            path, data = f"{self._home.store}/index.json", make_index(tuple(entries)).raw
            if _read_file(path) != data:
                write_durable(path, data)
        finally:
            os.close(fd)


def _read_file(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


class CacheEntry:
    """A cached result: any JSON object, and the digests that it keeps alive."""

    __slots__ = ("created_at_s", "value")

    def __init__(self, value: dict[str, Any], created_at_s: float) -> None:
        self.value = value
        self.created_at_s = created_at_s


class CacheRow:
    """What is known of an entry without reading it; ``size_bytes`` is its value's, ``digests`` are kept alive by it."""

    __slots__ = ("created_at_s", "digests", "key", "kind", "size_bytes")

    def __init__(self, key: str, kind: str, size_bytes: int, created_at_s: float, digests: tuple[str, ...]) -> None:
        self.key = key
        self.kind = kind
        self.size_bytes = size_bytes
        self.created_at_s = created_at_s
        self.digests = digests


class CacheStore:
    """Results by key, until they are pruned."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def get(self, key: str) -> CacheEntry | None:
        """Return the entry, or None."""
        import json

        row = self._db.execute("SELECT value, created_at_s FROM cache WHERE key = ?", (key,)).fetchone()
        return None if row is None else CacheEntry(json.loads(row[0]), row[1])

    def get_text(self, key: str) -> str | None:
        """Return the text of an entry that :meth:`put_text` made, or None. Nothing is parsed: the way of every start."""
        row = self._db.execute("SELECT value FROM cache WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def get_bytes(self, key: str) -> bytes | None:
        """Return the bytes of an entry that :meth:`put_bytes` made, or None."""
        row = self._db.execute("SELECT value FROM cache WHERE key = ?", (key,)).fetchone()
        return row[0] if row is not None and isinstance(row[0], bytes) else None

    def put(self, key: str, kind: str, value: dict[str, Any], digests: Sequence[Digest]) -> None:
        """Keep a result, in place of an older one, with the content that it refers to."""
        import json

        self.put_text(key, kind, json.dumps(value), digests)

    def put_text(self, key: str, kind: str, text: str, digests: Sequence[Digest]) -> None:
        """Keep a result as :meth:`put` does, in a form of the caller's own."""
        self._put(key, kind, text, digests)

    def put_bytes(self, key: str, kind: str, data: bytes) -> None:
        """Keep a result as :meth:`put_text` does, one that keeps no content alive."""
        self._put(key, kind, data, ())

    def _put(self, key: str, kind: str, value: str | bytes, digests: Sequence[Digest]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.execute("DELETE FROM cache WHERE key = ?", (key,))
            self._db.execute("INSERT INTO cache VALUES (?, ?, ?, ?)", (key, kind, value, time.time()))
            rows = {(key, str(digest)) for digest in digests}
            self._db.executemany("INSERT INTO cache_digests VALUES (?, ?)", sorted(rows))
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def try_to_hold(self) -> bool:
        """Keep writers out until :meth:`let_go`; False, without waiting, when one is at work."""
        self._db.execute("PRAGMA busy_timeout=0")
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        finally:
            self._db.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000}")
        return True

    def let_go(self) -> None:
        """Let writers in again."""
        self._db.execute("ROLLBACK")

    def forget(self, key: str, *, created_at_s: float | None = None) -> None:
        """Remove an entry; with a time only while it is the one of then."""
        self._db.execute("DELETE FROM cache WHERE key = ?1 AND ?2 IN (created_at_s, -1)", (key, created_at_s or -1))

    def list_rows(self) -> list[CacheRow]:
        """Return every entry without its value, by key."""
        digests: dict[str, list[str]] = {}
        for key, digest in self._db.execute("SELECT key, digest FROM cache_digests ORDER BY key, digest").fetchall():
            digests.setdefault(key, []).append(digest)
        rows = self._db.execute("SELECT key, kind, length(value), created_at_s FROM cache ORDER BY key").fetchall()
        return [
            CacheRow(key, kind, size, created_s, tuple(digests.get(key, ()))) for key, kind, size, created_s in rows
        ]

    def clear(self, *, but: Sequence[str] = ()) -> int:
        """Remove every entry, except those of the kinds ``but``, and return how many went."""
        marks = ", ".join("?" for _ in but)
        return self._db.execute(f"DELETE FROM cache WHERE kind NOT IN ({marks})", tuple(but)).rowcount  # noqa: S608

    def forget_digest(self, digest: Digest) -> list[str]:
        """Remove the entries that refer to ``digest`` and return their keys."""
        keys = [
            k for (k,) in self._db.execute("SELECT key FROM cache_digests WHERE digest = ?", (str(digest),)).fetchall()
        ]
        for key in keys:
            self.forget(key)
        return keys

    def digests(self, *, without: Collection[str] = ()) -> set[str]:
        """Return the digests that entries keep alive, but those of the keys in ``without``."""
        rows = self._db.execute("SELECT key, digest FROM cache_digests").fetchall()
        return {digest for key, digest in rows if key not in without}


class StillDatabase:
    """A block in which nobody writes; see :meth:`carboy.store.store.Store.hold_still`."""

    __slots__ = ("_cache", "_held", "_shortcuts")

    def __init__(self, cache: CacheStore, shortcuts: Shortcuts) -> None:
        self._cache = cache
        self._shortcuts = shortcuts

    def __enter__(self) -> str | None:
        self._held = self._cache.try_to_hold()
        return self._shortcuts.take_stamp() if self._held else None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._held:
            self._cache.let_go()
