"""Paths in compose files: relative to the file's project folder, as text, without looking at the disk: pure."""

from __future__ import annotations

import posixpath
import re

# What ``additional_contexts`` writes before the name of a service whose image is meant.
SERVICE = "service:"
_REMOTE = re.compile(r"[a-z][a-z0-9+.-]*://|git@|github\.com/|[\w.-]+@[\w.-]+:", re.IGNORECASE | re.ASCII)


def is_remote(text: str) -> bool:
    """Return whether a build context or file is somewhere else: an address, not a path."""
    return bool(_REMOTE.match(text))


def is_path(text: str) -> bool:
    """Return whether the source of a short volume is a path; a name otherwise (specification, "volumes")."""
    return text.startswith((".", "/", "~"))


def resolve_path(base: str, path: str, *, home: str = "") -> str:
    """Return ``path`` made absolute on ``base``; ``~`` is ``home``."""
    if path == "~" or path.startswith("~/"):
        path = home + path[1:] if home else path
    return posixpath.normpath(posixpath.join(base, path))


def parent(path: str) -> str:
    """Return the folder of a path."""
    return posixpath.dirname(path) or "."
