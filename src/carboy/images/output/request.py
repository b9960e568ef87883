"""``--output`` as text to values. Pure. Source: docker/buildx, util/buildflags/export.go and docs/reference/buildx_build.md."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carboy.errors import CarboyError
from carboy.oci.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LOCAL, TAR, OCI, DOCKER, IMAGE, NOTHING = "local", "tar", "oci", "docker", "image", "cacheonly"
STDOUT = "-"
GZIP_LEVELS, ZSTD_LEVELS = range(10), range(1, 23)
_TRUE, _FALSE = {"1", "t", "T", "true", "TRUE", "True"}, {"0", "f", "F", "false", "FALSE", "False"}  # Go's ParseBool
_PACKED = frozenset({"name", "compression", "compression-level", "force-compression", "rewrite-timestamp"})
# Keys that say what carboy does anyway, or that mean nothing here.
_NO_MATTER = frozenset({"oci-mediatypes", "unpack", "store", "buildinfo", "platform-split"})
_KEYS = {
    LOCAL: frozenset({"rewrite-timestamp"}),
    TAR: frozenset({"rewrite-timestamp"}),
    OCI: _PACKED | {"tar"},
    DOCKER: _PACKED | {"tar"},
    IMAGE: _PACKED | {"push", "push-by-digest", "name-canonical", "registry.insecure"},
    NOTHING: frozenset[str](),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """How the layers of an image are to be: ``kind`` "" (as they are), "uncompressed", "gzip" or "zstd".

    Layers that are compressed already stay as they are, unless ``force``. ``level`` None is the usual one.
    """

    kind: str = ""
    level: int | None = None
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One ``--output``: ``kind`` as buildx's type; ``dest`` a path, "-" for standard output, "" for the store.

    ``packed`` False: a folder in place of an archive. ``names`` stand for those of ``--tag`` where there are any. ``push``: the
    image goes to the registries of its names as well, without a tag when ``by_digest``; ``insecure`` stands for the setting.
    """

    kind: str
    dest: str = ""
    packed: bool = True
    names: tuple[Reference, ...] = ()
    compression: Compression = field(default_factory=Compression)
    push: bool = False
    by_digest: bool = False
    insecure: bool = False

    @property
    def is_stored(self) -> bool:
        """Whether the image gets its names in the store."""
        return self.kind == IMAGE or (self.kind == DOCKER and not self.dest)

    @property
    def is_folder(self) -> bool:
        """Whether ``dest`` is a folder."""
        return self.kind == LOCAL or (self.kind in {OCI, DOCKER} and not self.packed)


def parse_output(text: str) -> Output:
    """Return what ``--output`` asks for: "type=...,key=value", a folder's path, or "-" for a tar. Raises ``CarboyError`` (2)."""
    fields = _split(text)
    if fields == [text] and not text.startswith("type="):
        return Output(kind=TAR, dest=STDOUT) if text == STDOUT else _check(Output(kind=LOCAL, dest=text), text)
    found: dict[str, str] = {}
    for item in fields:
        key, equals, value = item.partition("=")
        if not equals:
            raise _wrong(text, f"{item!r} is not KEY=VALUE")
        found[key.strip().lower()] = value
    kind = found.pop("type", "")
    if not kind:
        raise _wrong(text, "type is required")
    if kind == "registry":
        kind, found = IMAGE, {"push": "true", **found}
    if kind not in _KEYS:
        raise _wrong(text, f"there is no type {kind!r}")
    dest = found.pop("dest", "")
    unknown = sorted(found.keys() - _KEYS[kind] - _NO_MATTER)
    if unknown:
        raise _wrong(text, f"type={kind} knows no {unknown[0]!r}", hint=f"it knows {', '.join(sorted(_KEYS[kind]))}")
    _read_flag(found, "rewrite-timestamp", text)  # no time of a new layer is later than SOURCE_DATE_EPOCH, ever
    output = Output(
        kind=kind,
        dest=dest,
        packed=_read_flag(found, "tar", text, default=True),
        names=_parse_names(found.get("name", "")),
        compression=_parse_compression(found, text),
        push=_read_flag(found, "push", text),
        by_digest=_read_flag(found, "push-by-digest", text),
        insecure=_read_flag(found, "registry.insecure", text),
    )
    return _check(output, text)


def parse_outputs(items: Iterable[str], *, load: bool = False, push: bool = False) -> tuple[Output, ...]:
    """Return what all of ``--output``, ``--load`` and ``--push`` ask for. Raises ``CarboyError`` (2)."""
    texts = [*items, *(["type=docker"] if load else []), *(["type=registry"] if push else [])]
    outputs = tuple(parse_output(text) for text in texts)
    dests = [output.dest for output in outputs if output.dest]
    for dest in dests:
        if dests.count(dest) > 1:
            where = "standard output" if dest == STDOUT else dest
            raise CarboyError(f"two outputs go to {where}", hint="give each a dest of its own", code=2)
    return outputs


def _split(text: str) -> list[str]:
    """Return the fields of a line of CSV, as Go's encoding/csv reads it. Source: RFC 4180."""
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise _wrong(text, str(error)) from error
    if len(rows) != 1 or not rows[0]:
        raise _wrong(text, "it is empty")
    # Python's reader takes a quote inside of a field that does not begin with one, which Go's refuses.
    if '"' not in text:
        return rows[0]
    quoted = [field for field in rows[0] if '"' in field]
    if any(f'"{field.replace(chr(34), chr(34) * 2)}"' not in text for field in quoted):
        raise _wrong(text, 'bare " in a field without quotes')
    return rows[0]


def _wrong(text: str, details: str, *, hint: str = "") -> CarboyError:
    hint = hint or "write -o type=oci,dest=FILE (or docker, tar, local, image), or the path of a folder"
    return CarboyError(f"--output {text[:200]!r} cannot be read", details=details, hint=hint, code=2)


def _read_flag(found: Mapping[str, str], key: str, text: str, *, default: bool = False) -> bool:
    value = found.get(key)
    if value is None:
        return default
    if value not in _TRUE | _FALSE:
        raise _wrong(text, f"{key}={value} is neither true nor false")
    return value in _TRUE


def _parse_names(text: str) -> tuple[Reference, ...]:
    names = tuple(Reference.parse(name.strip()) for name in text.split(",") if name.strip())
    for name in names:
        if name.digest is not None:
            raise CarboyError(f"the name {name.familiar} holds a digest", hint="write NAME[:TAG]", code=2)
    return names


def _parse_compression(found: Mapping[str, str], text: str) -> Compression:
    kind = found.get("compression", "")
    if kind not in {"", "uncompressed", "gzip", "zstd"}:
        raise _wrong(text, f"there is no compression {kind!r}", hint="gzip, zstd and uncompressed are there")
    force = _read_flag(found, "force-compression", text)
    level = found.get("compression-level")
    if level is None:
        return Compression(kind=kind, force=force)
    levels = {"gzip": GZIP_LEVELS, "zstd": ZSTD_LEVELS}.get(kind)
    if levels is None:
        raise _wrong(text, "compression-level needs compression=gzip or compression=zstd")
    if not (level.isascii() and level.isdecimal() and int(level) in levels):
        raise _wrong(text, f"compression-level={level} is none of {levels[0]} to {levels[-1]}")
    return Compression(kind=kind, level=int(level), force=force)


def _check(output: Output, text: str) -> Output:
    """Return the output with its destination completed as buildx does."""
    kind, dest = output.kind, output.dest
    if output.is_folder:
        if not dest:
            raise _wrong(text, f"dest is required for type={kind}" + ("" if kind == LOCAL else ",tar=false"))
        if dest == STDOUT:
            raise _wrong(text, f"dest cannot be standard output for type={kind}: it is a folder")
        return output
    if kind in {IMAGE, NOTHING} and dest:
        raise _wrong(text, f"type={kind} has no dest")
    if kind in {TAR, OCI} and not dest:
        return Output(kind=kind, dest=STDOUT, names=output.names, compression=output.compression)
    return output
