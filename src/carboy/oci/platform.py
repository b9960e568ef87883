"""Platforms. Source: OCI image-spec, image-index.md, "platform"."""

from __future__ import annotations

import os
from dataclasses import dataclass

from carboy.errors import CarboyError

_ARCHITECTURES = {
    "x86_64": ("amd64", None),
    "aarch64": ("arm64", "v8"),
    "riscv64": ("riscv64", None),
    "ppc64le": ("ppc64le", None),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """An operating system and a processor, by Go's names."""

    os: str
    architecture: str
    variant: str | None = None

    @classmethod
    def current(cls) -> Platform:
        """Return this machine's platform. Raises ``CarboyError`` for one that has no name here."""
        machine = os.uname().machine
        if machine not in _ARCHITECTURES:
            raise CarboyError(f"the processor {machine} is not supported", hint="use x86_64 or aarch64")
        architecture, variant = _ARCHITECTURES[machine]
        return cls(os="linux", architecture=architecture, variant=variant)

    def fits(self, other: Platform) -> bool:
        """Return whether what is for ``other`` is what this one asks for: a variant counts where both have one.

        "v8" of arm64 is said by some and left out by others (containerd/platforms, Normalize).
        """
        if (self.os, self.architecture) != (other.os, other.architecture):
            return False
        mine, theirs = (self.variant or "").removeprefix("v"), (other.variant or "").removeprefix("v")
        return self.architecture == "arm64" or not mine or not theirs or mine == theirs

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)
