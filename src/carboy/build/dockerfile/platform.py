"""Platforms as people write them. Source: containerd/platforms, Parse and Normalize."""

from __future__ import annotations

import re

from carboy.dockerfile.errors import LanguageError
from carboy.oci.platform import Platform

_ARCHITECTURES = {
    "i386": "386",
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "armhf": "arm/v7",
    "armel": "arm/v6",
}
_KNOWN_OSES = frozenset({"linux", "windows", "darwin", "freebsd"})
_KNOWN_ARCHITECTURES = frozenset(
    {"386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64le", "riscv64", "s390x"} | set(_ARCHITECTURES)
)
_PART = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def parse_platform(text: str, *, default: Platform) -> Platform:
    """Return the platform of "linux/arm64/v8", "arm64" or "linux"; what is left out is ``default``'s.

    Raises ``LanguageError``.
    """
    parts = [_ARCHITECTURES.get(part.lower(), part.lower()) for part in text.split("/")]
    parts = "/".join(parts).split("/")
    if not all(_PART.fullmatch(part) for part in parts) or len(parts) > 3:
        raise LanguageError(f'failed to parse platform "{text}"', word=text, hint="write it as linux/amd64")
    if len(parts) == 1 and parts[0] in _KNOWN_OSES:
        return Platform(os=parts[0], architecture=default.architecture, variant=default.variant)
    if parts[0] in _KNOWN_ARCHITECTURES:
        parts.insert(0, default.os)
    if len(parts) < 2:
        raise LanguageError(
            f'failed to parse platform "{text}": unknown operating system or architecture',
            word=text,
            hint="write it as linux/amd64",
        )
    variant: str | None = parts[2] if len(parts) > 2 else None
    if parts[1] == "arm64" and variant in {None, "8"}:
        variant = "v8"
    return Platform(os=parts[0], architecture=parts[1], variant=variant)
