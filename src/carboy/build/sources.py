"""Reads what a build with a Dockerfile begins with: the file, the .dockerignore that counts for it, and its folder."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from carboy.base.fs import translate_os_errors
from carboy.build.front import BINDER_DOCKERFILES, DOCKERFILES, SETTINGS, Choice, choose_front
from carboy.errors import CarboyError

MAX_BYTES = 16 * 2**20
MAX_IGNORE_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerfileText:
    """A Dockerfile: ``name`` as people call it, its bytes, and the text and the name of what it leaves out ("": nothing)."""

    name: str
    data: bytes
    ignore: str = ""
    ignore_name: str = ""


def read_front(folder: str, *, file: str | None) -> Choice:
    """Return how ``folder`` is built. Raises ``CarboyError`` when it is no folder or its settings cannot be read."""
    if file:
        return choose_front((), file=file)
    with translate_os_errors(f"read the folder {folder}"):
        if not os.path.isdir(folder):
            raise CarboyError(f"there is no folder {folder}", hint="name the folder that holds your code")
        names = os.listdir(folder)
        names += [path for path in BINDER_DOCKERFILES if os.path.isfile(f"{folder}/{path}")]
        front = ""
        if SETTINGS in names:
            from carboy.build.settings import parse_settings

            data = _read(f"{folder}/{SETTINGS}", MAX_IGNORE_BYTES)
            front = parse_settings((data or b"").decode("utf-8", "replace")).front
    return choose_front(names, settings_front=front)


def read_dockerfile(folder: str, *, file: str) -> DockerfileText:
    """Return the Dockerfile ``file`` (a path of this process, not of the folder) for the context ``folder``.

    What is left out says ``<file>.dockerignore``, else the folder's .dockerignore. Raises ``CarboyError``.
    """
    with translate_os_errors(f"read {file}"):
        data = _read(file, MAX_BYTES)
    if data is None:
        hint = f"name it with -f, or write a {DOCKERFILES[0]} into the folder"
        raise CarboyError(f"there is no Dockerfile {file}", hint=hint)
    ignore, name = read_ignore(folder, beside=file)
    shown = os.path.relpath(file, folder) if os.path.isabs(file) == os.path.isabs(folder) else file
    return DockerfileText(name=file if shown.startswith("..") else shown, data=data, ignore=ignore, ignore_name=name)


def read_ignore(folder: str, *, beside: str = "") -> tuple[str, str]:
    """Return (text, name) of the .dockerignore of a context; one ``beside`` the Dockerfile, with its name, comes first."""
    for path in [*([f"{beside}.dockerignore"] if beside else []), f"{folder}/.dockerignore"]:
        with translate_os_errors(f"read {path}"):
            data = _read(path, MAX_IGNORE_BYTES)
        if data is not None:
            return data.decode("utf-8", "surrogateescape"), os.path.basename(path)
    return "", ""


def _read(path: str, limit: int) -> bytes | None:
    """Return a file's bytes, None when there is none. Raises ``CarboyError`` for what is no plain file, or is too large."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise CarboyError(f"{path} is no file", hint="name the Dockerfile itself with -f")
    with os.fdopen(fd, "rb") as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise CarboyError(f"{path} is larger than {limit} bytes", hint="check that it is the right file")
    return data
