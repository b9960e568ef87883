"""Addresses of git repositories with what is wanted of them.

Sources: dfgitutil/git_ref.go and util/gitutil/git_url.go of BuildKit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from carboy.dockerfile.errors import LanguageError
from carboy.dockerfile.gotext import parse_boolean

_SCHEMES = frozenset({"http", "https", "ssh", "git"})
_SCP = re.compile(r"(?P<user>[a-zA-Z0-9_][\w.-]*)@(?P<host>[\w.-]+):(?!//)(?P<path>[^#?]+)(?P<rest>[?#].*)?", re.ASCII)
_MAYBE_EMPTY = frozenset({"keep-git-dir", "submodules"})
_KNOWN = (
    "ref",
    "tag",
    "branch",
    "subdir",
    "checksum",
    "commit",
    "keep-git-dir",
    "submodules",
    "mtime",
    "fetch-by-commit",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GitAddress:
    """``remote`` without query and fragment; ``keep_git_dir`` None where it is not said."""

    remote: str
    ref: str = ""
    subdir: str = ""
    checksum: str = ""
    keep_git_dir: bool | None = None
    submodules: bool = True


def parse_git_address(text: str) -> GitAddress | None:
    """Return the repository that ``text`` names, None when it names none: http and https do so only with ".git" at the path's
    end.

    Raises ``LanguageError`` for a query that git sources do not know (trap 50).
    """
    scp = _SCP.fullmatch(text)
    if scp is not None:
        rest = scp["rest"] or ""
        before, _, fragment = rest.partition("#")
        return _read(f"{scp['user']}@{scp['host']}:{scp['path']}", before.removeprefix("?"), fragment, text)
    scheme = text.partition("://")[0].lower()
    if "://" not in text or scheme not in _SCHEMES:
        return None
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    if scheme in {"http", "https"} and not parts.path.endswith(".git"):
        return None
    return _read(urlunsplit((parts.scheme, parts.netloc, parts.path, "", "")), parts.query, parts.fragment, text)


def _read(remote: str, query: str, fragment: str, text: str) -> GitAddress:
    ref, _, subdir = fragment.partition(":")
    values: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in _KNOWN:
            raise LanguageError(f'unexpected query "{key}"', word=text, hint=f"git sources know {', '.join(_KNOWN)}")
        if key in values:
            raise LanguageError(f'query "{key}" has multiple values', word=text)
        if not value and key not in _MAYBE_EMPTY:
            raise LanguageError(f'query "{key}" has no value', word=text)
        values[key] = value
    if "tag" in values and "branch" in values:
        raise LanguageError("branch conflicts with tag", word=text, hint="leave one of them out")
    wanted = [ref] if ref else []
    if "ref" in values:
        wanted.append(values["ref"])
    for key, prefix in (("tag", "refs/tags/"), ("branch", "refs/heads/")):
        if key in values:
            wanted.append(values[key] if values[key].startswith(prefix) else prefix + values[key])
    if len(set(wanted)) > 1:
        raise LanguageError(f'ref conflicts: "{wanted[0]}" vs "{wanted[1]}"', word=text, hint="say once what is wanted")
    if subdir and values.get("subdir", subdir) != subdir:
        raise LanguageError(f'subdir conflicts: "{subdir}" vs "{values["subdir"]}"', word=text)
    checksum = values.get("checksum", values.get("commit", ""))
    return GitAddress(
        remote=remote,
        ref=wanted[0] if wanted else checksum,
        subdir=subdir or values.get("subdir", ""),
        checksum=checksum,
        keep_git_dir=_switch(values, "keep-git-dir", text),
        submodules=_switch(values, "submodules", text) is not False,
    )


def _switch(values: dict[str, str], key: str, text: str) -> bool | None:
    if key not in values:
        return None
    value = parse_boolean(values[key] or "true")
    if value is None:
        raise LanguageError(f'invalid {key} value: "{values[key]}"', word=text, hint="write true or false")
    return value
