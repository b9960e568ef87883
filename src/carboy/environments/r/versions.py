"""Versions of R packages, and of the distribution's packages of them: pure.

R compares numbers, and takes ``-`` and ``.`` for the same (``package_version``): 4.7-1.1 is 4.7.1.1.
"""

from __future__ import annotations

import re
from itertools import zip_longest

from carboy.errors import CarboyError

_VERSION = re.compile(r"\d+(?:[.-]\d+)*", re.ASCII)
# What Debian adds where it had to take something out of the source: 1.3.2+dfsg.
_REPACKED = re.compile(r"[+~.](?:dfsg|ds|repack|really)[0-9a-z.+~]*$", re.ASCII)
OPERATORS = ("==", ">=", "<=", ">", "<", "!=")


def is_version(text: str) -> bool:
    """Return whether R would take this for a package's version."""
    return _VERSION.fullmatch(text) is not None


def find_upstream(version: str) -> str:
    """Return the version of what a distribution's package holds: 1:4.7-1.1-2 is 4.7-1.1."""
    upstream, dash, _ = version.partition(":")[2 if ":" in version else 0].rpartition("-")
    return _REPACKED.sub("", upstream if dash else version)


def compare(left: str, right: str) -> int:
    """Return less than, equal to or more than 0, as R orders two versions. What is no version is older than all."""
    if not (is_version(left) and is_version(right)):
        return (is_version(left) - is_version(right)) or (left > right) - (left < right)
    pairs = zip_longest(_numbers(left), _numbers(right), fillvalue=-1)
    return next((a - b for a, b in pairs if a != b), 0)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.split(r"[.-]", version)]


def fits(have: str, operator: str, wanted: str) -> bool:
    """Return whether version ``have`` meets a condition; one without an operator is met by all."""
    order = compare(have, wanted) if operator else 0
    return {
        "": True, "==": order == 0, "!=": order != 0, ">=": order >= 0, "<=": order <= 0, ">": order > 0, "<": order < 0,
    }[operator]  # fmt: skip


def check_version(text: str, *, where: str) -> str:
    """Return a version of R or of a package as it was given. Raises ``CarboyError`` that says ``where`` it stands."""
    if not is_version(text):
        raise CarboyError(f"{where}: {text!r} is no version", hint="a version is numbers with dots, 4.2.2")
    return text
