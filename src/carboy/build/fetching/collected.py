"""What was fetched for a bundle: its sources, and where their files are."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carboy.base.fs import translate_os_errors
from carboy.build.bundles.kinds import BundledFile

if TYPE_CHECKING:
    from carboy.build.bundles.kinds import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Sources, and the paths of their files by SHA-256."""

    sources: tuple[Source, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    def __add__(self, other: Collected) -> Collected:
        """Return both together."""
        return Collected(sources=self.sources + other.sources, files={**self.files, **other.files})


def describe_files(paths: Mapping[str, str]) -> tuple[tuple[BundledFile, ...], dict[str, str]]:
    """Return files (their names by path) as a bundle names them, in the order of their names, and their paths by SHA-256.

    Raises ``CarboyError`` for one that cannot be read.
    """
    with translate_os_errors("read what was fetched"):
        found = [(bundle_file(path, name=name), path) for path, name in paths.items()]
    files = sorted((file for file, _ in found), key=lambda file: (file.name, file.sha256))
    return tuple(files), {file.sha256: path for file, path in found}


def bundle_file(path: str, *, name: str) -> BundledFile:
    """Return a file of the disk as a bundle names it. Raises ``OSError``."""
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return BundledFile(name=name, sha256=sha256, size=os.fstat(file.fileno()).st_size)
