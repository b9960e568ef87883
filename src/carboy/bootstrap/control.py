"""Paragraphs of "Field: value" lines, the form of all of Debian's metadata. Pure (deb822(5))."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

from carboy.bootstrap.errors import ArchiveDataError


def parse_paragraph(text: str) -> dict[str, str]:
    """Return the fields of one paragraph, in their order; continuation lines lose their first blank only.

    Field names keep their spelling. Raises ``ArchiveDataError`` for a line that is neither, or a field given twice.
    """
    fields: dict[str, str] = {}
    name = ""
    for line in text.split("\n"):
        if not line or line[0] == "#":
            continue
        if line[0] in " \t":
            if not name:
                raise ArchiveDataError("a metadata paragraph starts with a continuation line", details=line[:200])
            fields[name] += "\n" + line[1:].rstrip()
            continue
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise ArchiveDataError("a metadata line is not of the form 'Field: value'", details=line[:200])
        if name in fields:
            raise ArchiveDataError(f"the metadata field {name!r} stands twice in one paragraph")
        fields[name] = value.strip()
    return fields


def iter_paragraphs(text: str) -> Iterator[dict[str, str]]:
    """Yield the paragraphs of ``text``, which are separated by empty lines; comments (#) are left out."""
    lines: list[str] = []
    for line in [*text.split("\n"), ""]:
        if line.strip():
            if not line.startswith("#"):
                lines.append(line)
        elif lines:
            yield parse_paragraph("\n".join(lines))
            lines = []
