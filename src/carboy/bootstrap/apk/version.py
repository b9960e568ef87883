"""Alpine's version numbers: their order. Pure (apk-package(5), "Version"; apk-tools, version.c).

``1.2.3a_rc1_git20240101~abcdef-r4``: numbers, a letter, suffixes, a commit, a revision.
"""

from __future__ import annotations

import re
from functools import lru_cache

from carboy.bootstrap.errors import ArchiveDataError

_BEFORE = ("alpha", "beta", "pre", "rc")
_AFTER = ("cvs", "svn", "git", "hg", "p")
_VERSION = re.compile(
    r"(?P<numbers>\d{1,40}(?:\.\d{1,40}){0,20})(?P<letter>[a-z]?)"
    rf"(?P<suffixes>(?:_(?:{'|'.join(_BEFORE + _AFTER)})\d{{0,40}}){{0,10}})"
    r"(?:~(?P<commit>[0-9a-f]{1,64}))?(?:-r(?P<revision>\d{1,20}))?\Z"
)
_SUFFIX = re.compile(r"_([a-z]+)(\d*)")
# Where two versions part, the one that goes on with a further left of these is the older; END is where one ends.
_PRE, _END, _REVISION, _COMMIT, _SUFFIX_NUMBER, _POST, _LETTER, _NUMBER = range(8)

VersionKey = tuple[tuple[int, object], ...]


def is_version(text: str) -> bool:
    """Return whether ``text`` is a version."""
    return _VERSION.match(text) is not None


@lru_cache(maxsize=8192)
def version_key(version: str) -> VersionKey:
    """Return a value that sorts as ``version`` does. Raises ``ArchiveDataError`` for what is none."""
    return (*_tokens(version), (_END, 0))


def _tokens(version: str) -> VersionKey:
    found = _VERSION.match(version)
    if found is None:
        raise ArchiveDataError("a version of Alpine's cannot be read", details=version[:200])
    tokens: list[tuple[int, object]] = []
    for place, number in enumerate(found["numbers"].split(".")):
        # With a zero first it is compared as in a fraction: 1.05 is older than 1.5.
        is_fraction = place > 0 and number.startswith("0")
        tokens.append((_NUMBER, (0, number) if is_fraction else (1, int(number))))
    if found["letter"]:
        tokens.append((_LETTER, found["letter"]))
    for word, number in _SUFFIX.findall(found["suffixes"]):
        tokens.append((_PRE, _BEFORE.index(word)) if word in _BEFORE else (_POST, _AFTER.index(word)))
        if number:
            tokens.append((_SUFFIX_NUMBER, int(number)))
    if found["commit"]:
        tokens.append((_COMMIT, found["commit"]))
    if found["revision"]:
        tokens.append((_REVISION, int(found["revision"])))
    return tuple(tokens)


def is_satisfied(version: str, relation: str, wanted: str) -> bool:
    """Return whether ``version`` stands in ``relation`` to ``wanted``: "<", "<=", "=", ">=", ">", or "" for any.

    "~" is for one that begins so: ``1.2`` is met by 1.2-r3 and 1.2.5, not by 1.20; ">~" and "<~" take the others beyond it, too.
    """
    if not relation:
        return True
    if "~" in relation:
        want = _tokens(wanted)
        have_tokens = _tokens(version)[: len(want)]
        return (
            have_tokens == want or (">" in relation and have_tokens > want) or ("<" in relation and have_tokens < want)
        )
    have, other = version_key(version), version_key(wanted)
    return (
        ("=" in relation and have == other) or (">" in relation and have > other) or ("<" in relation and have < other)
    )
