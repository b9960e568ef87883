"""Parser directives: ``# syntax=``, ``# escape=`` and ``# check=`` at the very top. Source: parser/directives.go."""

from __future__ import annotations

import re

from carboy.dockerfile.errors import LanguageError
from carboy.dockerfile.value import Value

_KEYS = frozenset({"syntax", "escape", "check"})
_HASH = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*", re.ASCII)
_SLASHES = re.compile(r"//\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*", re.ASCII)


class Directives(Value):
    """What the lines at the top say: the ``syntax`` image ("": none), the ``escape`` character, the ``check`` options."""

    syntax: str = ""
    escape: str = "\\"
    check: str = ""


def parse_directives(lines: tuple[str, ...]) -> Directives:
    """Return the directives of a file's lines (without their ends, without a byte order mark).

    Raises ``LanguageError`` for a repeated one, or an escape that is neither "\\" nor "`". A "#!" line before them hides
    ``escape``, but not the others: two readers read them (trap 2).
    """
    found = _read(lines, _HASH, strict=True)
    escape = found.get("escape", "\\")
    if escape not in {"\\", "`"}:
        raise LanguageError(
            f"invalid escape token '{escape}' does not match ` or \\", word=escape, hint="write # escape=`"
        )
    others = found if not lines or not lines[0].startswith("#!") else _read(lines[1:], _HASH, strict=False)
    return Directives(
        syntax=others.get("syntax", "").partition(" ")[0] or _foreign_syntax(lines),
        escape=escape,
        check=others.get("check", ""),
    )


def _read(lines: tuple[str, ...], form: re.Pattern[str], *, strict: bool) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        match = form.fullmatch(line.strip("\r\n").lstrip() if strict else line.rstrip("\r"))
        key = match[1].lower() if match else ""
        if match is None or key not in _KEYS:
            break
        if key in found:
            if strict:
                raise LanguageError(
                    f"only one {key} parser directive can be used", word=line, hint="leave the second one out"
                )
            break
        found[key] = match[2]
    return found


def _foreign_syntax(lines: tuple[str, ...]) -> str:
    """Return the syntax that a file of another language asks for: "// syntax=image", or {"syntax": "image"}."""
    if lines and lines[0].startswith("#!"):
        lines = lines[1:]
    if found := _read(lines, _SLASHES, strict=False).get("syntax", ""):
        return found.partition(" ")[0]
    if lines and lines[0].lstrip().startswith("{"):
        import json

        try:
            document = json.loads("\n".join(lines))
        except (ValueError, RecursionError):
            return ""
        value = document.get("syntax") if isinstance(document, dict) else None
        return value if isinstance(value, str) else ""
    return ""
