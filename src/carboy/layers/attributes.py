"""Extended attributes: which ones a layer may carry, and those by which overlayfs is told things.

Sources: overlayfs.rst of the kernel; capabilities(7), "File capability extended attribute versioning".
"""

from __future__ import annotations

import os
from typing import Literal

OverlayXattr = Literal["trusted", "user"]
"""Where overlayfs keeps its attributes: "trusted" for root, "user" for mounts with ``userxattr`` in a user namespace."""

CAPABILITY = "security.capability"
_OVERLAY = ("trusted.overlay.", "user.overlay.")
_REFUSED = ("redirect", "metacopy")
_CAPABILITY_V3 = 0x03
_CAPABILITY_V3_BYTES = 24


def is_kept(name: str) -> bool:
    """Return whether a layer may carry this attribute: file capabilities and the user's own, never overlayfs's."""
    if name.startswith("user."):
        return not name.startswith(_OVERLAY)
    return name == CAPABILITY


def opaque_name(overlay: OverlayXattr) -> str:
    """Return the attribute that makes a directory hide what lower layers have in it."""
    return f"{overlay}.overlay.opaque"


class Attributes:
    """What was read of one file: ``kept`` for the layer, and what overlayfs says of it."""

    __slots__ = ("dropped", "kept", "opaque", "unsupported", "whiteout")

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.dropped: list[str] = []
        self.opaque = False
        self.whiteout = False  # since Linux 6.7 an empty file can be one, where character devices are not allowed
        self.unsupported = ""  # redirect or metacopy: its content lies elsewhere

    @classmethod
    def read(cls, fd: int) -> Attributes:
        """Read those of an open file. Both of overlayfs's namespaces count: which one it was is the mount's secret."""
        found = cls()
        for name in sorted(os.listxattr(fd)):
            if is_kept(name):
                value = os.getxattr(fd, name)
                found.kept[name] = normal_capability(value) if name == CAPABILITY else value
                continue
            found.dropped.append(name)
            if not name.startswith(_OVERLAY):
                continue
            own = name.partition(".overlay.")[2]
            if own == "opaque":
                found.opaque = os.getxattr(fd, name) == b"y"
            elif own == "whiteout":
                found.whiteout = True
            elif own in _REFUSED:
                found.unsupported = name
        return found


def normal_capability(value: bytes) -> bytes:
    """Return a file capability without the id of the user namespace that set it, so that every tier writes the same."""
    if len(value) == _CAPABILITY_V3_BYTES and value[3] == _CAPABILITY_V3:
        return value[:3] + b"\x02" + value[4:20]
    return value
