"""Being told when the files of a folder change. Source: inotify(7)."""

from __future__ import annotations

import os

from carboy.linux import foreign
from carboy.linux.libc import LIBC, check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

IN_MODIFY, IN_MOVED_TO, IN_CREATE = 0x2, 0x80, 0x100
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC


class Watch:
    """Watches the files that lie in a folder: its descriptor is readable when one was written, made or renamed."""

    def __init__(self, folder: str) -> None:
        """Begin to watch. Raises ``OSError``."""
        self._fd = check(LIBC.inotify_init1(_FLAGS), "inotify_init1")
        try:
            path = foreign.c_char_p(os.fsencode(folder))
            check(
                LIBC.inotify_add_watch(self._fd, path, foreign.c_uint32(IN_MODIFY | IN_MOVED_TO | IN_CREATE)),
                "inotify_add_watch",
                folder,
            )
        except OSError:
            os.close(self._fd)
            raise

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._fd

    def drain(self) -> None:
        """Take what has been told, so that the descriptor is readable again with the next change only."""
        try:
            while os.read(self._fd, 65_536):
                pass
        except BlockingIOError:
            return

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)
