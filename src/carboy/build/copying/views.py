"""What files are copied from, each behind the same four questions: a context, the layers of a state, single files.

A view answers what a source means, what its digest is (names beside the selected ones, modes, owners, contents; never
times), whose an item is, and when it was changed as far as the image shall know.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from carboy.build.copying.select import Selected, Source, clean_path, select
from carboy.build.copying.wildcards import has_wildcards
from carboy.errors import CarboyError
from carboy.layers import tarread
from carboy.layers.tarread import Member
from carboy.snapshots.merged import MergedRoot
from carboy.snapshots.transfer import Item, Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from carboy.build.context.observed import Observed
    from carboy.build.context.scan import ContextScan
    from carboy.build.copying.owners import Owners
    from carboy.snapshots.merged import Folder

Ids = tuple[int, int]
_CHUNK_BYTES = 2**20


class View(Protocol):
    """An origin of files, open for one build; from any thread."""

    def select(self, source: Source) -> list[Selected]:
        """Return what a source means. Raises ``CarboyError`` when it is not there."""
        ...

    def digest(self, selected: Selected) -> str:
        """Return the digest of what was selected, without its name."""
        ...

    def find_owner(self, selected: Selected, item: Item) -> Ids:
        """Return whose an item of it is, unless --chown says otherwise."""
        ...

    def is_dated(self) -> bool:
        """Return whether the files' times are a part of the image: a context's are an accident of its checkout."""
        ...

    def is_still(self, selected: Selected, digest: str) -> bool:
        """Return whether what was selected has that digest now; if it has not, what is asked next is asked of the files anew."""
        ...


class ContextView:
    """A folder of the machine; its files are root's, whoever owns them there (trap 34)."""

    def __init__(self, scan: ContextScan, *, where: str = "the build context") -> None:
        self._scan = scan
        self._name = where
        self._names: dict[str, tuple[str, ...]] = {}
        self._is_plain = True

    def select(self, source: Source) -> list[Selected]:
        """Return what a source means in the context, without what it ignores."""
        above = self._note_names(source)
        own = Source(
            path=source.path, wildcards=source.wildcards, parents=source.parents, excluded=source.excluded,
            ignore=self._scan.ignore,
        )  # fmt: skip
        found = select(own, self._scan.open, where=self._name)
        # What a link leads to depends on more than is noted.
        if above is None or not all(_is_in(one, above) for one in found):
            self._is_plain = False
        return found

    def _note_names(self, source: Source) -> str | None:
        """Note what the meaning of a source depends on beside the files that it means: the names beside a wildcard.

        Return the folder of what it means; None when it depends on more.
        """
        path = clean_path(source.path)
        above, _, _ = path.rpartition("/")
        if source.parents:
            return None
        if source.wildcards and has_wildcards(path):
            if has_wildcards(above):
                return None
            try:
                self._names.setdefault(above, tuple(sorted(os.listdir(f"{self._scan.folder}/{above}"))))
            except OSError:
                return None  # that it is not there may change
        return above

    def observe(self) -> Observed | None:
        """Return what was seen of the context, None when that does not suffice to tell whether a build would see the same."""
        return self._scan.observe(self._names.items()) if self._is_plain else None

    def digest(self, selected: Selected) -> str:
        """Return the digest, from what is known of the files' status where that is enough."""
        return _digest_context(self._scan, selected)

    def find_owner(self, selected: Selected, item: Item) -> Ids:
        """Return root."""
        del selected, item
        return 0, 0

    def is_dated(self) -> bool:
        """Return False."""
        return False

    def is_still(self, selected: Selected, digest: str) -> bool:
        """Look again."""
        again = self._scan.again()
        try:
            same = _digest_context(again, selected) == digest
        except OSError:  # it is gone, or a link is in its place
            same = False
        if not same:
            self._scan = again
            self._is_plain = False
        return same


def _is_in(selected: Selected, folder: str) -> bool:
    """Return whether a thing is where it was looked for, by its name in that folder: no link led to it."""
    *above, name = selected.parts or (b"",)
    return name == selected.name and os.fsdecode(b"/".join(above)) == folder


def _digest_context(scan: ContextScan, selected: Selected) -> str:
    path = os.fsdecode(b"/".join(selected.parts))
    if selected.is_folder:
        return scan.digest_folder(path, keep=selected.keep)
    return scan.digest_file(path)


class DigestMemory(Protocol):
    """Keeps digests of what never changes."""

    def recall(self, key: str) -> str | None:
        """Return what was remembered under a key."""
        ...

    def remember(self, key: str, digest: str) -> None:
        """Remember a digest."""
        ...


class StateView:
    """The merged layers of a state; its files keep their owners and times.

    ``open_trees`` gives the trees (lowest first) and who owns what, when they are needed; ``chain`` names the layers, under
    which digests of whole files and folders are kept in ``memory``.
    """

    def __init__(
        self,
        open_trees: Callable[[], tuple[Sequence[str], Owners]],
        *,
        chain: Sequence[str],
        title: str,
        memory: DigestMemory,
    ) -> None:
        self._open_trees = open_trees
        self._opened: tuple[Sequence[str], Owners] | None = None
        self._chain = chain
        self._title = title
        self._memory = memory

    def _look(self) -> tuple[Sequence[str], Owners]:
        # Asked for each file of a copy: they are opened once, and stay, for the build holds a lease.
        if self._opened is None:
            self._opened = self._open_trees()
        return self._opened

    def _open(self) -> Folder:
        return MergedRoot(self._look()[0]).open()

    def select(self, source: Source) -> list[Selected]:
        """Return what a source means in the state."""
        if not self._chain:
            raise CarboyError(
                f"{source.path!r} is not in {self._title}, which is empty", hint="copy from another stage"
            )
        return select(source, self._open, where=self._title)

    def digest(self, selected: Selected) -> str:
        """Return the digest, read from the files unless it is known of these layers."""
        if selected.keep is not None:
            return self._read_digest(selected)
        place = f"{b'/'.join(selected.parts).hex()}\n{' '.join(self._chain)}"
        key = f"files:{hashlib.sha256(place.encode()).hexdigest()}"
        found = self._memory.recall(key)
        if found is None:
            found = self._read_digest(selected)
            self._memory.remember(key, found)
        return found

    def _read_digest(self, selected: Selected) -> str:
        total = hashlib.sha256()
        for item in selected.open_items():
            member = item.member
            uid, gid = self.find_owner(selected, item)
            name = b"/".join(item.parts)
            content = hashlib.sha256()
            if item.open is not None:
                with item.open() as reader:
                    while data := reader.read(_CHUNK_BYTES):
                        content.update(data)
            size = member.size if item.open is not None else 0
            fields = [member.kind, b"%o" % member.mode, b"%d:%d:%d" % (uid, gid, size), member.linkname]
            fields += [repr(sorted(member.xattrs.items())).encode(), content.digest()]
            total.update(b"%d:%s" % (len(name), name))
            total.update(b"".join(b"%d:%s" % (len(field), field) for field in fields))
        return total.hexdigest()

    def find_owner(self, selected: Selected, item: Item) -> Ids:
        """Return the image's owner of an item."""
        member = item.member
        return self._look()[1].get(b"/".join([*selected.parts, *item.parts]), (member.uid, member.gid))

    def is_dated(self) -> bool:
        """Return True."""
        return True

    def is_still(self, selected: Selected, digest: str) -> bool:
        """Return True: layers never change."""
        del selected, digest
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleFile:
    """A file that is no part of a tree: its bytes, or the path of a file of ours that has them, with their SHA-256."""

    name: str
    mode: int
    sha256: str
    size_bytes: int
    content: bytes = b""
    path: str = ""
    mtime_s: int | None = None


class FilesView:
    """Files by name, as root's: heredocs, and what was downloaded."""

    def __init__(self, files: Sequence[SingleFile]) -> None:
        self._files = {file.name: file for file in files}

    def path_of(self, name: str) -> str:
        """Return where the bytes of a file that was downloaded are."""
        return self._files[name].path

    def time_of(self, name: str) -> int | None:
        """Return when a file was changed, in seconds since 1970, None where nobody said."""
        return self._files[name].mtime_s

    def select(self, source: Source) -> list[Selected]:
        """Return the file of that name."""
        file = self._files.get(source.path.lstrip("/"))
        if file is None:
            raise CarboyError(f"{source.path!r} is not there", hint="name a file that is")
        name = os.fsencode(file.name)
        return [Selected(name=name, parts=(name,), is_folder=False, keep=None, open_items=lambda: _open_single(file))]

    def digest(self, selected: Selected) -> str:
        """Return the digest of its bytes and mode."""
        file = self._files[os.fsdecode(selected.name)]
        return hashlib.sha256(f"{file.sha256}:{file.mode:o}:{file.mtime_s}".encode()).hexdigest()

    def find_owner(self, selected: Selected, item: Item) -> Ids:
        """Return root."""
        del selected, item
        return 0, 0

    def is_dated(self) -> bool:
        """Return whether somebody said when they were changed."""
        return any(file.mtime_s is not None for file in self._files.values())

    def is_still(self, selected: Selected, digest: str) -> bool:
        """Return True."""
        del selected, digest
        return True


def _open_single(file: SingleFile) -> Iterator[Item]:
    member = Member(name=b"", kind=tarread.REGULAR, mode=file.mode, size=file.size_bytes)

    def open_content() -> Reader:
        if not file.path:
            rest = [file.content]
            return Reader(lambda size: rest.pop() if rest else b"")  # noqa: ARG005
        fd = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        return Reader(lambda size: os.read(fd, size), fd)

    yield Item([], member, mtime_ns=(file.mtime_s or 0) * 10**9, open=open_content)
