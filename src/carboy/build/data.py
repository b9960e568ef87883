"""Data and weights of a folder as layers of their own: what changes in them moves no code, and code moves none of them.

A file cannot span layers, so a large one has a layer to itself, and small ones share bins that their paths choose
(docs/adr/0011). A layer's bytes depend on its files' paths and contents alone: neither on the base nor on times.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from carboy.base.fs import make_open_dirs, translate_os_errors
from carboy.build.context.memory import Memory
from carboy.build.files import is_ignored, list_files
from carboy.errors import CarboyError
from carboy.layers.apply import commit_tree, take_layer
from carboy.layers.batch import LayerResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from carboy.build.context.memory import Entry
    from carboy.environments.groups import MadeLayer
    from carboy.store.store import Store

FORMAT = 1
LARGE_BYTES = 4 * 2**20
MAX_OWN = 16
BINS = 4
DATA_TIME_S = 315_532_800
"""All data are of 1980-01-01, as packages are: their layers depend on no base."""
LABEL = "io.carboy.data"
_CHUNK = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """What is there at ``path``: ``kind`` is "file", "program" (executable), "link" or "folder".

    ``content`` is a file's SHA-256, a link's target, "" for a folder.
    """

    path: str
    kind: str
    content: str
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DataGroup:
    """Files that share a layer, sorted by path; ``key`` covers all that its bytes depend on."""

    files: tuple[DataFile, ...]
    key: str

    @property
    def title(self) -> str:
        """The group for people: its only file, or how many there are."""
        return self.files[0].path if len(self.files) == 1 else f"{len(self.files)} files"


def plan_data(files: Sequence[DataFile], *, target: str) -> tuple[DataGroup, ...]:
    """Return the layers of a folder's data, lowest first: bins of small files, then the large ones by path. Pure."""
    large = sorted((f for f in files if f.size_bytes >= LARGE_BYTES), key=lambda f: (-f.size_bytes, f.path))[:MAX_OWN]
    own = {file.path for file in large}
    bins: dict[int, list[DataFile]] = {}
    for file in sorted(files, key=lambda f: f.path):
        if file.path not in own:
            bins.setdefault(find_bin(file.path), []).append(file)
    groups = [tuple(bins[number]) for number in sorted(bins)]
    groups += [(file,) for file in sorted(large, key=lambda f: f.path)]
    return tuple(DataGroup(files=group, key=_key(group, target)) for group in groups)


def find_bin(path: str) -> int:
    """Return the number of the bin that a small file is in: whatever else there is, it stays there."""
    return int.from_bytes(hashlib.sha256(os.fsencode(path)).digest()[:4], "big") % BINS


def _key(group: Sequence[DataFile], target: str) -> str:
    value = [FORMAT, target, [[os.fsencode(f.path).hex(), f.kind, f.content] for f in group]]
    return hashlib.sha256(json.dumps(value, separators=(",", ":")).encode()).hexdigest()


def read_data(folder: str, paths: Sequence[str], ignore: tuple[str, ...], *, cache_dir: str) -> tuple[DataFile, ...]:
    """Return what is at the paths of a folder, all below directories included; what was hashed before is remembered.

    Raises ``CarboyError`` for a path that is not there, or is a link.
    """
    memory = Memory.read(cache_dir, os.path.realpath(folder))
    found = []
    with translate_os_errors(f"read the data of {folder}"):
        for path in paths:
            _check_path(folder, path)
            status = os.lstat(f"{folder}/{path}")
            for name, one in [(path, status), *_list_inner(folder, path, status, ignore)]:
                if (file := _describe(folder, name, one, memory)) is not None:
                    found.append(file)
    memory.write()
    return tuple(found)


def _list_inner(
    folder: str, path: str, status: os.stat_result, ignore: tuple[str, ...]
) -> list[tuple[str, os.stat_result]]:
    """Return what is below a path that was named; what is ignored is not data, but for the path itself."""
    if not stat.S_ISDIR(status.st_mode):
        return []
    found = []
    ignored: set[str] = set()
    for name, one in list_files(f"{folder}/{path}", ()):
        full = f"{path}/{name}"
        if os.path.dirname(full) in ignored or is_ignored(full, ignore):
            ignored.add(full)
        else:
            found.append((full, one))
    return found


def _check_path(folder: str, path: str) -> None:
    above = folder
    for part in path.split("/"):
        above = f"{above}/{part}"
        if os.path.islink(above):
            raise CarboyError(
                f"carboy.toml: data.paths names {path}, and {above} is a link",
                hint="put the data there, or mount it when it runs: -v",
            )
        if not os.path.exists(above):
            raise CarboyError(
                f"carboy.toml: data.paths names {path}, which is not there", hint="make it, or take it out"
            )


def _describe(folder: str, path: str, status: os.stat_result, memory: Memory) -> DataFile | None:
    full = f"{folder}/{path}"
    if stat.S_ISDIR(status.st_mode):
        return DataFile(path=path, kind="folder", content="")
    if stat.S_ISLNK(status.st_mode):
        return DataFile(path=path, kind="link", content=os.fsencode(os.readlink(full)).hex())
    if not stat.S_ISREG(status.st_mode):
        return None  # a socket or a device has no place in an image
    entry: Entry = (
        os.path.basename(path), status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino,
    )  # fmt: skip
    digest = memory.get_file(path, entry)
    if digest is None:
        with open(full, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        memory.put_file(path, entry, digest)
    kind = "program" if status.st_mode & 0o111 else "file"
    return DataFile(path=path, kind=kind, content=digest.hex(), size_bytes=status.st_size)


def commit_data(store: Store, folder: str, group: DataGroup, *, target: str) -> LayerResult:
    """Make the layer of a group: owners are root, modes 0644 or 0755. Raises ``CarboyError``."""
    with store.layers.ingest_dir() as ingest, translate_os_errors(f"read the data of {folder}"):
        place = _Place(f"{ingest}/tree")
        for file in group.files:
            place.put(folder, f"{target.strip('/')}/{file.path}", file)
        place.finish()
        return commit_tree(store, ingest, mtime_cap=DATA_TIME_S)


class _Place:
    """The tree of a layer, as it is filled."""

    def __init__(self, tree: str) -> None:
        self._tree = tree
        self._made: list[str] = []

    def put(self, folder: str, path: str, file: DataFile) -> None:
        """Put one file there, and the folders that it needs."""
        self._made += make_open_dirs(self._tree, path if file.kind == "folder" else os.path.dirname(path))
        full = f"{self._tree}/{path}"
        if file.kind == "link":
            os.symlink(os.fsdecode(bytes.fromhex(file.content)), full)
        elif file.kind != "folder":
            copy_checked(f"{folder}/{file.path}", full, file.content)
            os.chmod(full, 0o755 if file.kind == "program" else 0o644)
        if file.kind != "folder":
            os.utime(full, (DATA_TIME_S, DATA_TIME_S), follow_symlinks=False)

    def finish(self) -> None:
        """Give the folders their time."""
        for path in reversed(self._made):
            os.utime(path, (DATA_TIME_S, DATA_TIME_S))


def copy_checked(source: str, destination: str, sha256: str) -> None:
    """Copy a file that has this hash. Raises ``CarboyError`` when it has another one by now, ``OSError``."""
    hashed = hashlib.sha256()
    # It may be a fifo by now, which would wait for somebody to write.
    fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as read, open(destination, "xb") as write:
        while piece := read.read(_CHUNK):
            hashed.update(piece)
            write.write(piece)
    if hashed.hexdigest() != sha256:
        raise CarboyError(f"{source} changed while it was read", hint="build again when nobody writes it")


def commit_all(
    store: Store,
    folder: str,
    groups: Sequence[DataGroup],
    *,
    target: str,
    log: Callable[[str], None],
) -> tuple[MadeLayer, ...]:
    """Return the layers of all groups, lowest first, each with whether it was there."""
    from carboy.environments.groups import MadeLayer  # brings what a build without data and packages does without

    made = []
    for group in groups:
        taken = take_layer(store, f"layer:data:{group.key}", partial(commit_data, store, folder, group, target=target))
        if not taken.cached:
            log(f"layer with {group.title}: {taken.layer.size_bytes / 1e6:.1f} MB")
        made.append(MadeLayer(layer=taken.layer, content=group.title, cached=taken.cached))
    return tuple(made)
