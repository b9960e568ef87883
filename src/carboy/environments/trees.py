"""What a step left in a folder that it could write to: found by descriptors, for packages' own code ran there.

A link in the place of a file or of a folder would lead into the host; it is refused, and never followed.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from io import BufferedReader

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A fifo would wait for somebody to write.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def read_left(folder: str, name: str, *, limit: int) -> str:
    """Return the text of a file that a step left in ``folder``, its first ``limit`` bytes.

    Raises ``CarboyError`` for what is no file, ``OSError``.
    """
    with open_left(folder, name) as file:
        return file.read(limit).decode("utf-8", "replace")


@contextmanager
def open_left(folder: str, name: str) -> Iterator[BufferedReader]:
    """Give a file that a step left in ``folder``. Raises ``CarboyError`` for what is no file, ``OSError``."""
    with open(os.open(f"{folder}/{name}", _FILE), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise _explain(name, "it is no file")
        yield file


@contextmanager
def open_trees(folder: str, place: str) -> Iterator[int]:
    """Give the folder of trees, at ``place`` below a ``folder`` that a sandbox wrote to. Raises ``CarboyError`` for links."""
    fd = os.open(folder, _DIRECTORY)
    try:
        for name in place.strip("/").split("/"):
            try:
                inner = os.open(name, _DIRECTORY, dir_fd=fd)
            except OSError as error:
                raise _explain(place, error.strerror or "") from error
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


def list_parts(names: Iterable[str], tree: str) -> list[str]:
    """Return those of ``names`` that are a tree, and what was cut off it, in their order. Raises ``CarboyError`` for none."""
    parts = [name for name in names if re.fullmatch(rf"{tree}(\.[1-9][0-9]{{0,5}})?", name, re.ASCII)]
    if not parts:
        raise _explain(tree, "it is not there")
    return sorted(parts, key=lambda name: int(name.partition(".")[2] or 0))


def _explain(place: str, why: str) -> CarboyError:
    return CarboyError(
        "a package moved its own files away while it was installed",
        details=f"{place}: {why}",
        hint="do not use what that index or channel has",
    )
