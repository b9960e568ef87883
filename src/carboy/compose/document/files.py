"""Where compose files come from: a seam with the disk behind it, or a dictionary."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Protocol

from carboy.compose.errors import ComposeError, Issue

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_BYTES = 4 << 20


class FileReader(Protocol):
    """Reads the files that a project names."""

    def read(self, path: str) -> bytes | None:
        """Return the content of a file, None when nothing is there; at most ``MAX_BYTES`` and one.

        ``-`` is standard input. Raises ``ComposeError`` when something is there that cannot be read.
        """


class DiskReader:
    """Files of this machine. A pipe (``-f <(program)``) and ``/dev/null`` are files too."""

    def read(self, path: str) -> bytes | None:
        """Return the content of a file, or None."""
        if path == "-":
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        try:
            with open(path, "rb", buffering=0) as file:
                return _read_all(file.fileno())
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR}:
                return None
            issue = Issue(text=os.strerror(error.errno or 0), file=path)
            raise ComposeError("a file of the project cannot be read", issues=(issue,)) from error


def _read_all(descriptor: int) -> bytes:
    pieces, size = [], 0
    while size <= MAX_BYTES and (piece := os.read(descriptor, min(1 << 18, MAX_BYTES + 1 - size))):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


class MemoryReader:
    """Files that a dictionary holds, by absolute path."""

    def __init__(self, files: Mapping[str, str | bytes]) -> None:
        self._files = dict(files)

    def read(self, path: str) -> bytes | None:
        """Return the content of a file, or None."""
        content = self._files.get(path)
        return content.encode() if isinstance(content, str) else content
