"""Which Python a folder asks for, in its various files. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from carboy.errors import CarboyError

if TYPE_CHECKING:
    from carboy.build.project import ProjectFacts
    from carboy.build.settings import Settings
    from carboy.environments.detect.wants import Wants


# 3.11, 3.11.4, 3.11-dev, cpython@3.11, python3.11, cpython-3.11.4-linux-x86_64-gnu
_VERSION_FILE = re.compile(
    r"(?:cpython[@-]?|python-?)?(\d+(?:\.\d+){0,2})(?:-dev|-(?:linux|macos|windows)-\S+)?", re.ASCII
)


def list_asked(facts: ProjectFacts, settings: Settings, wants: Wants | None) -> list[tuple[str, str]]:
    """Return which Pythons a folder asks for, and who says so; what carboy.toml says stands alone. Raises ``CarboyError``."""
    if settings.python:
        return [(settings.python, "carboy.toml")]
    asked = [(_read_version_file(facts.texts.get(".python-version", "")), ".python-version")]
    asked.append((_read_python_runtime(facts.texts.get("runtime.txt", "").strip()), "runtime.txt"))
    if wants is not None:
        asked.append((wants.python, wants.source))
    return [(wanted, where) for wanted, where in asked if wanted]


def _read_version_file(text: str) -> str:
    """Return which Python a ``.python-version`` asks for, "" for none: its first line, as pyenv and uv write it.

    Raises ``CarboyError`` for another interpreter than CPython, and for what names no version.
    """
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    first = next(filter(None, lines), "")
    match = _VERSION_FILE.fullmatch(first)
    if match is not None:
        return match[1]
    if first and first[0] not in "<>=!~":
        raise CarboyError(
            f".python-version asks for {first[:60]!r}, which is no version of CPython", hint="write 3.11, 3.9 or 3.13"
        )
    return first


def _read_python_runtime(text: str) -> str:
    """Return which Python a ``runtime.txt`` asks for, "" for none: repo2docker's NAME-VERSION, and a day, which is R's affair.

    Raises ``CarboyError`` for another language, and for what has no such form.
    """
    name, _, rest = text.partition("-")
    if not text or name == "r":
        return ""
    match = re.fullmatch(r"(\d+(?:\.\d+)*)?(?:(?:^|-)\d{4}-\d\d-\d\d)?", rest, re.ASCII)
    if name != "python" or not rest or match is None:
        raise CarboyError(
            f"runtime.txt: {text[:60]!r} names no version of Python or R",
            hint="write python-3.11, r-4.2, or r-4.2-2023-03-01 with a day of CRAN",
        )
    return match[1] or ""


def fits_python(version: str, wanted: str, *, where: str = "the folder") -> bool:
    """Return whether Python ``version`` (X.Y) meets "3.11", "3.11.4", or ">=3.10,<3.13", which ``where`` asks for.

    Raises ``CarboyError``.
    """
    have = tuple(map(int, version.split(".")))
    for clause in wanted.split(","):
        match = re.fullmatch(r"\s*(~=|===?|!=|>=|<=|>|<|)\s*(\d+(?:\.\d+)*)(\.\*|(?:a|b|rc|\.dev)\d+)?\s*", clause)
        if match is None:
            raise CarboyError(
                f"{where} asks for {wanted!r}, which is no version of Python", hint="write 3.11, or >=3.10,<3.13"
            )
        operator, number = match.group(1).replace("===", "=="), tuple(map(int, match.group(2).split(".")))[:2]
        other = (*number, 0)[:2] if len(number) == 1 and operator not in {"", "=="} else number
        # Only the first two numbers count: a distribution's Python gets its fixes without a new number.
        same = have[: len(other)] == other
        ok = {
            "": same, "==": same, "!=": not same or match.group(2).count(".") > 1, ">=": have >= other, "<=": have <= other,
            ">": have > other or (have == other and match.group(2).count(".") > 1),
            "<": have < other or (have == other and match.group(2).count(".") > 1), "~=": have[0] == other[0] and have >= other,
        }[operator]  # fmt: skip
        if not ok:
            return False
    return True
