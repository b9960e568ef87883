"""Platforms as people write them."""

from __future__ import annotations

from carboy.build.dockerfile.platform import parse_platform
from carboy.dockerfile.errors import LanguageError
from carboy.errors import CarboyError
from carboy.oci.platform import Platform


def split_platforms(text: str) -> tuple[str, ...]:
    """Return the platforms of "linux/amd64,linux/arm64", each once, in their order; ("",) for none. Pure."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip())) or ("",)


def read_platform(text: str) -> Platform:
    """Return the platform that somebody wrote, this machine's for "". Raises ``CarboyError`` (2)."""
    current = Platform.current()
    if not text:
        return current
    try:
        platform = parse_platform(text, default=current)
    except LanguageError as wrong:
        raise CarboyError(wrong.message, hint=wrong.hint, code=2) from wrong
    if platform.os != "linux":
        raise CarboyError(f"images for {platform} cannot be built", hint="carboy builds for Linux", code=2)
    return platform
