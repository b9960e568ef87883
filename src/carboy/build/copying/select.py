"""Which files of an origin a source of COPY means: paths, wildcards, links at the top, what is left out.

Links are followed inside the origin only, whatever they say; what a context ignores is as if it were not there, also at the end
of a link (CVE-2018-15664, GHSA-vp35-85q5-9f25). Traps 39 to 43, 46, 47.
"""

from __future__ import annotations

import errno
import os
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.build.copying.wildcards import ANY_DEPTH, compile_component, has_wildcards
from carboy.dockerfile.suggest import find_nearest
from carboy.errors import CarboyError
from carboy.snapshots.merged import Folder, find, split
from carboy.snapshots.transfer import iter_contents, iter_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carboy.build.graph.ops import Ignore
    from carboy.snapshots.transfer import Filter, Item

MAX_DEPTH = 256
_LOOKED_AT = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a source is written as, and how it is taken; see ``graph.ops.CopyItem`` and ``Copy``."""

    path: str
    wildcards: bool = True
    parents: bool = False
    ignore: Ignore | None = None
    excluded: Ignore | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """One thing to copy: its own name, and the place where it really is (parts without links).

    ``open_items`` opens the journey: of a file itself, of a folder the folder itself first (no parts), then what is below it.
    ``keep`` is what of a folder is taken beyond the context's own rules (None: all).
    """

    name: bytes
    parts: tuple[bytes, ...]
    is_folder: bool
    keep: Filter | None
    open_items: Callable[[], Iterator[Item]]


class Keep:
    """What of a folder is taken: not what the context ignores (by paths from its root), not what is excluded (from here)."""

    def __init__(self, base: str, *, ignore: Ignore | None = None, excluded: Ignore | None = None) -> None:
        self._base = f"{base}/" if base else ""
        self._ignore = ignore
        self._excluded = excluded

    def takes(self, parts: list[bytes], *, is_folder: bool) -> bool:
        """Return whether neither leaves the path out."""
        path = os.fsdecode(b"/".join(parts))
        if self._ignore is not None and self._ignore.matches(self._base + path, is_folder=is_folder):
            return False
        return self._excluded is None or not self._excluded.matches(path, is_folder=is_folder)

    def enters(self, parts: list[bytes]) -> bool:
        """Return whether something below a folder that is left out may be taken back in."""
        path = os.fsdecode(b"/".join(parts))
        for rules, own in ((self._ignore, self._base + path), (self._excluded, path)):
            if rules is not None and rules.matches(own, is_folder=True) and not rules.may_hold_exceptions(own):
                return False
        return True


class Matches:
    """What ``--parents`` takes of a folder: the paths that were found, the folders on the way, what is below; see ``Keep``."""

    def __init__(self, paths: list[tuple[bytes, ...]], keep: Keep) -> None:
        self._paths = set(paths)
        self._ways = {path[:count] for path in paths for count in range(1, len(path))}
        self._keep = keep

    def _is_within(self, parts: list[bytes]) -> bool:
        return any(tuple(parts[:count]) in self._paths for count in range(1, len(parts) + 1))

    def takes(self, parts: list[bytes], *, is_folder: bool) -> bool:
        """Return whether the path was asked for, or is below one that was, and is not left out."""
        return self._is_within(parts) and self._keep.takes(parts, is_folder=is_folder)

    def enters(self, parts: list[bytes]) -> bool:
        """Return whether the folder leads to something that was asked for."""
        return (tuple(parts) in self._ways or self._is_within(parts)) and self._keep.enters(parts)


def select(source: Source, open_root: Callable[[], Folder], *, where: str) -> list[Selected]:
    """Return what a source means, in the order of the names. ``where`` names the origin for messages.

    Raises ``CarboyError`` when a path without wildcards is not there.
    """
    if source.parents:
        return _select_parents(source, open_root, where=where)
    path = clean_path(source.path)
    names = [path]
    if source.wildcards and has_wildcards(path):
        with open_root() as root:
            names = [
                os.fsdecode(b"/".join(parts))
                for parts in _expand(root, split(os.fsencode(path)))
                if not _is_hidden(source.ignore, parts)
            ]
    found = []
    for name in names:
        one = _select_path(name, source, open_root)
        if one is not None:
            found.append(one)
        elif name == path:
            raise _missing(source, where, open_root)
    return found


def _select_path(path: str, source: Source, open_root: Callable[[], Folder]) -> Selected | None:
    with open_root() as root:
        try:
            place = find(root, os.fsencode(path) or b".")
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
                raise
            return None
        with place:
            parts = tuple(place.parts)
            if (
                place.entry is None
                or _is_hidden(source.ignore, split(os.fsencode(path)))
                or _is_hidden(source.ignore, parts)
            ):
                return None
            name = (split(os.fsencode(path)) or [b""])[-1]
            if place.entry.is_folder:
                keep = Keep(_show(parts), ignore=source.ignore, excluded=source.excluded)
                plain = source.ignore is None and source.excluded is None

                def open_items() -> Iterator[Item]:
                    with open_root() as top, find(top, b"/".join(parts) or b".", follow=False) as again:
                        folder = again.open_folder(top)
                    return iter_contents(folder, keep=None if plain else keep)

                # The context's own scan knows what it ignores; only what is excluded here is new to it.
                own = None if source.excluded is None else Keep("", excluded=source.excluded)
                return Selected(name=name, parts=parts, is_folder=True, keep=own, open_items=open_items)
            return Selected(
                name=name, parts=parts, is_folder=False, keep=None, open_items=lambda: _open_file(open_root, parts)
            )


def _open_file(open_root: Callable[[], Folder], parts: tuple[bytes, ...]) -> Iterator[Item]:
    with open_root() as top, find(top, b"/".join(parts), follow=False) as place:
        if place.folder is None or place.entry is None:
            raise FileNotFoundError(2, os.strerror(2), os.fsdecode(b"/".join(parts)))
        for item in iter_entry(place.folder, place.name, place.entry):
            item.parts = []
            yield item


def _select_parents(source: Source, open_root: Callable[[], Folder], *, where: str) -> list[Selected]:
    above, has_pivot, rest = source.path.partition("/./")
    if not has_pivot:
        above, rest = "", source.path
    path, pattern = clean_path(above), clean_path(rest)
    with open_root() as root:
        try:
            with find(root, os.fsencode(path) or b".") as place:
                base, folder = tuple(place.parts), place.open_folder(root)
        except OSError:
            raise _missing(source, where, open_root) from None
        with folder:
            keep = Keep(_show(base), ignore=source.ignore, excluded=source.excluded)
            if has_wildcards(pattern) and source.wildcards:
                found = _expand(folder, split(os.fsencode(pattern)))
            else:
                found = _find_plain(folder, split(os.fsencode(pattern)))
                if not found or not all(keep.enters(list(p)) for p in found):
                    raise _missing(source, where, open_root)
    if not found:
        return []
    matches: Filter = keep if found == [()] else Matches(found, keep)

    def open_items() -> Iterator[Item]:
        with open_root() as top, find(top, b"/".join(base) or b".", follow=False) as again:
            inner = again.open_folder(top)
        return iter_contents(inner, keep=matches)

    return [Selected(name=b"", parts=base, is_folder=True, keep=matches, open_items=open_items)]


def _find_plain(folder: Folder, parts: list[bytes]) -> list[tuple[bytes, ...]]:
    try:
        with find(folder, b"/".join(parts) or b".", follow=False) as place:
            return [] if place.entry is None else [tuple(place.parts)]
    except OSError:
        return []


def _expand(root: Folder, patterns: list[bytes]) -> list[tuple[bytes, ...]]:
    """Return the paths that fit, by their bytes; no link on the way is followed, "**" stands for any number of folders."""
    found: dict[tuple[bytes, ...], None] = {}
    _expand_below(root, patterns, (), found)
    return sorted(found)


def _expand_below(
    folder: Folder, patterns: list[bytes], above: tuple[bytes, ...], found: dict[tuple[bytes, ...], None]
) -> None:
    if len(above) > MAX_DEPTH:
        raise CarboyError(f"the folder {_show(above[:1])} is more than {MAX_DEPTH} levels deep")
    pattern, rest = patterns[0], patterns[1:]
    if os.fsdecode(pattern) == ANY_DEPTH and rest:
        _expand_below(folder, rest, above, found)
        names, any_depth = folder.names(), True
    else:
        names, any_depth = _match(folder, os.fsdecode(pattern)), False
    for name in names:
        entry = folder.lookup(name)
        if entry is None:
            continue
        if not rest:
            found.setdefault((*above, name))
        elif entry.is_folder:
            with folder.open_folder(name) as inner:
                _expand_below(inner, patterns if any_depth else rest, (*above, name), found)


def _match(folder: Folder, pattern: str) -> list[bytes]:
    if not has_wildcards(pattern):
        name = os.fsencode(pattern)
        return [name] if folder.lookup(name) is not None else []
    regex = compile_component(pattern)
    return [name for name in folder.names() if regex.fullmatch(os.fsdecode(name))]


def clean_path(path: str) -> str:
    """Return a path from the origin's root on: leading "/" and ".." are cut there, as BuildKit does (trap 41)."""
    return posixpath.normpath(f"/{path}").lstrip("/")


def _is_hidden(ignore: Ignore | None, parts: tuple[bytes, ...] | list[bytes]) -> bool:
    if ignore is None or not parts:
        return False
    path = _show(parts)
    return ignore.matches(path, is_folder=True) and not ignore.may_hold_exceptions(path)


def _show(parts: tuple[bytes, ...] | list[bytes]) -> str:
    return os.fsdecode(b"/".join(parts))


def _missing(source: Source, where: str, open_root: Callable[[], Folder]) -> CarboyError:
    path = clean_path(source.path)
    hidden = _is_hidden(source.ignore, split(os.fsencode(path)))
    details = "the .dockerignore leaves it out" if hidden else ""
    if hidden:
        hint = "take it back in with a line !PATH in the .dockerignore"
    elif near := _find_near(path, source, open_root):
        hint = f"did you mean {near}?"
    else:
        hint = "check the path, which begins there"
    return CarboyError(f"{source.path!r} is not in {where}", details=details, hint=hint)


def _find_near(path: str, source: Source, open_root: Callable[[], Folder]) -> str:
    """Return a path that is there and differs in one component by a letter or two, "" when there is none."""
    parts = split(os.fsencode(path.replace("/./", "/")))
    with open_root() as root:
        for count, part in enumerate(parts):
            try:
                with find(root, b"/".join(parts[: count + 1])) as place:
                    if place.entry is not None:
                        continue
                with find(root, b"/".join(parts[:count]) or b".") as place, place.open_folder(root) as folder:
                    names = [
                        name
                        for name in folder.names()[:_LOOKED_AT]
                        if not _is_hidden(source.ignore, [*parts[:count], name])
                    ]
            except OSError:
                return ""
            near = find_nearest(os.fsdecode(part), map(os.fsdecode, names))
            return os.fsdecode(b"/".join([*parts[:count], os.fsencode(near), *parts[count + 1 :]])) if near else ""
    return ""
