"""``--secret``: a file of the caller's that a container reads at /run/secrets/NAME, from memory. Pure.

What is kept of a secret on disk is the path of its source: it is read at each start, handed to the sandbox through a pipe, and
shown in a file system in memory that belongs to the container's user and nobody else.
"""

from __future__ import annotations

import posixpath

from carboy.errors import CarboyError
from carboy.runtime.spec import Value

FOLDER = "/run/secrets"
MAX_SECRET_BYTES = 500_000
MAX_SECRETS_BYTES = 3_000_000
_NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")


class Secret(Value):
    """One secret: ``source`` is an absolute path of the host, ``target`` one of the container, ``mode`` its permissions."""

    __slots__ = ("mode", "source", "target")
    source: str
    target: str
    mode: int

    def __init__(self, *, source: str, target: str, mode: int = 0o400) -> None:
        self._set(source=source, target=target, mode=mode)


def parse_secret(text: str, *, cwd: str = "/") -> Secret:
    """Return the secret of "SOURCE[:NAME]" or "id=NAME,src=FILE[,target=NAME|/PATH][,mode=0400]".

    A relative source counts from ``cwd``. Raises ``CarboyError`` (125).
    """
    if not text.startswith(("id=", "src=", "source=", "type=")):
        source, _, name = text.partition(":")
        return _make(source, name or posixpath.basename(source), "", text, cwd)
    fields: dict[str, str] = {}
    for item in text.split(","):
        key, has_value, value = item.partition("=")
        key = {"source": "src", "destination": "target", "dst": "target"}.get(key, key)
        if not has_value or key not in {"id", "src", "target", "mode", "type"} or key in fields:
            raise _wrong(text, f"{item!r} is not understood")
        fields[key] = value
    if fields.get("type", "file") != "file":
        raise _wrong(text, "only files can be secrets here; a variable is seen by every process (docker inspect, too)")
    source = fields.get("src", "")
    name = fields.get("target") or fields.get("id") or posixpath.basename(source)
    return _make(source, name, fields.get("mode", ""), text, cwd)


def _make(source: str, name: str, mode: str, text: str, cwd: str) -> Secret:
    if not source:
        raise _wrong(text, "it names no file")
    if "," in source or "\n" in source:
        raise _wrong(text, "the path of its file holds a comma or a line break")
    absolute = name.startswith("/")
    parts = name.strip("/").split("/")
    if any(not _NAME.issuperset(part) or part in {"", ".", ".."} for part in parts) or (
        len(parts) > 1 and not absolute
    ):
        raise _wrong(text, f"{name!r} cannot be its name in the container")
    if mode and (not set(mode) <= set("01234567") or len(mode) > 4 or int(mode, 8) & 0o7000):
        raise _wrong(text, f"{mode!r} is no mode")
    return Secret(
        source=posixpath.normpath(posixpath.join(cwd, source)),
        target=f"/{'/'.join(parts)}" if absolute else f"{FOLDER}/{name}",
        mode=int(mode, 8) if mode else 0o400,
    )


def _wrong(text: str, reason: str) -> CarboyError:
    return CarboyError(
        f"the secret {text.partition(',')[0]!r} cannot be used: {reason}",
        hint="write --secret FILE[:NAME], or --secret id=NAME,src=FILE",
        code=125,
    )
