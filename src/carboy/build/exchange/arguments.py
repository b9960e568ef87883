"""``--cache-to`` and ``--cache-from``, as text to values. Source: docker/buildx, docs/reference/buildx_build.md."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from carboy.errors import CarboyError
from carboy.images.output.request import Compression
from carboy.oci.reference import Reference

DEFAULT_TAG = "latest"
# What BuildKit knows beyond.
_ELSEWHERE = {
    "inline": "an inline cache lies in images, whose configuration is then another one",
    "gha": "GitHub's caches speak a language of their own",
    "s3": "buckets speak a language of their own",
    "azblob": "Azure's containers speak a language of their own",
}
_FLAGS = {"true": True, "1": True, "false": False, "0": False}
_USUAL = Compression(kind="zstd")  # what only carboy reads may be as small as it can be quickly
# Keys that say what carboy does anyway.
_NO_MATTER = frozenset({"image-manifest", "oci-mediatypes", "force-compression"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheTarget:
    """Where a cache is written: a folder and the name in it, or the ``image`` name of a registry; of which steps: "min", those of
    the image, or "max", all.

    ``may_fail``: the build goes on when it cannot be written. ``adds``: what is there under the name stays, as for the second
    platform of one build. ``compression`` and ``insecure`` are for registries.
    """

    folder: str = ""
    tag: str = DEFAULT_TAG
    image: Reference | None = None
    mode: Literal["min", "max"] = "min"
    may_fail: bool = False
    adds: bool = False
    compression: Compression = _USUAL
    insecure: bool = False

    @property
    def where(self) -> str:
        """The place, for people."""
        return _show(self.folder, self.image)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOrigin:
    """Where a cache is read: a folder and the name in it, or the ``image`` name of a registry."""

    folder: str = ""
    tag: str = DEFAULT_TAG
    image: Reference | None = None
    insecure: bool = False

    @property
    def where(self) -> str:
        """The place, for people."""
        return _show(self.folder, self.image)


def _show(folder: str, image: Reference | None) -> str:
    return f"local:{folder}" if image is None else image.familiar


def parse_cache_to(items: Iterable[str]) -> tuple[CacheTarget, ...]:
    """Return targets of "type=local,dest=FOLDER" and "type=registry,ref=NAME". Raises ``CarboyError`` (2).

    Both know mode=min|max and ignore-error=true; a folder tag=NAME, a registry compression=zstd|gzip|uncompressed.
    """
    found = []
    for item in items:
        fields = _parse(
            "--cache-to",
            item,
            place="dest",
            local=("mode", "tag", "ignore-error"),
            remote=("mode", "ignore-error", "compression"),
        )
        mode = fields.get("mode", "min")
        if mode not in {"min", "max"}:
            raise CarboyError(f"--cache-to {item!r}: the mode is min or max", hint="max takes all stages along", code=2)
        kind = fields.get("compression", "zstd")
        if kind not in {"zstd", "gzip", "uncompressed"}:
            raise CarboyError(
                f"--cache-to {item!r}: there is no compression {kind!r}", hint="zstd is the usual", code=2
            )
        found.append(
            CacheTarget(
                folder=fields.get("dest", ""),
                tag=fields.get("tag", DEFAULT_TAG),
                image=_parse_ref("--cache-to", fields),
                mode="max" if mode == "max" else "min",
                may_fail=_read_flag("--cache-to", item, fields, "ignore-error"),
                compression=Compression(kind=kind),
                insecure=_read_flag("--cache-to", item, fields, "registry.insecure"),
            )
        )
    return tuple(found)


def parse_cache_from(items: Iterable[str]) -> tuple[CacheOrigin, ...]:
    """Return origins of "type=local,src=FOLDER[,tag=NAME]", "type=registry,ref=NAME" and "NAME", in order.

    Raises ``CarboyError`` (2).
    """
    found = []
    for item in items:
        fields = _parse("--cache-from", item, place="src", local=("tag",), remote=())
        found.append(
            CacheOrigin(
                folder=fields.get("src", ""),
                tag=fields.get("tag", DEFAULT_TAG),
                image=_parse_ref("--cache-from", fields),
                insecure=_read_flag("--cache-from", item, fields, "registry.insecure"),
            )
        )
    return tuple(found)


def _parse(option: str, item: str, *, place: str, local: tuple[str, ...], remote: tuple[str, ...]) -> dict[str, str]:
    hint = f"{option} type=local,{place}=FOLDER keeps a cache in a folder, type=registry,ref=NAME in a registry"
    rows = list(csv.reader([item]))
    words = rows[0] if rows else []
    if len(words) == 1 and words[0] and "=" not in words[0]:
        return {"type": "registry", "ref": words[0]}  # Docker's short form
    fields: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        name = name.strip().lower()
        if not equals or not value or name in fields:
            raise CarboyError(f"{option} {item!r} is not NAME=VALUE,...", hint=hint, code=2)
        fields[name] = value
    kind = fields.get("type", "")
    if kind in _ELSEWHERE:
        raise CarboyError(f"{option} {item!r}: there is no type {kind}", details=_ELSEWHERE[kind], hint=hint, code=2)
    needed, known = (place, local) if kind == "local" else ("ref", (*remote, "registry.insecure", *_NO_MATTER))
    unknown = sorted(set(fields) - {"type", needed, *known})
    if kind not in {"local", "registry"} or not fields.get(needed) or unknown:
        why = f"it knows no {unknown[0]}" if unknown else f"it needs type=local and {place}=, or type=registry and ref="
        raise CarboyError(f"{option} {item!r}: {why}", hint=hint, code=2)
    return fields


def _parse_ref(option: str, fields: Mapping[str, str]) -> Reference | None:
    if "ref" not in fields:
        return None
    found = Reference.parse(fields["ref"])
    if found.digest is not None:
        raise CarboyError(f"{option}: the name {found.familiar} holds a digest", hint="write NAME[:TAG]", code=2)
    return found


def _read_flag(option: str, item: str, fields: Mapping[str, str], name: str) -> bool:
    flag = _FLAGS.get(fields.get(name, "false").lower())
    if flag is None:
        raise CarboyError(f"{option} {item!r}: {name} is true or false", code=2)
    return flag
