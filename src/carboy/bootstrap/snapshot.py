"""What an archive said at one moment, kept by hash, so that a base can be made of it again without asking. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The signed texts of an archive: their SHA-256 by the name of the suite (deb) or of the repository (apk).

    The texts are files of the cache, like the packages that they name. What is signed is checked again each time; only the day
    until which it is valid is not, for that day may be long over where no network is.
    """

    texts: Mapping[str, str]


def find_snapshot(archive: Mapping[str, Any]) -> Snapshot:
    """Return the snapshot of the state that a base's record describes (``BaseLayer.archive``)."""
    suites = {item["name"]: item["inrelease_sha256"] for item in archive.get("suites", ())}
    return Snapshot(texts=suites or {item["name"]: item["index_sha256"] for item in archive.get("repositories", ())})
