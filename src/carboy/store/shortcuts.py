"""What a start needs of ``state.db``, in a file per image name, so that a start need not load SQLite.

Loading it costs what the rest of carboy's imports cost together. A shortcut holds nothing that the database does not say,
and is only believed while the database is the one that it was taken from: its first line is the *stamp*, the identities,
sizes and times of the last change of ``state.db`` and of its log. Every commit changes one of these, whoever made it.

Times of files are those of the last clock tick. So that no commit can hide in the tick that a stamp was taken in, no shortcut
is made of a database that changed a moment ago. And so that none can be written but not yet visible, the stamp of a new
shortcut is taken while writers are kept out (:meth:`carboy.store.store.Store.hold_still`).
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.base.home import Home

# Far longer than a tick (10 ms with HZ=100), far shorter than anybody waits between a build and the second start.
QUIET_S = 0.25
MAX_NAME_LENGTH = 200


class Shortcuts:
    """The shortcuts of a home, ``run/starts/<name>``; each one a stamp, a line feed, and a text of the caller's."""

    __slots__ = ("_database", "_folder")

    def __init__(self, home: Home) -> None:
        self._database = home.state_db
        self._folder = f"{home.run}/starts"

    def read(self, name: str) -> str | None:
        """Return the text kept under ``name``; None when there is none, or the database has changed since."""
        path = self._path(name)
        if path is None:
            return None
        try:
            with open(path, "rb") as file:
                stamp, _, text = file.read().decode().partition("\n")
        except (OSError, UnicodeDecodeError):
            return None
        return text if text and stamp == self.take_stamp() else None

    def write(self, name: str, text: str, *, stamp: str | None) -> None:
        """Keep a text under ``name``, and remove what is no longer true; on a disk that is full, or fails, do without.

        ``stamp`` is that of the database that the text was taken from; nothing is kept without one.
        """
        path = self._path(name)
        if stamp is None or path is None:
            return
        from carboy.base.fs import write_durable

        try:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            for other in os.listdir(self._folder):
                self._remove_old(f"{self._folder}/{other}", stamp)
            write_durable(path, f"{stamp}\n{text}".encode())
        except OSError:
            return

    def take_stamp(self) -> str | None:
        """Return the stamp of the database as it is now; None when it has changed a moment ago, or is not there."""
        parts = []
        for path in (self._database, f"{self._database}-wal"):
            try:
                status = os.stat(path)
            except FileNotFoundError:
                parts.append("-")
                continue
            if not status.st_size:  # an empty log comes and goes with those who read
                parts.append("-")
                continue
            if abs(time.time() - status.st_mtime) < QUIET_S:
                return None
            parts.append(f"{status.st_dev}.{status.st_ino}.{status.st_size}.{status.st_mtime_ns}")
        return None if parts[0] == "-" else " ".join(parts)

    def _path(self, name: str) -> str | None:
        quoted = name.replace("%", "%25").replace("/", "%2F")
        usable = 0 < len(quoted) <= MAX_NAME_LENGTH and quoted.isascii() and quoted.isprintable()
        return f"{self._folder}/{quoted}" if usable and not quoted.startswith(".") else None

    @staticmethod
    def _remove_old(path: str, stamp: str) -> None:
        try:
            with open(path, "rb") as file:
                if file.read(len(stamp) + 1) != f"{stamp}\n".encode():
                    os.unlink(path)
        except FileNotFoundError:
            pass
