"""``carboy bootstrap``: a base image by name, from a distribution's signed archive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.oci.digest import Digest
from carboy.oci.reference import Reference

if TYPE_CHECKING:
    from carboy.build.progress import Progress
    from carboy.engine.context import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class BootstrapRequest:
    """What to make: ``base`` as "debian:SUITE", extra ``packages``, the archive's address and the image's name."""

    base: str
    packages: tuple[str, ...] = ()
    mirror: str | None = None
    security: bool = True
    refresh: bool = False
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BootstrappedImage:
    """The image that was made: its name, manifest digest, count of packages and size in bytes."""

    name: str
    digest: Digest
    packages: int
    size_bytes: int


def bootstrap_image(engine: Engine, request: BootstrapRequest, *, progress: Progress) -> BootstrappedImage:
    """Make the base and name it; from cache when the same base was made before, unless ``refresh`` asks again."""
    from carboy.build.executor import execute
    from carboy.build.plan import plan_base

    reference = Reference.parse(request.name or request.base)
    context = engine.build_context(progress, refresh=request.refresh, mirror=request.mirror, security=request.security)
    result = execute(plan_base(request.base, packages=request.packages), context)
    engine.store.refs.set(str(reference), result.descriptor)
    return BootstrappedImage(
        name=reference.familiar, digest=result.descriptor.digest, packages=result.packages, size_bytes=result.size_bytes
    )
