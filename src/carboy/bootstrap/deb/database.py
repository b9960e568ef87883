"""dpkg's database for packages that were unpacked without it. Pure (dpkg(1), deb-triggers(5), deb-conffiles(5))."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.bootstrap.control import parse_paragraph
from carboy.bootstrap.errors import ArchiveDataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SCRIPTS = ("preinst", "postinst", "prerm", "postrm", "config")
# What dpkg keeps of a control tar is all of it, but for what it keeps in the status file.
_NOT_KEPT = ("control",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """One unpacked package: its control files, the paths it brought, the MD5 of its configuration files."""

    name: str
    version: str
    architecture: str
    multi_arch: str
    control: Mapping[str, bytes]
    names: Sequence[bytes]
    digests: Mapping[bytes, str]

    @property
    def stem(self) -> str:
        """What its files in dpkg's info folder are named after."""
        return f"{self.name}:{self.architecture}" if self.multi_arch == "same" else self.name


def parse_conffiles(data: bytes) -> list[bytes]:
    """Return the paths of a conffiles file that are there after an installation."""
    lines = (line.strip() for line in data.split(b"\n"))
    return [line for line in lines if line.startswith(b"/")]  # not "remove-on-upgrade /path"


def format_status(package: Unpacked, *, state: str = "unpacked") -> str:
    """Return the package's paragraph of the status file: unpacked, to be configured, unless ``state`` says otherwise."""
    fields = parse_paragraph(package.control["control"].decode("utf-8", "surrogateescape"))
    if fields.get("Package") != package.name or fields.get("Version") != package.version:
        raise ArchiveDataError(
            f"the package file of {package.name} holds another package",
            details=f"{fields.get('Package')} {fields.get('Version')} instead of {package.name} {package.version}",
        )
    lines = [f"Package: {package.name}", f"Status: install ok {state}"]
    for name, value in fields.items():
        if name not in {"Package", "Status", "Conffiles"}:
            lines.append(f"{name}: " + value.replace("\n", "\n "))
    conffiles = [
        f" {path.decode('utf-8', 'surrogateescape')} {package.digests[path]}"
        for path in parse_conffiles(package.control.get("conffiles", b""))
        if path in package.digests
    ]
    if conffiles:
        lines += ["Conffiles:", *conffiles]
    return "\n".join(lines) + "\n"


def iter_database(packages: Sequence[Unpacked]) -> Iterator[tuple[bytes, bytes, int]]:
    """Yield the files of the database as (path, content, mode); paths are relative to the root."""
    folder = b"var/lib/dpkg/"
    statuses = [format_status(package) for package in sorted(packages, key=lambda package: package.stem)]
    yield folder + b"status", "\n".join(statuses).encode("utf-8", "surrogateescape"), 0o644
    yield folder + b"available", b"", 0o644
    yield folder + b"info/format", b"1\n", 0o644
    yield from iter_info(packages)
    for name, content in sorted(format_triggers(packages).items()):
        yield folder + b"triggers/" + name.encode(), content, 0o644


def iter_info(packages: Sequence[Unpacked]) -> Iterator[tuple[bytes, bytes, int]]:
    """Yield what dpkg keeps of each package by itself: the list of its files, its scripts."""
    for package in packages:
        stem = b"var/lib/dpkg/info/" + package.stem.encode()
        yield stem + b".list", b"".join(name + b"\n" for name in package.names), 0o644
        for name in sorted(package.control):
            if name not in _NOT_KEPT:
                yield stem + b"." + name.encode(), package.control[name], 0o755 if name in SCRIPTS else 0o644


def format_triggers(packages: Sequence[Unpacked]) -> dict[str, bytes]:
    """Return the files of dpkg's trigger database by name: who is interested in which paths and names."""
    interests: dict[str, list[str]] = {"File": [], "Unincorp": []}
    for package in sorted(packages, key=lambda package: package.stem):
        for line in package.control.get("triggers", b"").decode("utf-8", "replace").splitlines():
            verb, _, trigger = line.partition("#")[0].strip().partition(" ")
            trigger = trigger.strip()
            if not verb.startswith("interest") or not trigger or ("/" in trigger and trigger[0] != "/"):
                continue
            who = package.stem + ("/noawait" if verb == "interest-noawait" else "")
            if trigger.startswith("/"):
                interests["File"].append(f"{trigger} {who}\n")
            else:
                interests.setdefault(trigger, []).append(f"{who}\n")
    return {name: "".join(lines).encode() for name, lines in interests.items()}
