"""Files of Debian's control format, which R uses as well: ``DESCRIPTION``, ``PACKAGES`` and packrat's lock. Pure.

Source: "Writing R Extensions", 1.1.1 and 1.1.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from carboy.environments.r.versions import OPERATORS
from carboy.environments.r.wants import BASE, DESCRIPTION, RPackage, RWants
from carboy.errors import CarboyError

REQUIRED = ("Depends", "Imports", "LinkingTo")
_ITEM = re.compile(r"([A-Za-z][A-Za-z0-9.]*)\s*(?:\(\s*([<>=!]+)\s*([0-9][0-9.-]*)\s*\))?", re.ASCII)


def iter_paragraphs(text: str) -> Iterator[dict[str, str]]:
    """Yield the paragraphs of a file as fields; a line that begins with a blank goes on with the field above it."""
    fields: dict[str, str] = {}
    last = ""
    for line in text.splitlines():
        if not line.strip():
            if fields:
                yield fields
            fields, last = {}, ""
        elif line[0] in " \t":
            if last:
                fields[last] += f"\n{line.strip()}"
        else:
            name, colon, value = line.partition(":")
            last = name if colon else ""
            if colon:
                fields[name] = value.strip()
    if fields:
        yield fields


def parse_requirements(fields: Mapping[str, str], *, names: tuple[str, ...] = REQUIRED, where: str) -> list[RPackage]:
    """Return the packages, R itself among them, that the fields ``names`` ask for. Raises ``CarboyError``."""
    found: dict[str, RPackage] = {}
    for field in names:
        for item in filter(None, (part.strip() for part in fields.get(field, "").split(","))):
            match = _ITEM.fullmatch(item)
            if match is None or (match[2] and match[2] not in OPERATORS):
                raise CarboyError(
                    f"{where}: {item!r} of {field} is no package", hint="write NAME, or NAME (>= VERSION), with commas"
                )
            package = RPackage(name=match[1], operator=match[2] or "", version=match[3] or "")
            if package.name not in found or package.operator:
                found[package.name] = package
    return list(found.values())


def parse_description(text: str, *, suggests: bool = False) -> RWants | None:
    """Return what a folder's ``DESCRIPTION`` asks for, None when it is not R's. Raises ``CarboyError``."""
    fields = next(iter_paragraphs(text), {})
    if not {"Package", "Type", "Title", *REQUIRED} & fields.keys():
        return None
    if fields.get("Remotes"):
        raise CarboyError(
            f"{DESCRIPTION} has Remotes, packages at places that have no version to be locked",
            details=fields["Remotes"],
            hint="name released versions under Imports and take the field out, or build with a Dockerfile",
        )
    wanted = parse_requirements(fields, names=(*REQUIRED, *(("Suggests",) if suggests else ())), where=DESCRIPTION)
    itself = next((package for package in wanted if package.name == "R"), None)
    packages = sorted((p for p in wanted if p.name not in BASE), key=lambda p: p.name)
    read = [name for name in (*REQUIRED, *(("Suggests",) if suggests else ())) if name in fields]
    return RWants(
        packages=tuple(packages),
        file=DESCRIPTION,
        source=f"{DESCRIPTION}: {', '.join(read)}" if read else DESCRIPTION,
        version=f"{itself.operator}{itself.version}" if itself is not None and itself.operator else "",
    )
