"""Paths of an image as the language joins them. Source: moby/buildkit, util/system/path.go."""

from __future__ import annotations

import posixpath


def join_path(folder: str, path: str) -> str:
    """Return ``path`` in ``folder``, absolute and cleaned, without a "/" at its end; "" is the folder itself."""
    joined = posixpath.normpath(posixpath.join(folder or "/", path))
    return "/" + joined.lstrip("/")


def join_destination(folder: str, path: str) -> str:
    """Return a destination of COPY.

    As :func:`join_path`, but with a "/" at its end where it is written as a folder (trap 42).
    """
    joined = join_path(folder, path)
    is_folder = path in {"", "."} or path.endswith(("/", "/."))
    return f"{joined}/" if is_folder and joined != "/" else joined


def has_wildcards(path: str) -> bool:
    """Return whether Go's patterns mean something in ``path``: an unescaped ``*``, ``?`` or ``[``."""
    at = 0
    while at < len(path):
        if path[at] in "*?[":
            return True
        at += 2 if path[at] == "\\" else 1
    return False
