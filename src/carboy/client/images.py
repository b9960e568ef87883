"""Images as Python values."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carboy.client.calls import call

if TYPE_CHECKING:
    from carboy.client.container import Command, Container


@dataclass(frozen=True, slots=True)
class Image:
    """An image: its name ("" without one), its manifest's digest, and the size of its layers in bytes, unpacked."""

    name: str
    digest: str
    size_bytes: int

    @classmethod
    def build(cls, folder: str | os.PathLike[str], *, name: str = "") -> Image:
        """Build a folder into an image, under ``name`` when one is given. Raises ``CarboyError``."""
        answer = call("build", folder=os.fspath(folder), name=name or None)
        return cls(name, answer["digest"], answer["size_bytes"])

    @classmethod
    def list(cls) -> tuple[Image, ...]:
        """Return the named images, newest first."""
        return tuple(cls(row["name"], row["digest"], row["size_bytes"]) for row in call("images"))

    @classmethod
    def pull(cls, name: str, *, platform: str = "") -> Image:
        """Fetch an image from its registry, for a platform ("": this machine's). Raises ``CarboyError``."""
        answer = call("pull", name=name, platform=platform)
        return cls(answer["name"], answer["digest"], answer["size_bytes"])

    def push(self) -> str:
        """Send the image to the registry that its name says, and return the digest there. Raises ``CarboyError``."""
        return str(call("push", name=self.name))

    def run(self, command: Command = None, **options: Any) -> Container:
        """Run a command in a new container of this image: ``carboy.run`` with the image filled in."""
        from carboy.client.container import run

        return run(self.name or self.digest, command, **options)
