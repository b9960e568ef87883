"""What dpkg's status file says is installed, and how it says that more is: pure (deb-control(5), dpkg-query(1))."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from carboy.bootstrap.control import parse_paragraph
from carboy.bootstrap.deb.index import Package, parse_provides

STATUS = "var/lib/dpkg/status"
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
        found.append(
            Package(
                name=fields["Package"],
                version=fields.get("Version", ""),
                architecture=fields.get("Architecture", ""),
                uri="",
                path="",
                size_bytes=0,
                sha256="",
                essential=False,
                priority=fields.get("Priority", ""),
                multi_arch=fields.get("Multi-Arch", ""),
                depends=fields.get("Depends", ""),
                pre_depends=fields.get("Pre-Depends", ""),
                conflicts=fields.get("Conflicts", ""),
                breaks=fields.get("Breaks", ""),
                provides=parse_provides(fields.get("Provides", "")),
            )
        )
    return tuple(found)


def extend_status(text: str, paragraphs: Sequence[str]) -> str:
    """Return a status file with further ``paragraphs``, those in the order of their text."""
    return "\n".join([text.rstrip("\n") + "\n", *sorted(paragraphs)])


def find_script(control: Mapping[str, bytes]) -> str | None:
    """Return the name of a script that a package needs to have run when it is installed, None where it only brings files."""
    for name in ("preinst", "postinst", "triggers"):
        lines = re.sub(r"\\\n\s*", " ", control.get(name, b"").decode("utf-8", "replace")).splitlines()
        if any(not _HARMLESS.fullmatch(line.strip()) for line in lines):
            return name
    return None
