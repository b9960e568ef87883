"""Packages of git repositories, as requirements name them: ``NAME @ git+https://host/repo.git@REF#subdirectory=x``. Pure.

Whatever file names one, it is this form that goes on; a lock's has a commit for REF. A repository is the same one when its
address without a login, and the folder in it, are the same: that is how a lock's commit is found for what a branch names.

Sources: pip's "VCS Support"; PEP 440 (direct references), PEP 508, PEP 610.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from carboy.errors import CarboyError

SCHEMES = ("https", "http", "ssh", "git", "file")
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_FOREIGN = ("hg", "svn", "bzr")
_OTHERS = re.compile(rf"(?:^|@\s*)({'|'.join(_FOREIGN)})\+", re.ASCII)
_LINE = re.compile(
    r"(?:(?P<name>[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)\s*(?P<extras>\[[\w,\s.-]*\])?\s*@\s*)?(?P<address>git\+[^\s;]+)"
    r"\s*(?P<rest>;.*?)?(?P<hashes>(?:\s+--hash=sha256:[0-9a-f]{64})*)\s*",
    re.ASCII,
)
_ADDRESS = re.compile(
    r"git\+(?P<scheme>[a-z]+)://(?P<place>[^#?\s]+)(?P<query>\?[^#\s]*)?(?:#(?P<fragment>\S*))?", re.ASCII
)
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+-]*", re.ASCII)
_EGG = re.compile(r"([A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)(\[[\w,\s.-]*\])?", re.ASCII)
_FOLDER = re.compile(r"[^\s;&#]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """Where a package is: ``url`` as git takes it, ``ref`` a branch, a tag or a commit ("": the repository's default)."""

    url: str
    ref: str = ""
    subdirectory: str = ""

    @property
    def address(self) -> str:
        """The place as requirements have it, with whatever login it has."""
        ref = f"@{self.ref}" if self.ref else ""
        return f"git+{self.url}{ref}{f'#subdirectory={self.subdirectory}' if self.subdirectory else ''}"

    @property
    def identity(self) -> tuple[str, str]:
        """What is the same for the same package: the address without a login, and the folder."""
        return bare_url(self.url).removesuffix("/").removesuffix(".git"), self.subdirectory

    @property
    def is_pinned(self) -> bool:
        """Whether it names a commit, which nobody can move."""
        return COMMIT.fullmatch(self.ref) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryLine:
    """A requirement for a repository's package: ``name`` "" where only the package knows it; ``marker`` begins with ";"."""

    repository: Repository
    name: str = ""
    extras: str = ""
    marker: str = ""
    sha256: str = ""

    def __str__(self) -> str:
        """Return the line as requirements have it, without a hash."""
        head = f"{self.name}{self.extras} @ " if self.name else ""
        return f"{head}{self.repository.address}{f' {self.marker}' if self.marker else ''}"


def bare_url(url: str) -> str:
    """Return an address without what says who asks: the user of ssh is part of the address, and so are names of variables."""
    scheme, _, rest = url.partition("://")
    login, at, place = rest.partition("/")[0].rpartition("@")
    if not at or (scheme == "ssh" and ":" not in login) or re.fullmatch(r"\$\{[A-Z0-9_]+\}(:\$\{[A-Z0-9_]+\})?", login):
        return url
    user = f"{login.partition(':')[0]}@" if scheme == "ssh" else ""
    return f"{scheme}://{user}{place}{rest[rest.find('/') :] if '/' in rest else ''}"


def is_repository(line: str) -> bool:
    """Return whether a requirement names a repository of any kind."""
    return _OTHERS.search(line) is not None or re.search(r"(?:^|@\s*)git\+", line) is not None


def parse_line(line: str, where: str) -> RepositoryLine | None:
    """Return the requirement for a repository's package that a line of ``where`` is, None for any other.

    Raises ``CarboyError`` for what is no address of a git repository.
    """
    other = _OTHERS.search(line)
    if other is not None:
        raise _refuse(where, line, f"{other.group(1)} is not git")
    match = _LINE.fullmatch(line.strip())
    if match is None:
        if is_repository(line):
            raise _refuse(where, line, "it is not written as NAME @ git+https://HOST/PATH@REF")
        return None
    repository, egg = _parse_address(match["address"], where)
    named = _EGG.fullmatch(egg)
    name = match["name"] or (named.group(1) if named is not None else "")
    extras = match["extras"] or (named.group(2) or "" if named is not None else "")
    hashes = re.findall(r"sha256:([0-9a-f]{64})", match["hashes"] or "")
    return RepositoryLine(
        repository=repository,
        name=name,
        extras=extras,
        marker=(match["rest"] or "").strip(),
        sha256="".join(hashes[:1]),
    )


def _parse_address(address: str, where: str) -> tuple[Repository, str]:
    match = _ADDRESS.fullmatch(address)
    if match is None or match["scheme"] not in SCHEMES:
        known = ", ".join(f"git+{scheme}://" for scheme in SCHEMES)
        raise _refuse(where, address, f"addresses of repositories begin with {known}")
    host, slash, path = match["place"].partition("/")
    path, _, ref = path.rpartition("@") if "@" in path else (path, "", "")
    if not slash or not path or host.startswith("-") or path.startswith("-") or "::" in match["place"]:
        raise _refuse(where, address, "it names no repository")
    words = dict(word.partition("=")[::2] for word in (match["fragment"] or "").split("&"))
    url = f"{match['scheme']}://{host}/{path}{match['query'] or ''}"
    return name_repository(url, ref, words.get("subdirectory", ""), where=where), words.get("egg", "")


def name_repository(url: str, ref: str, subdirectory: str = "", *, where: str) -> Repository:
    """Return a repository's package by its parts. Raises ``CarboyError`` for a ref or a folder that cannot be one."""
    if ref and (not _REF.fullmatch(ref) or ".." in ref):
        raise _refuse(where, f"{bare_url(url)}@{ref}", "it names no branch, tag or commit")
    folder = "/".join(part for part in subdirectory.split("/") if part not in {"", "."})
    if subdirectory and (
        not _FOLDER.fullmatch(folder or ".") or ".." in folder.split("/") or subdirectory.startswith("/")
    ):
        raise _refuse(where, subdirectory, "the folder has to lie in the repository")
    return Repository(url=url, ref=ref, subdirectory=folder)


def from_table(table: Mapping[str, Any], *, where: str, name: str) -> Repository:
    """Return what a table of uv's or Poetry's settings, or an entry of a lock says of a repository.

    ``git`` is the address, with ``rev``, ``tag``, ``branch`` or ``ref`` and ``subdirectory``; locks have the commit in
    ``revision``, ``resolved_reference`` or ``commit-id``. Raises ``CarboyError`` for addresses that are none.
    """
    text = str(table.get("git") or table.get("url") or "")
    commit = next((str(table[k]) for k in ("revision", "resolved_reference", "commit-id") if table.get(k)), "")
    ref = commit or next((str(table[k]) for k in ("rev", "tag", "branch", "ref") if table.get(k)), "")
    scp = re.fullmatch(r"([A-Za-z0-9_][\w.-]*@[\w.-]+):(?!/)(.+)", text, re.ASCII)
    if scp is not None:
        text = f"ssh://{scp.group(1)}/{scp.group(2)}"
    match = re.fullmatch(r"(?:git\+)?([a-z]+)://([^\s#?]+)", text, re.ASCII)
    if match is None or match.group(1) not in SCHEMES or "::" in text:
        raise _refuse(where, f"{name}: {text}", "it is no address of a repository")
    return name_repository(
        f"{match.group(1)}://{match.group(2)}", ref, str(table.get("subdirectory") or ""), where=where
    )


def from_lock(table: Mapping[str, Any], *, where: str, name: str) -> Repository:
    """Return what an entry of a lock says of a repository, as :func:`from_table`; uv has all of it in the address.

    Raises ``CarboyError`` for one that names no commit.
    """
    address, _, commit = str(table.get("git") or "").partition("#")
    if commit:
        query = dict(word.partition("=")[::2] for word in address.partition("?")[2].split("&"))
        folder = table.get("subdirectory") or query.get("subdirectory", "").replace("%2F", "/")
        table = {"git": address.partition("?")[0], "revision": commit, "subdirectory": folder}
    found = from_table(table, where=where, name=name)
    if not found.is_pinned:
        raise CarboyError(f"{where} has no commit of {name}", details=bare_url(found.url), hint="write the lock anew")
    return found


def find_lines(text: str, *, where: str = "requirements") -> tuple[RepositoryLine, ...]:
    """Return the requirements for packages of repositories in ``text``, one line each, in their order."""
    found = (parse_line(line, where) for line in text.splitlines() if is_repository(line))
    return tuple(line for line in found if line is not None)


def drop_lines(text: str) -> str:
    """Return requirements without those for packages of repositories."""
    return "".join(line for line in text.splitlines(keepends=True) if not is_repository(line))


def refuse_foreign(table: Mapping[str, Any], *, name: str, where: str) -> None:
    """Raise ``CarboyError`` where an entry of a lock or a table of ``where`` has a package in a repository that is not git's."""
    kind = next((kind for kind in _FOREIGN if table.get("type") == kind or kind in table), "")
    if kind:
        raise CarboyError(
            f"{where} has a package of a repository of {kind}, and only git is known",
            details=f"{name}: {table.get('url') or table.get(kind) or ''}",
            hint="put a checkout into the folder, as ./libs/NAME, or name a released version",
        )


def _refuse(where: str, what: str, why: str) -> CarboyError:
    shown = re.sub(r"://[^/\s]*@", "://", what)
    return CarboyError(
        f"{where} asks for a package of a repository that cannot be had: {why}",
        details=shown,
        hint="name it as NAME @ git+https://HOST/PATH.git@REF, or name the archive of a release (https://.../NAME.tar.gz)",
    )
