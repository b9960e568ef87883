"""Packages that lie in a folder, packed for the step that installs them: the same bytes on every machine."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
from typing import TYPE_CHECKING

from carboy.base.fs import translate_os_errors, write_durable
from carboy.build.files import list_files
from carboy.environments.detect.sources import find_sources
from carboy.errors import CarboyError
from carboy.layers.tarread import REGULAR, Member
from carboy.layers.tarwrite import TarWriter

if TYPE_CHECKING:
    from carboy.environments.install import SourceArchive

MAX_BYTES = 2**28
_TIME_S = 315_532_800  # 1980-01-01: the first day that a zip file knows, and a wheel is one


def pack_sources(requirements: str, folder: str, *, ignore: tuple[str, ...], cache: str) -> tuple[SourceArchive, ...]:
    """Return the archives that requirements name, as files below ``cache`` by their hashes.

    Raises ``CarboyError`` for what is not there, is too large, or leads out of the folder.
    """
    from carboy.environments.install import SourceArchive

    found = []
    for place, path in find_sources(requirements):
        with translate_os_errors(f"read {folder}/{path}"):
            data = _pack(folder, path, ignore)
        digest = hashlib.sha256(data).hexdigest()
        file = f"{cache}/{digest}"
        if not os.path.exists(file):
            with translate_os_errors("keep a package of the folder"):
                os.makedirs(cache, mode=0o700, exist_ok=True)
                write_durable(file, data)
        found.append(SourceArchive(place=place, file=file, sha256=digest))
    return tuple(found)


def _pack(folder: str, path: str, ignore: tuple[str, ...]) -> bytes:
    full = os.path.realpath(f"{folder}/{path}")
    top = os.path.realpath(folder)
    if full != top and not full.startswith(f"{top}/"):
        raise CarboyError(f"{path} leads out of the folder", hint="copy the package into the folder")
    if os.path.isfile(full):
        with open(full, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        _check_size(path, len(data))
        return data
    if not os.path.isdir(full):
        raise CarboyError(
            f"there is no package {path} in {folder}", hint="correct the file that names it, or bring the package back"
        )
    if not any(os.path.isfile(f"{full}/{name}") for name in ("pyproject.toml", "setup.py", "setup.cfg")):
        raise CarboyError(
            f"{path} is no package: it has no pyproject.toml and no setup.py", hint="write a pyproject.toml"
        )
    return _pack_folder(full, path, ignore)


def _pack_folder(full: str, path: str, ignore: tuple[str, ...]) -> bytes:
    buffer, size_bytes = io.BytesIO(), 0
    writer = TarWriter(buffer)
    for name, _ in list_files(full, ignore):
        source = f"{full}/{name}"
        if os.path.islink(source) or not os.path.isfile(source):
            continue  # a package's source is files; folders are made for them
        with open(source, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        size_bytes += len(data)
        _check_size(path, size_bytes)
        mode = 0o755 if os.stat(source).st_mode & 0o111 else 0o644
        member = Member(name=os.fsencode(f"source/{name}"), kind=REGULAR, mode=mode, mtime=_TIME_S, size=len(data))
        writer.add(member, data)
    writer.finish()
    return gzip.compress(buffer.getvalue(), 1, mtime=0)


def _check_size(path: str, size_bytes: int) -> None:
    if size_bytes > MAX_BYTES:
        raise CarboyError(
            f"the package {path} has more than {MAX_BYTES >> 20} MiB of files",
            hint="name what is no code in .carboyignore, or move it out of the package",
        )
