"""What an archive said at one moment, kept by hash, so that a base can be made of it again without asking. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The signed texts of an archive: their SHA-256 by the name of the suite (deb) or of the repository (apk).

    The texts are files of the cache, like the packages that they name. What is signed is checked again each time; only the day
    until which it is valid is not, for that day may be long over where no network is.
    """

    texts: Mapping[str, str]


_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)


def find_snapshot(archive: Mapping[str, Any]) -> Snapshot:
    """Return the snapshot of the state that a base's record describes (``BaseLayer.archive``)."""
    return Snapshot(texts=dict(list_texts(archive)))


def list_texts(archive: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield name and SHA-256 of each signed text of a record. It may be an image's label: what is no such thing is left out."""
    for key, field in (("suites", "inrelease_sha256"), ("repositories", "index_sha256")):
        items = archive.get(key)
        for item in items if isinstance(items, list | tuple) else ():
            name, sha256 = (item.get("name"), item.get(field)) if isinstance(item, Mapping) else (None, None)
            if isinstance(name, str) and isinstance(sha256, str) and _HEX.fullmatch(sha256):
                yield name, sha256
