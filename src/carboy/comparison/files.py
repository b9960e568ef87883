"""Two sets of files, compared by all that a layer says of a file. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from carboy.layers.extract import OPAQUE, WHITEOUT

_SHORT_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """What a layer has under a path: ``kind`` in a word ("file"), ``digest`` of a file's content, ``target`` of a link."""

    kind: str
    mode: int
    uid: int = 0
    gid: int = 0
    mtime_s: int = 0
    size_bytes: int = 0
    digest: str = ""
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[str, bytes], ...] = ()


Files = Mapping[bytes, FileEntry]
"""Paths without a slash before or behind them, in the order of the layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aspect:
    """One thing in which a file differs, in a word, with the values on both sides for people ("": not there)."""

    name: str
    left: str = ""
    right: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDifference:
    """A path that differs, and in what; ``reason`` is why, for people, "" where nobody has looked."""

    path: bytes
    aspects: tuple[Aspect, ...]
    reason: str = field(default="")

    @property
    def is_content(self) -> bool:
        """Whether both sides have a file with another content."""
        return any(aspect.name == "content" for aspect in self.aspects)


def compare_files(left: Files, right: Files) -> tuple[FileDifference, ...]:
    """Return what differs, sorted by path; the order of members counts for nothing here (:func:`is_reordered`)."""
    found = []
    for path in sorted({*left, *right}):
        one, other = left.get(path), right.get(path)
        aspects = _compare(one, other)
        if aspects:
            found.append(FileDifference(path=path, aspects=aspects))
    return tuple(found)


def is_reordered(left: Files, right: Files) -> bool:
    """Return whether the paths that both sides have come in another order."""
    return [path for path in left if path in right] != [path for path in right if path in left]


def _compare(one: FileEntry | None, other: FileEntry | None) -> tuple[Aspect, ...]:
    if one is None or other is None:
        there = one or other
        assert there is not None, "a path is on one of two sides"
        side = ("", there.kind) if one is None else (there.kind, "")
        return (Aspect(name="presence", left=side[0], right=side[1]),)
    if one == other:
        return ()
    if one.kind != other.kind:
        return (Aspect(name="kind", left=one.kind, right=other.kind),)
    pairs = (
        ("content", _content(one), _content(other)),
        ("target", _text(one.target), _text(other.target)),
        ("device", f"{one.device[0]}:{one.device[1]}", f"{other.device[0]}:{other.device[1]}"),
        ("mode", f"{one.mode:04o}", f"{other.mode:04o}"),
        ("owner", f"{one.uid}:{one.gid}", f"{other.uid}:{other.gid}"),
        ("mtime", _time(one.mtime_s), _time(other.mtime_s)),
        ("xattrs", _xattrs(one), _xattrs(other)),
    )
    return tuple(Aspect(name=name, left=a, right=b) for name, a, b in pairs if a != b)


def _content(entry: FileEntry) -> str:
    return f"sha256:{entry.digest[:_SHORT_DIGITS]}, {entry.size_bytes} bytes" if entry.digest else ""


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def _time(seconds: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _xattrs(entry: FileEntry) -> str:
    return ", ".join(f"{name}={value.hex()}" for name, value in entry.xattrs)


def merge_layers(layers: Iterable[Files]) -> dict[bytes, FileEntry]:
    """Return the files of an image whose layers these are, lowest first, with whiteouts applied. Source: image-spec, layer.md."""
    merged: dict[bytes, FileEntry] = {}
    for layer in layers:
        gone = [path for path in layer if path.rpartition(b"/")[2].startswith(WHITEOUT)]
        hidden = set()
        emptied = set()
        for path in gone:
            folder, _, name = path.rpartition(b"/")
            if name == OPAQUE:
                emptied.add(folder)
            else:
                hidden.add(folder + b"/" + name[len(WHITEOUT) :] if folder else name[len(WHITEOUT) :])
        # What stops being a folder takes along what was in it.
        hidden |= {path for path, entry in layer.items() if entry.kind != "folder" and path in merged}
        if hidden or emptied:
            merged = {path: entry for path, entry in merged.items() if not _is_hidden(path, hidden, emptied)}
        for path, entry in layer.items():
            if path not in gone:
                merged[path] = entry
    return merged


def _is_hidden(path: bytes, hidden: set[bytes], emptied: set[bytes]) -> bool:
    if path in hidden or b"" in emptied:
        return True
    above = path
    while b"/" in above:
        above = above.rpartition(b"/")[0]
        if above in hidden or above in emptied:
            return True
    return False
