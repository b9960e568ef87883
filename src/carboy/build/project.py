"""Reads a project's folder: its names, sizes, and the text of the few files that decide how it is built."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from carboy.base.fs import translate_os_errors
from carboy.errors import CarboyError

MAX_FILE_BYTES = 2**20
_DECIDING = frozenset(
    {
        "carboy.toml",
        "Procfile",
        "requirements.txt",
        "pyproject.toml",
        ".python-version",
        "runtime.txt",
        ".dockerignore",
        ".carboyignore",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectFacts:
    """A folder as planning sees it: ``files`` are the names at its top, ``texts`` the contents of those that decide.

    ``scripts`` are the Python files at the top, with whether each has a ``__main__`` guard.
    """

    folder: str
    files: tuple[str, ...]
    texts: dict[str, str]
    scripts: dict[str, bool]


def read_project(folder: str) -> ProjectFacts:
    """Return the facts of ``folder``. Raises ``CarboyError`` when it is no folder or cannot be read."""
    with translate_os_errors(f"read the folder {folder}"):
        if not os.path.isdir(folder):
            raise CarboyError(f"there is no folder {folder}", hint="name the folder that holds your code")
        names = sorted(os.listdir(folder))
        texts = {name: text for name in names if name in _DECIDING and (text := _read(folder, name)) is not None}
        scripts = {
            n: "__main__" in (_read(folder, n) or "")
            for n in names
            if n.endswith(".py") and os.path.isfile(f"{folder}/{n}")
        }
    return ProjectFacts(folder=folder, files=tuple(names), texts=texts, scripts=scripts)


def _read(folder: str, name: str) -> str | None:
    """Return a file's text, None when it is no plain file. Raises ``CarboyError`` when it is too large or not UTF-8."""
    fd = os.open(f"{folder}/{name}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise CarboyError(
            f"{folder}/{name} is larger than {MAX_FILE_BYTES} bytes", hint="check that it is the right file"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CarboyError(f"{folder}/{name} is not UTF-8 text", details=str(error), hint="save it as UTF-8") from error
