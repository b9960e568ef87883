"""Dockerfiles turned into graphs, with images in memory."""

from __future__ import annotations

from typing import Any

from carboy.build.dockerfile.convert import convert
from carboy.build.dockerfile.given import BuildInput
from carboy.build.graph import ops
from carboy.dockerfile.parser import parse
from carboy.errors import CarboyError
from carboy.oci.config import RunConfig
from carboy.oci.digest import Digest
from carboy.oci.platform import Platform

AMD64 = Platform(os="linux", architecture="amd64")
ARM64 = Platform(os="linux", architecture="arm64", variant="v8")
CONTEXT = ops.LocalContext()
DEBIAN = RunConfig(Env=["PATH=/bin", "LANG=C"], Cmd=["bash"], WorkingDir="/")


class Images:
    """Images in memory: implements ``ImageResolver``."""

    def __init__(self, **configs: RunConfig) -> None:
        self.configs = {"debian": DEBIAN, **configs}
        self.asked: list[tuple[str, Platform | None]] = []

    def resolve(self, name: str, *, platform: Platform | None, location: ops.Location | None = None) -> ops.BaseImage:
        self.asked.append((name, platform))
        if name not in self.configs:
            raise CarboyError(f"there is no image {name}", details=f"{location}")
        return ops.BaseImage(
            name=name,
            config=self.configs[name],
            platform=platform or AMD64,
            digest=Digest.of(name.encode()),
            author="them",
        )


def image(text: str, *, images: Images | None = None, **given: Any) -> ops.Image:
    """Return the image of ``text``."""
    made = BuildInput(
        **{"context": CONTEXT, "resolver": images or Images(), "platform": AMD64, "build_platform": AMD64, **given}
    )
    return convert(parse(text.encode()), made)


def chain(made: ops.Image) -> list[ops.State]:
    return ops.list_chain(made.state)


def last_run(made: ops.Image) -> ops.Run:
    run = next(state for state in reversed(chain(made)) if isinstance(state, ops.Run))
    assert isinstance(run, ops.Run)
    return run


def last_copy(made: ops.Image) -> ops.Copy:
    copy = made.state
    assert isinstance(copy, ops.Copy)
    return copy


def texts(made: ops.Image) -> list[str]:
    return [line.created_by for line in made.history]
