"""Values to text: errors, tables, sizes, ages. No colour carries meaning here."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.errors import CarboyError

_UNITS = ("B", "kB", "MB", "GB", "TB")


def printable(text: str) -> str:
    """Return ``text`` with control characters shown as escapes, so that a name cannot drive the terminal."""
    return "".join(c if c in "\n\t" or c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def render_error(error: CarboyError) -> str:
    """Return the text of an error: one sentence, what was seen (indented), and what to do."""
    lines = [f"error: {printable(error.brief)}"]
    if error.details:
        lines += [f"  {line}" if line else "" for line in printable(error.details).rstrip().split("\n")]
    if error.hint:
        lines.append(f"hint: {printable(error.hint)}")
    return "\n".join(lines)


def render_size(size_bytes: int) -> str:
    """Return a size in decimal units with three digits at most, as ``docker images`` shows it."""
    size = float(size_bytes)
    for unit in _UNITS:
        if size < 1000 or unit == _UNITS[-1]:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.3g} {unit}"
        size /= 1000
    raise AssertionError("unreachable")


def render_age(seconds: float) -> str:
    """Return a rough age: ``5 minutes ago``."""
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        count = int(seconds // length)
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def render_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return left-aligned columns, two spaces apart, a line for each row; every row has as many cells as the header."""
    cells = [list(header), *([_one_line(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)


def render_ports(ports: Sequence[str]) -> str:
    """Return published ports (``127.0.0.1:8080:80/tcp``) as ``docker ps`` writes them: ``127.0.0.1:8080->80/tcp``."""
    return ", ".join("->".join(text.rpartition(":")[::2]) for text in ports)


def _one_line(cell: str) -> str:
    """Return a cell's text that cannot pass for two rows or two columns."""
    return printable(cell).replace("\n", "\\n").replace("\t", "\\t")
