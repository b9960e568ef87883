"""Submodules of a repository: which there are, and where they come from.

``git submodule`` itself is not used: it obeys a repository's own configuration (CVE-2018-17456, CVE-2024-32002). A submodule is a
commit in a tree and an address in .gitmodules, nothing else of which counts; its name is used for nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.build.solver import git
from carboy.build.solver.downloads import show_url
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_DEPTH = 10
MAX_COUNT = 500
_GITLINK = b"160000 commit "
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_SCP = re.compile(r"[^/@:]*@?[A-Za-z0-9_][^/:]*:(?!:)", re.ASCII)
_HINT = "?submodules=false after the address leaves all of them out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A submodule: ``path`` in the whole checkout, and the bare repository ``objects`` that has its ``commit``."""

    path: bytes
    objects: str
    commit: str


def iter_submodules(
    program: git.GitProgram, *, url: str, objects: str, commit: str, fetch: Callable[[str, str], str]
) -> Iterator[Module]:
    """Yield the submodules of a commit and theirs, each after the one that it lies in.

    ``fetch`` takes an address and a commit, and returns the bare repository that has it then. Raises ``CarboyError``.
    """
    count = 0
    waiting = [(url, objects, commit, b"", 0)]
    while waiting:
        above, place, version, folder, depth = waiting.pop(0)
        for path, wanted, address in _list_gitlinks(program, place, version, url=above):
            count += 1
            if depth >= MAX_DEPTH or count > MAX_COUNT:
                raise CarboyError(
                    f"{show_url(url)} has submodules more than {MAX_DEPTH} deep, or more than {MAX_COUNT}", hint=_HINT
                )
            module = Module(path=folder + path, objects=fetch(address, wanted), commit=wanted)
            yield module
            waiting.append((address, module.objects, wanted, module.path + b"/", depth + 1))


def _list_gitlinks(program: git.GitProgram, objects: str, commit: str, *, url: str) -> Iterator[tuple[bytes, str, str]]:
    """Yield (path, commit, address) of a commit's own submodules."""
    addresses: dict[bytes, tuple[str, str]] | None = None
    for record in program.records("--git-dir", objects, "ls-tree", "-r", "-z", "--full-tree", commit):
        head, _, path = record.partition(b"\t")
        if not head.startswith(_GITLINK):
            continue
        _check_path(path, url)
        if addresses is None:
            addresses = _read_addresses(program, objects, commit)
        if path not in addresses:
            shown = path.decode("utf-8", "replace")
            raise CarboyError(f"{show_url(url)}: its .gitmodules has no address for the submodule {shown}", hint=_HINT)
        address, update = addresses[path]
        if update != "none":
            yield path, head.removeprefix(_GITLINK).decode(), resolve_address(url, address)


def _read_addresses(program: git.GitProgram, objects: str, commit: str) -> dict[bytes, tuple[str, str]]:
    """Return (address, how it is updated) by path."""
    found: dict[bytes, dict[str, bytes]] = {}
    wanted = (r"^submodule\..*\.(path|url|update)$", f"{commit}:.gitmodules")
    for record in program.records(
        "--git-dir", objects, "config", "-z", "--no-includes", "--blob", wanted[1], "--get-regexp", wanted[0]
    ):
        key, _, value = record.partition(b"\n")
        name, _, field = key.rpartition(b".")
        found.setdefault(name, {})[field.decode("ascii", "replace")] = value
    return {
        fields["path"].rstrip(b"/"): (
            fields["url"].decode("utf-8", "surrogateescape"),
            fields.get("update", b"").decode("utf-8", "replace"),
        )
        for fields in found.values()
        if fields.get("path") and fields.get("url")
    }


def _check_path(path: bytes, url: str) -> None:
    if any(part in {b"", b".", b".."} or part.lower() == b".git" for part in path.split(b"/")):
        shown = path.decode("utf-8", "replace")
        raise CarboyError(f"{show_url(url)} has a submodule at {shown!r}, which leads out of it", hint=_HINT)


def resolve_address(above: str, address: str) -> str:
    """Return where a submodule comes from: "./x" and "../x" are beside the repository ``above`` it, on the same server.

    Raises ``CarboyError`` for an address that no build fetches from: files of this machine, programs, options. Pure.
    """
    if address.startswith(("./", "../")):
        address = _beside(above, address)
    scheme = _SCHEME.match(address)
    if scheme is not None:
        protocol = scheme[1].lower()
    elif "::" in address or address.startswith("-"):
        protocol = "ext"
    else:
        protocol = "ssh" if _SCP.match(address) else "file"
    if protocol not in git.PROTOCOLS.split(":"):
        raise CarboyError(
            f"{show_url(above)} has a submodule at an address that builds do not fetch from",
            details=f"{address}\n{' '.join(git.PROTOCOLS.split(':'))} are there",
            hint=_HINT,
        )
    return address


def _beside(above: str, address: str) -> str:
    scheme, scp = _SCHEME.match(above), _SCP.match(above)
    if scheme is not None:
        start = above.find("/", scheme.end())
        head, path = (above, "") if start < 0 else (above[:start], above[start:])
    elif scp is not None:
        head, path = above[: scp.end()], above[scp.end() :]
    else:
        head, path = "", above
    is_absolute = path.startswith("/")
    parts = path.strip("/").split("/") if path.strip("/") else []
    for word in address.split("/"):
        if word == "..":
            if not parts:
                raise CarboyError(f"{show_url(above)} has a submodule at {address}, above its server", hint=_HINT)
            parts.pop()
        elif word not in {"", "."}:
            parts.append(word)
    return head + ("/" if is_absolute or (scheme is not None and parts) else "") + "/".join(parts)
