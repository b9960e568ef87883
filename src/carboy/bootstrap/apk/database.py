"""apk's database of what is installed, for packages that were unpacked without it. Pure (apk-tools: database.c).

lib/apk/db/installed      a paragraph for each package: its part of the index, then F: a folder, R: a file in it
lib/apk/db/scripts.tar    scripts, as NAME-VERSION.CHECKSUM.SCRIPT
lib/apk/db/triggers       CHECKSUM and the folders that a package wants to know of
etc/apk/                  world, arch, repositories
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from carboy.bootstrap.apk.members import DIRECTORY, SYMLINK
from carboy.bootstrap.apk.unpack import make_tar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carboy.bootstrap.apk.unpack import Unpacked

SCRIPTS = (
    ".pre-install", ".post-install", ".pre-deinstall", ".post-deinstall", ".pre-upgrade", ".post-upgrade", ".trigger",
)  # fmt: skip
# What the index has of a package and the database has, too, in the database's order.
_FIELDS = "CPVASITULomtcDpirqk"
_FOLDER_MODE, _FILE_MODE = 0o755, 0o644


def format_checksum(sha1: bytes) -> str:
    """Return a checksum as apk writes it."""
    return "Q1" + base64.b64encode(sha1).decode()


def format_installed(package: Unpacked, owned: Mapping[bytes, str]) -> str:
    """Return one package's paragraph. ``owned`` says which package has each file in the end, where several brought it."""
    fields = {line[0]: line for line in package.package.raw.split("\n") if line[1:2] == ":"}
    info = package.control.info
    if info.get("replaces"):
        fields["r"] = f"r:{' '.join(info['replaces'])}"
    if info.get("replaces_priority"):
        fields["q"] = f"q:{info['replaces_priority'][0]}"
    lines = [fields[key] for key in _FIELDS if key in fields]
    folders: dict[bytes, list[str]] = {}
    for entry in package.passed.entries:
        if entry.kind == DIRECTORY:
            own = folders.setdefault(entry.path, [])
            if (entry.uid, entry.gid, entry.mode) != (0, 0, _FOLDER_MODE):
                own.insert(0, f"M:{entry.uid}:{entry.gid}:{entry.mode:o}")
            continue
        if owned.get(entry.path) != package.package.name:
            continue
        folder, _, name = entry.path.rpartition(b"/")
        own = folders.setdefault(folder, [])
        own.append(f"R:{name.decode('utf-8', 'surrogateescape')}")
        mode = 0o777 if entry.kind == SYMLINK else entry.mode
        if (entry.uid, entry.gid, mode) != (0, 0, 0o777 if entry.kind == SYMLINK else _FILE_MODE):
            own.append(f"a:{entry.uid}:{entry.gid}:{mode:o}")
        own.append(f"Z:{format_checksum(entry.sha1)}")
    for path in sorted(folders):
        lines += [f"F:{path.decode('utf-8', 'surrogateescape')}", *folders[path]]
    return "\n".join(lines) + "\n"


def list_files(packages: Sequence[Unpacked], *, mtime_s: int) -> list[tuple[bytes, bytes, int]]:
    """Return the files of the database as (path, content, mode); paths are relative to the root."""
    owned = {
        entry.path: package.package.name
        for package in packages
        for entry in package.passed.entries
        if entry.kind != DIRECTORY
    }
    installed = "\n".join(
        format_installed(package, owned) for package in sorted(packages, key=lambda one: one.package.name)
    )
    scripts = [
        (f"{script_prefix(package)}{name}".encode(), package.control.files[name], 0o755)
        for package in packages
        for name in SCRIPTS
        if name in package.control.files
    ]
    triggers = "".join(
        f"{format_checksum(bytes.fromhex(package.package.sha1))} {' '.join(package.control.info['triggers'])}\n"
        for package in packages
        if package.control.info.get("triggers")
    )
    folder = b"lib/apk/db/"
    return [
        (folder + b"installed", f"{installed}\n".encode("utf-8", "surrogateescape"), 0o644),
        (folder + b"lock", b"", 0o600),
        (folder + b"scripts.tar", make_tar(scripts, mtime_s=mtime_s), 0o644),
        (folder + b"triggers", triggers.encode(), 0o644),
    ]


def script_prefix(package: Unpacked) -> str:
    """Return what the names of a package's scripts begin with in scripts.tar."""
    one = package.package
    return f"{one.name}-{one.version}.{format_checksum(bytes.fromhex(one.sha1))}"
