"""What dpkg's status file says is installed, and how it says that more is: pure (deb-control(5), dpkg-query(1))."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from carboy.bootstrap.control import parse_paragraph
from carboy.bootstrap.deb.index import Package, make_package

STATUS = "var/lib/dpkg/status"
TRIGGERS = "var/lib/dpkg/triggers/File"
SCRIPTS = ("preinst", "postinst")
# What debhelper writes for changes between versions: of no effect when a package is installed the first time
# (dpkg-maintscript-helper(1)).
_HARMLESS = re.compile(
    r"#.*|set -e|exit 0|dpkg-maintscript-helper (rm_conffile|mv_conffile|symlink_to_dir|dir_to_symlink) [^;|&`$]*-- \"\$@\"|"
)


def parse_status(text: str) -> tuple[Package, ...]:
    """Return the packages that are installed. They have no place in an archive, and no hash."""
    found = []
    for paragraph in text.split("\n\n"):
        fields = parse_paragraph(paragraph)
        if not fields.get("Package") or not fields.get("Status", "").endswith(" installed"):
            continue
        found.append(make_package(fields, uri="", path="", size_bytes=0, sha256="", essential=False))
    return tuple(found)


def extend_status(text: str, paragraphs: Sequence[str]) -> str:
    """Return a status file with further ``paragraphs``, those in the order of their text."""
    return "\n".join([text.rstrip("\n") + "\n", *sorted(paragraphs)])


def parse_interests(text: str) -> tuple[str, ...]:
    """Return the paths below which files are of interest to somebody's trigger: dpkg's ``triggers/File`` (deb-triggers(5))."""
    return tuple(sorted({line.split()[0] for line in text.splitlines() if line.startswith("/")}))


def only_brings_files(control: Mapping[str, bytes], *, interests: Sequence[str]) -> bool:
    """Return whether unpacking is all that installing a package comes to, but for the linker's cache.

    Not so where a script or another package's trigger has something to do, and where it says where libraries are.
    """
    for name in SCRIPTS:
        lines = re.sub(r"\\\n\s*", " ", control.get(name, b"").decode("utf-8", "replace")).splitlines()
        if any(not _HARMLESS.fullmatch(line.strip()) for line in lines):
            return False
    triggers = (line.partition("#")[0].split() for line in control.get("triggers", b"").decode().splitlines())
    if any(words and (not words[0].startswith("activate") or words[1:] != ["ldconfig"]) for words in triggers):
        return False
    places = (*interests, "/etc/ld.so.conf.d")
    names = (line[32:].strip() for line in control.get("md5sums", b"").decode("utf-8", "replace").splitlines())
    return not any(f"/{name}".startswith(f"{place}/") for name in names for place in places)
