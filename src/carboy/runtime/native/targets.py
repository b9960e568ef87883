"""A lowest layer of empty files, for mounts of our own to be placed on.

Most images have no /etc/hostname. Made in the container's writable layer, it would be a file that the container seems to have
written, together with a copy of /etc, to be made at every start and removed at every end. In a layer below the image's it is
made once, and only seen where the image has none.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from carboy.base.home import Home


def find_names(operations: list[dict[str, Any]]) -> list[str]:
    """Return the names in /etc that a plan's operations place files of our own on. Pure."""
    targets = [operation["target"] for operation in operations if operation["op"] == "file"]
    return sorted(
        {target[5:] for target in targets if target.startswith("/etc/") and "/" not in target[5:]} - {".", ".."}
    )


def make_targets(home: Home, names: list[str]) -> str:
    """Return the tree with these files in its /etc, and the directories that every root has; made when it is not there.

    It lies beside the layers, as overlayfs shows steady inode numbers only while all of them are on one file system.
    Raises ``OSError``.
    """
    path = f"{home.run}/targets/{'+'.join(names)}"
    if os.path.isdir(path):
        return path
    new = f"{home.run}/targets/~{os.urandom(6).hex()}"
    before = os.umask(0o022)
    try:
        os.makedirs(new)
        for folder in ("dev", "etc", "proc", "sys"):
            os.mkdir(f"{new}/{folder}")
        for name in names:
            os.close(os.open(f"{new}/etc/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        os.rename(new, path)
    except OSError:
        from carboy.base.fs import remove_tree

        remove_tree(new)
        if not os.path.isdir(path):  # else another start was quicker
            raise
    finally:
        os.umask(before)
    return path
