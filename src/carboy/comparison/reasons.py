"""Why a file came out differently: told from its bytes on both sides and from what was different around the builds. Pure.

Sources: reproducible-builds.org, the list of known issues; PEP 552 (the header of a .pyc); RFC 1952 (gzip's header).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carboy.comparison.files import FileDifference

CLOCK = "a time is written into it"
RANDOM = "it has random values"
NUMBER = "a number in it differs: a counter, a measure, or a random one"
ORDER = "the same lines in another order"
KEYS = "the same JSON in another order"
UNKNOWN = "no known cause fits"
NAMED_TIME, NAMED_RANDOM = "a time is in its name", "a random value is in its name"
_LOGS = (b"var/log/", b"var/cache/", b"var/lib/apt/", b"tmp/", b"var/tmp/")
_PYC_HEADER = 16
_MAX_TOKENS = 1500
_MAX_LOOKED_AT = 2**14
_MAX_EXCERPT = 60
# What people and programs write for a time: ISO 8601, date(1), RFC 2822, seconds (also with a fraction, or in milliseconds).
_TIME = (
    rb"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)?(?:Z|[+-]\d\d:?\d\d)?"
    rb"|(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? )?(?:\d{1,2} )?(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]* "
    rb"(?: ?\d{1,2} )?(?:\d{4} )?\d\d:\d\d:\d\d(?: (?:[AP]M ?)?(?:[A-Z]{2,5}|[+-]\d{4}))?(?: \d{4})?"
    rb"|(?<![0-9A-Za-z])\d\d:\d\d:\d\d(?:[.,]\d+)?(?![0-9A-Za-z])"
    rb"|(?<![0-9A-Za-z])1\d{9}(?:[.,]\d+|\d{3}|\d{6}|\d{9})?(?![0-9A-Za-z])"
    rb"|(?<![0-9A-Za-z])(?:19|20)\d{6}(?:T?\d{6}Z?)?(?![0-9A-Za-z])"
)
_TIMES = re.compile(_TIME)
_PIECES = re.compile(rb"(?:" + _TIME + rb")|[A-Za-z0-9_.+/-]+|\s+|.", re.DOTALL)
_NUMBER = re.compile(rb"[0-9]+(?:[.,][0-9]+)*")
_HEX = re.compile(rb"(?=.*[0-9])[0-9A-Fa-f]{8,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LETTERS = re.compile(rb"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9+_]{10,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What was different around two builds: for a cause in words, the text that the right one had of it (and the left, if known).

    ``values`` is like {"the name of the host": ("", "elsewhere-7")}.
    """

    values: Mapping[str, tuple[str, str]]


def explain(difference: FileDifference, left: bytes | None, right: bytes | None, around: Surroundings) -> str:
    """Return why a path differs, for people. ``left`` and ``right`` are its contents, where it is a file on both sides."""
    names = [aspect.name for aspect in difference.aspects]
    if "presence" in names:
        return _describe_place(difference.path).removeprefix(", ")
    if "kind" in names:
        return "it is of another kind"
    parts = []
    if "content" in names:
        if left is None or right is None:
            parts.append("the content differs, and is too far inside the layer to be looked at")
        else:
            parts.append(explain_content(difference.path, left, right, around) + _describe_place(difference.path))
    if "target" in names:
        parts.append(
            _find_around(difference.aspects[names.index("target")].right.encode(), b"", around) or "it points elsewhere"
        )
    for name, text in (
        ("mode", "its mode follows the umask, or what made it"),
        ("owner", "its owner follows who built, or what made it"),
        ("mtime", "its time is not held to SOURCE_DATE_EPOCH"),
        ("xattrs", "its attributes follow the file system, or what made it"),
        ("device", "it is another device"),
    ):
        if name in names and not ("content" in names and name == "mtime"):
            parts.append(text)
    return "; ".join(parts)


def explain_all(
    differences: Sequence[FileDifference],
    left: Mapping[bytes, bytes],
    right: Mapping[bytes, bytes],
    around: Surroundings,
) -> tuple[FileDifference, ...]:
    """Return the differences with their reasons."""
    named = _explain_names(differences)
    return tuple(
        replace(one, reason=named.get(one.path) or explain(one, left.get(one.path), right.get(one.path), around))
        for one in differences
    )


def _explain_names(differences: Sequence[FileDifference]) -> dict[bytes, str]:
    """Return the reason of paths that one side alone has, and the other by another name but for a time or a random value."""
    found: dict[bytes, str] = {}
    for pattern, reason in ((_TIMES, NAMED_TIME), (_HEX, NAMED_RANDOM), (_LETTERS, NAMED_RANDOM)):
        shapes: dict[bytes, list[FileDifference]] = {}
        for one in differences:
            if one.aspects[0].name == "presence" and pattern.search(one.path):
                shapes.setdefault(pattern.sub(b"*", one.path), []).append(one)
        for group in shapes.values():
            if len({bool(one.aspects[0].left) for one in group}) == 2:
                for one in group:
                    found.setdefault(one.path, reason)
    return found


def explain_content(path: bytes, left: bytes, right: bytes, around: Surroundings) -> str:
    """Return why the content of a file differs: the first known cause that fits all of the difference, else what is seen."""
    if path.endswith(b".pyc"):
        return _explain_pyc(left, right, around)
    if left[:2] == right[:2] == b"\x1f\x8b" and left[:4] == right[:4] and left[8:] == right[8:]:
        return "gzip's header holds the time"
    known = _find_around(right, left, around)
    if known:
        return known
    return _explain_order(left, right) or _explain_pieces(left, right)


def _explain_order(left: bytes, right: bytes) -> str:
    if sorted(left.splitlines()) == sorted(right.splitlines()):
        return ORDER
    return KEYS if _is_same_json(left, right) else ""


def _explain_pieces(left: bytes, right: bytes) -> str:
    if _is_noise(left) and _is_noise(right):
        return RANDOM
    removed, added = _find_pieces(left, right)
    kinds = dict.fromkeys(_classify(piece) for piece in (*removed, *added))
    reasons = [UNKNOWN] if not kinds or UNKNOWN in kinds else list(kinds)
    return "; ".join(reasons) + _quote(removed, added)


def _classify(piece: bytes) -> str:
    if _TIMES.fullmatch(piece):
        return CLOCK
    if _NUMBER.fullmatch(piece):
        return NUMBER
    return RANDOM if _HEX.fullmatch(piece) or _LETTERS.fullmatch(piece) or _is_noise(piece) else UNKNOWN


def _quote(removed: Sequence[bytes], added: Sequence[bytes]) -> str:
    """Return what differs first, of both sides, where people can read it."""
    shown = [
        b" ".join(pieces).decode("utf-8", "backslashreplace")[:_MAX_EXCERPT] for pieces in (removed[:4], added[:4])
    ]
    if not any(shown) or not all(text.isprintable() for text in shown):
        return ""
    return f" ({shown[0] or 'nothing'} / {shown[1] or 'nothing'})"


def _explain_pyc(left: bytes, right: bytes, around: Surroundings) -> str:
    if left[_PYC_HEADER:] == right[_PYC_HEADER:] and left[:4] == right[:4]:
        is_timed = not left[4] & 1
        return "compiled Python holds the time of its source" if is_timed else "compiled Python holds its source's hash"
    if left[:4] != right[:4]:
        return "compiled by another Python"
    known = _find_around(right, left, around)
    return f"compiled Python: {known}" if known else "compiled Python differs: the code, or its order of names"


def _find_around(right: bytes, left: bytes, around: Surroundings) -> str:
    """Return the cause whose text only one side has: what came from the surroundings of a build stands there as it was."""
    for cause, (before, after) in around.values.items():
        one, other = before.encode(), after.encode()
        if len(other) > 2 and other in right and other not in left:
            return f"{cause} is written into it"
        if other and left and left != right and one != other and _swap(left, one, other) == right:
            return f"{cause} is written into it"
    return ""


def _swap(text: bytes, one: bytes, other: bytes) -> bytes:
    """Return the text with ``one`` as a whole word replaced; short values (a number of processors) are in much by chance."""
    if not one:
        return text
    return re.sub(rb"(?<![A-Za-z0-9])" + re.escape(one) + rb"(?![A-Za-z0-9])", lambda _: other, text)


def _is_same_json(left: bytes, right: bytes) -> bool:
    if left[:1] not in {b"{", b"["}:
        return False
    try:
        return bool(json.loads(left) == json.loads(right))
    except (ValueError, RecursionError):
        return False


def _find_pieces(left: bytes, right: bytes) -> tuple[list[bytes], list[bytes]]:
    """Return the words that differ, of each side; of much text the beginning."""
    begin = max(0, _find_first(left, right) - 256)  # a little before it, so that no date is cut
    one, other = (_PIECES.findall(side[begin : begin + _MAX_LOOKED_AT])[:_MAX_TOKENS] for side in (left, right))
    removed: list[bytes] = []
    added: list[bytes] = []
    for kind, a, b, c, d in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if kind != "equal":
            removed += [piece for piece in one[a:b] if piece.strip()]
            added += [piece for piece in other[c:d] if piece.strip()]
    return removed, added


def _find_first(left: bytes, right: bytes) -> int:
    """Return where two byte strings begin to differ."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[:middle] == right[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _is_noise(data: bytes) -> bool:
    """Return whether bytes look as if they came from a source of randomness: no text, and many different ones."""
    if len(data) < 16:
        return not data.isascii()
    return len(set(data)) > min(len(data), 256) * 0.5 and not data.isascii()


def _describe_place(path: bytes) -> str:
    return ", a log or a cache that no image needs" if path.startswith(_LOGS) else ""
