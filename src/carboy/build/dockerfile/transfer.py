"""COPY and ADD: from their sources to one operation. Source: dockerfile2llb/convert_copy.go."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import unquote, urlsplit

from carboy.base.credentials import redact
from carboy.build.copying.modes import parse_chmod
from carboy.build.dockerfile.git import GitAddress, parse_git_address
from carboy.build.dockerfile.paths import join_destination
from carboy.build.dockerfile.stage import StageState
from carboy.build.graph import ops
from carboy.dockerfile.errors import LanguageError
from carboy.dockerfile.ignore import compile_ignore
from carboy.dockerfile.instructions.model import Add, Copy, InlineSource
from carboy.errors import CarboyError
from carboy.oci.digest import Digest

_UNNAMED = "__unnamed__"
Unpack: TypeAlias = Literal["never", "auto", "always"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """A source of ADD that is an address: a repository, or a file."""

    address: str
    git: GitAddress | None


def plan_transfer(stage: StageState, instruction: Copy | Add, origin: ops.Origin, *, trigger: bool = False) -> None:
    """Let a COPY or ADD take effect, whose plain sources are paths of ``origin``. Raises ``LanguageError``."""
    check_mode(instruction.chmod)
    title = stage.next_title(stage.describe(instruction.code), trigger=trigger)
    location = stage.location(instruction.span)
    remotes = [_remote(source) for source in instruction.sources]
    _check_remotes(instruction, [remote for remote in remotes if remote is not None])
    unpack = _unpack(instruction)
    items: list[ops.CopyItem] = []
    for source, remote in zip(instruction.sources, remotes, strict=True):
        if remote is None:
            items.append(ops.CopyItem(origin=origin, path=source, unpack=unpack))
        elif isinstance(instruction, Add):
            items.append(_remote_item(instruction, remote, title=title, location=location))
    items += [_inline_item(item) for item in instruction.inline]
    operation = ops.Copy(
        parent=stage.state,
        items=tuple(items),
        destination=join_destination(stage.folder, instruction.destination),
        chown=instruction.chown,
        chmod=instruction.chmod,
        exclude=instruction.exclude,
        excluded=compile_ignore(instruction.exclude) if instruction.exclude else None,
        parents=isinstance(instruction, Copy) and instruction.parents,
        link=instruction.link and not instruction.chmod,  # trap 45
        no_cache=stage.no_cache,
        title=title,
        location=location,
    )
    stage.change(operation, _created_by(instruction))


def check_mode(text: str) -> None:
    """Refuse a ``--chmod`` that is neither octal up to 07777 nor symbolic (trap 38). Raises ``LanguageError``."""
    try:
        parse_chmod(text)
    except CarboyError as error:
        raise LanguageError(
            f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777",
            word=text,
            hint="write 0755, or u=rwX,go=rX",
        ) from error


def _created_by(instruction: Copy | Add) -> str:
    words = ["COPY" if isinstance(instruction, Copy) else "ADD"]
    if isinstance(instruction, Copy) and instruction.parents:
        words.append("--parents")
    if instruction.chown:
        words.append(f"--chown={instruction.chown}")
    if instruction.chmod:
        words.append(f"--chmod={instruction.chmod}")
    words += map(redact, instruction.sources)
    words += [f"<<{item.name}" for item in instruction.inline]
    return f"{' '.join([*words, instruction.destination])} # buildkit"


def _remote(source: str) -> _Source | None:
    """Return a source that is an address, None for a path."""
    git = parse_git_address(source)
    if git is not None or source.startswith(("http://", "https://")):
        return _Source(address=source, git=git)
    return None


def _check_remotes(instruction: Copy | Add, remotes: list[_Source]) -> None:
    if isinstance(instruction, Copy):
        for remote in remotes:
            what = "a git ref" if remote.git is not None else "a URL"
            raise LanguageError(f"source can't be {what} for COPY", word=remote.address, hint="ADD fetches it")
        return
    if instruction.checksum and len(instruction.sources) != 1:
        raise LanguageError(
            "checksum can't be specified for multiple sources", word="--checksum", hint="write one ADD for each"
        )
    if instruction.checksum and not remotes:
        raise LanguageError("checksum requires HTTP(S) or Git sources", word="--checksum", hint="leave it out")


def _unpack(instruction: Copy | Add) -> Unpack:
    """Return whether archives of the context are unpacked: ADD does so unless it is told not to (trap 48)."""
    return "auto" if isinstance(instruction, Add) and instruction.unpack is not False else "never"


def _remote_item(instruction: Add, remote: _Source, *, title: str, location: ops.Location) -> ops.CopyItem:
    if remote.git is not None:
        return _git_item(instruction, remote, remote.git, title=title, location=location)
    name = unquote(posixpath.basename(urlsplit(remote.address).path)) or _UNNAMED
    if name in {".", ".."} or "/" in name or "\0" in name:
        name = _UNNAMED
    try:
        checksum = Digest.parse(instruction.checksum) if instruction.checksum else None
    except CarboyError as error:
        raise LanguageError(error.brief, word=instruction.checksum, hint=error.hint) from error
    origin = ops.Http(url=remote.address, filename=name, checksum=checksum, title=title, location=location)
    return ops.CopyItem(origin=origin, path=name, wildcards=False, unpack="auto" if instruction.unpack else "never")


def _git_item(
    instruction: Add, remote: _Source, git: GitAddress, *, title: str, location: ops.Location
) -> ops.CopyItem:
    keep, asked = git.keep_git_dir, instruction.keep_git_dir
    if keep is not None and asked is not None and keep != asked:
        raise LanguageError("inconsistent keep-git-dir configuration", word="--keep-git-dir", hint="say it once")
    if instruction.checksum and git.checksum and instruction.checksum != git.checksum:
        raise LanguageError(f'checksum mismatch "{instruction.checksum}" != "{git.checksum}"', word=remote.address)
    origin = ops.Git(
        url=git.remote,
        ref=git.ref,
        subdir=git.subdir,
        checksum=instruction.checksum or git.checksum,
        keep_git_dir=bool(asked if keep is None else keep),
        submodules=git.submodules,
        title=title,
        location=location,
    )
    return ops.CopyItem(origin=origin, path="/", wildcards=False)


def _inline_item(item: InlineSource) -> ops.CopyItem:
    if "/" in item.name or item.name in {".", ".."}:
        raise LanguageError(f"a document cannot be called {item.name}", word=f"<<{item.name}", hint="leave the / out")
    content = item.content.encode("utf-8", "surrogateescape")
    origin = ops.InlineFiles(files=(ops.InlineFile(name=item.name, content=content),))
    return ops.CopyItem(origin=origin, path=item.name, wildcards=False)
