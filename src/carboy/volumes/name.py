"""The names of volumes. Pure. Source: moby, daemon/names and volume/service."""

from __future__ import annotations

MAX_LENGTH = 128
_FIRST = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_REST = _FIRST | frozenset("_.-")


def find_issue(name: str) -> str:
    """Return what is wrong with the name of a volume, in Docker's words; empty when nothing is."""
    if name[:1] not in _FIRST or not _REST.issuperset(name):
        return f'"{name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed'
    if len(name) < 2:
        return "volume name is too short, names should be at least two alphanumeric characters"
    if len(name) > MAX_LENGTH:
        return f"volume name is too long: it has {len(name)} characters, {MAX_LENGTH} are allowed"
    return ""
