"""Who owns what a package's scripts make. Pure.

Where a tier has one id only, changing owners is emulated and leaves no trace. What belongs to whom is known all the
same: from the packages' tars, and for what scripts make, from this table. So the layer is the same in every tier; a
test that runs as root compares the table with what the scripts really do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# Ids are those of base-passwd, which Debian never changes.
_MAIL, _SHADOW = 8, 42

SCRIPT_OWNERS: Mapping[bytes, tuple[int, int]] = {
    b"etc/gshadow": (0, _SHADOW),  # passwd: shadowconfig
    b"etc/shadow": (0, _SHADOW),
    b"var/mail": (0, _MAIL),  # base-files
}


def merge_owners(packaged: Mapping[bytes, tuple[int, int]]) -> dict[bytes, tuple[int, int]]:
    """Return the owners of all paths that root does not own, by path below the root (no slash at either end)."""
    owners = {path.strip(b"/").removeprefix(b"./"): owner for path, owner in packaged.items() if owner != (0, 0)}
    owners.update(SCRIPT_OWNERS)
    return owners
