"""A repository of R packages, as CRAN is laid out, made by the tests."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Repository:
    """A folder as CRAN is laid out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.contrib = folder / "src" / "contrib"
        self.contrib.mkdir(parents=True)
        self._index: list[str] = []
        self.write_index()

    def add(
        self, name: str, version: str, *, code: str, fields: str = "", c_code: str = "", archived: bool = False
    ) -> Path:
        """Put a package there; its file."""
        description = f"Package: {name}\nVersion: {version}\nTitle: One of the Tests\nLicense: MIT\n"
        description += (
            f"Description: It is one of the tests.\nAuthor: Nobody\nMaintainer: Nobody <nobody@example.org>\n{fields}"
        )
        description += f"NeedsCompilation: {'yes' if c_code else 'no'}\n"
        files = {"DESCRIPTION": description, "NAMESPACE": "exportPattern('^[a-z]')\n", f"R/{name}.R": code}
        if c_code:
            files |= {
                "src/code.c": c_code,
                "src/Makevars": "PKG_CPPFLAGS = -I/usr/include/libxml2\n",
                "NAMESPACE": f"useDynLib({name})\nexport(twice)\n",
            }
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w") as tar:
            for path, text in files.items():
                info = tarfile.TarInfo(f"{name}/{path}")
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text.encode()))
        place = self.contrib / "Archive" / name if archived else self.contrib
        place.mkdir(parents=True, exist_ok=True)
        file = place / f"{name}_{version}.tar.gz"
        file.write_bytes(gzip.compress(raw.getvalue(), mtime=0))
        if not archived:
            md5 = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
            self._index.append(f"Package: {name}\nVersion: {version}\n{fields}MD5sum: {md5}\n")
            self.write_index()
        return file

    def write_index(self) -> None:
        (self.contrib / "PACKAGES.gz").write_bytes(gzip.compress("\n".join(self._index).encode(), mtime=0))
