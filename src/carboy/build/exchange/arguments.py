"""``--cache-to`` and ``--cache-from``, as text to values. Source: docker/buildx, docs/reference/buildx_build.md."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from carboy.errors import CarboyError

DEFAULT_TAG = "latest"
# What BuildKit knows beyond, and why it is not here.
_ELSEWHERE = ("registry", "inline", "gha", "s3", "azblob")
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheTarget:
    """Where a cache is written: a folder, the name in it, of which steps: "min", those of the image, or "max", all.

    ``may_fail``: the build goes on when it cannot be written. ``adds``: what is there under the name stays, as for the second
    platform of one build.
    """

    folder: str
    tag: str = DEFAULT_TAG
    mode: Literal["min", "max"] = "min"
    may_fail: bool = False
    adds: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOrigin:
    """Where a cache is read: a folder, and the name in it."""

    folder: str
    tag: str = DEFAULT_TAG


def parse_cache_to(items: Iterable[str]) -> tuple[CacheTarget, ...]:
    """Return targets of "type=local,dest=FOLDER[,mode=min|max][,tag=NAME][,ignore-error=true]". Raises ``CarboyError`` (2)."""
    found = []
    for item in items:
        fields = _parse("--cache-to", item, place="dest", known=("mode", "tag", "ignore-error"))
        mode = fields.get("mode", "min")
        if mode not in {"min", "max"}:
            raise CarboyError(f"--cache-to {item!r}: the mode is min or max", hint="max takes all stages along", code=2)
        flag = _FLAGS.get(fields.get("ignore-error", "false").lower())
        if flag is None:
            raise CarboyError(f"--cache-to {item!r}: ignore-error is true or false", code=2)
        tag = fields.get("tag", DEFAULT_TAG)
        found.append(CacheTarget(folder=fields["dest"], tag=tag, mode="max" if mode == "max" else "min", may_fail=flag))
    return tuple(found)


def parse_cache_from(items: Iterable[str]) -> tuple[CacheOrigin, ...]:
    """Return origins of "type=local,src=FOLDER[,tag=NAME]", in order. Raises ``CarboyError`` (2)."""
    found = []
    for item in items:
        fields = _parse("--cache-from", item, place="src", known=("tag",))
        found.append(CacheOrigin(folder=fields["src"], tag=fields.get("tag", DEFAULT_TAG)))
    return tuple(found)


def _parse(option: str, item: str, *, place: str, known: tuple[str, ...]) -> dict[str, str]:
    hint = f"{option} type=local,{place}=FOLDER keeps a cache in a folder"
    rows = list(csv.reader([item]))
    words = rows[0] if rows else []
    if len(words) == 1 and "=" not in words[0]:
        # Docker's short form: an image whose cache lies in a registry.
        raise CarboyError(f"{option} {item!r}: there is no client for registries yet", hint=hint, code=2)
    fields: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        name = name.strip().lower()
        if not equals or not value or name in fields:
            raise CarboyError(f"{option} {item!r} is not NAME=VALUE,...", hint=hint, code=2)
        fields[name] = value
    kind = fields.get("type", "")
    if kind in _ELSEWHERE:
        what = "inline caches are read from registries" if kind == "inline" else f"the type {kind} is elsewhere"
        raise CarboyError(f"{option} {item!r}: {what}, and there is no client for that yet", hint=hint, code=2)
    unknown = sorted(set(fields) - {"type", place, *known})
    if kind != "local" or not fields.get(place) or unknown:
        why = f"it knows no {unknown[0]}" if unknown else f"it needs type=local and {place}="
        raise CarboyError(f"{option} {item!r}: {why}", hint=hint, code=2)
    return fields
