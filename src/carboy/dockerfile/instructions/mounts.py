"""``RUN --mount``: one record of comma-separated values to a mount. Source: instructions/commands_runmount.go."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, TypeAlias

from carboy.dockerfile.errors import LanguageError
from carboy.dockerfile.gotext import parse_boolean
from carboy.dockerfile.suggest import did_you_mean
from carboy.dockerfile.value import Value

Kind: TypeAlias = Literal["bind", "cache", "tmpfs", "secret", "ssh"]
Sharing: TypeAlias = Literal["shared", "private", "locked"]

_KINDS: tuple[Kind, ...] = ("bind", "cache", "tmpfs", "secret", "ssh")
_SHARINGS: tuple[Sharing, ...] = ("shared", "private", "locked")
_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly", "rw": "readwrite"}
_KEYS = (
    "type", "from", "source", "target", "readonly", "readwrite", "id", "sharing", "required", "mode", "uid", "gid", "env", "size",
)  # fmt: skip
_BARE = frozenset({"readonly", "readwrite", "required"})
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?", re.ASCII | re.IGNORECASE)
_MAX_ID = 2**32 - 1


class Mount(Value):
    """A mount as written; None and "" are what was not said. ``mode`` is a number, ``size_bytes`` bytes."""

    kind: Kind = "bind"
    source: str = ""
    target: str = ""
    origin: str = ""
    read_only: bool = True
    id: str = ""
    sharing: Sharing = "shared"
    required: bool = False
    env: str | None = None
    size_bytes: int | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None


def parse_mount_origin(text: str) -> str:
    """Return the ``from`` of a mount, "" without one: it is known before any variable. Raises ``LanguageError`` (trap 14)."""
    origin = ""
    for key, value in _fields(text):
        if key == "from":
            if value is not None and re.search(r"\$.", value):
                raise LanguageError(
                    "'from' doesn't support variable expansion, define alias stage instead",
                    word=value,
                    hint="write FROM ${IMAGE} AS name above, with an ARG before the first FROM, and from=name here",
                )
            origin = value or ""
    return origin


def parse_mount(text: str, expand: Callable[[str], str]) -> Mount:
    """Return the mount that ``text`` describes, with variables put into its values. Raises ``LanguageError``."""
    values: dict[str, str] = {}
    kind: Kind = "bind"
    read_only: bool | None = None
    for key, value in _fields(text):
        if value is not None:
            value = expand(value)  # noqa: PLW2901
        if key == "type":
            kind = _kind(value or "")
        elif key in {"readonly", "readwrite"}:
            switch = True if value is None else _boolean(key, value)
            read_only = switch if key == "readonly" else not switch
        elif key == "required" and kind not in {"secret", "ssh"}:
            raise LanguageError(
                f"unexpected key 'required' for mount type '{kind}'",
                word="required",
                hint="only secret and ssh know it",
            )
        else:
            values[key] = "true" if value is None else value
    if kind == "ssh" and values.get("source"):
        raise LanguageError("ssh mount should not have a source", word=values["source"], hint="id= names the agent")
    mount = Mount(
        kind=kind,
        source=values.get("source", ""),
        target=values.get("target", ""),
        origin=values.get("from", ""),
        read_only=kind not in {"cache", "tmpfs"} if read_only is None else read_only,
        id=values.get("id", ""),
        sharing=_sharing(values["sharing"]) if "sharing" in values else "shared",
        required=_boolean("required", values.get("required", "false")),
        env=values.get("env"),
        size_bytes=_size(values["size"]) if "size" in values else None,
        mode=_number("mode", values["mode"], 8) if "mode" in values else None,
        uid=_number("uid", values["uid"], 10) if "uid" in values else None,
        gid=_number("gid", values["gid"], 10) if "gid" in values else None,
    )
    _check(mount, values)
    return mount


def _check(mount: Mount, values: dict[str, str]) -> None:
    """Refuse what a mount of this kind cannot have."""
    kind = mount.kind
    for key in ("mode", "uid", "gid"):
        if key in values and kind in {"bind", "tmpfs"}:
            raise LanguageError(f'{key} not allowed for "{kind}" type mounts', word=key)
    if "sharing" in values and kind != "cache":
        raise LanguageError(f"invalid cache sharing set for {kind} mount", word="sharing")
    if "size" in values and kind != "tmpfs":
        raise LanguageError(f"unexpected key 'size' for mount type '{kind}'", word="size", hint="only tmpfs knows it")
    if "env" in values and kind != "secret":
        raise LanguageError(f"unexpected key 'env' for mount type '{kind}'", word="env", hint="only secret knows it")
    if kind == "secret":
        if mount.origin:
            raise LanguageError("secret mount should not have a from", word="from")
        if not (mount.source or mount.target or mount.id):
            raise LanguageError(
                "invalid secret mount. one of source, target required", word="secret", hint="write id=name"
            )
        if mount.source and mount.id:
            raise LanguageError(
                "both source and id can't be set", word="source", hint="they mean the same; leave one out"
            )


def _fields(text: str) -> list[tuple[str, str | None]]:
    """Return (key, value) of each field; None for a key that stands alone. Keys are in lower case, aliases resolved."""
    found: list[tuple[str, str | None]] = []
    for item in _split_record(text):
        key, equals, value = item.partition("=")
        key = _ALIASES.get(key.lower(), key.lower())
        if not equals and key not in _BARE:
            raise LanguageError(
                f"invalid field '{item}' must be a key=value pair", word=item, hint="write it as key=value"
            )
        if key not in _KEYS:
            guess = did_you_mean(key, _KEYS)
            raise LanguageError(
                f"unexpected key '{key}' in '{item}'{guess}", word=item, hint=f"it knows {', '.join(_KEYS)}"
            )
        found.append((key, value if equals else None))
    return found


def _split_record(text: str) -> list[str]:
    """Return the fields of one record of comma-separated values; a field in double quotes may hold commas. Source: RFC 4180."""
    fields: list[str] = []
    at = 0
    while True:
        if text.startswith('"', at):
            end, parts = at + 1, list[str]()
            while True:
                quote = text.find('"', end)
                if quote < 0:
                    raise LanguageError("failed to parse csv mounts: a quote is not closed", word=text[at:])
                parts.append(text[end:quote])
                end = quote + 1
                if not text.startswith('"', end):
                    break
                parts.append('"')
                end += 1
            if end < len(text) and text[end] != ",":
                raise LanguageError('failed to parse csv mounts: extraneous " in field', word=text[at:])
            fields.append("".join(parts))
        else:
            end = text.find(",", at)
            end = len(text) if end < 0 else end
            if '"' in text[at:end]:
                raise LanguageError('failed to parse csv mounts: bare " in non-quoted field', word=text[at:end])
            fields.append(text[at:end])
        if end >= len(text):
            return fields
        at = end + 1


def _kind(text: str) -> Kind:
    for kind in _KINDS:
        if kind == text.lower():
            return kind
    guess = did_you_mean(text, _KINDS)
    raise LanguageError(f'unsupported mount type "{text}"{guess}', word=text, hint=f"there are {', '.join(_KINDS)}")


def _sharing(text: str) -> Sharing:
    for sharing in _SHARINGS:
        if sharing == text.lower():
            return sharing
    raise LanguageError(f'unsupported sharing value "{text}"', word=text, hint=f"there are {', '.join(_SHARINGS)}")


def _boolean(key: str, text: str) -> bool:
    value = parse_boolean(text)
    if value is None:
        raise LanguageError(f"invalid value for {key}: {text}", word=text, hint="write true or false")
    return value


def _number(key: str, text: str, base: int) -> int:
    digits = "01234567" if base == 8 else "0123456789"
    if not text or any(c not in digits for c in text) or len(text) > 16 or (value := int(text, base)) > _MAX_ID:
        raise LanguageError(
            f"invalid value {text} for {key}", word=text, hint="an octal number" if base == 8 else "a number"
        )
    return value


def _size(text: str) -> int:
    """Return a size in bytes: "64m", "1.5g", "1024"; units are powers of 1024. Source: docker/go-units, RAMInBytes."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or len(match[1]) > 18:
        raise LanguageError(f"invalid value for size: {text}", word=text, hint="write it as 64m or 1g")
    return int(float(match[1]) * 1024 ** " kmgtp".index(match[2].lower() or " "))
