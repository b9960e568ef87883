"""Which images of this home a build with a Dockerfile stands on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from carboy.build.graph.ops import Base, list_ops
from carboy.engine.dockerfile import plan_dockerfile
from carboy.engine.platforms import split_platforms
from carboy.oci.reference import Reference

if TYPE_CHECKING:
    from carboy.engine.context import Engine
    from carboy.engine.dockerfile_request import DockerfileRequest


def list_bases(engine: Engine, request: DockerfileRequest) -> tuple[str, ...]:
    """Return the full names of the images of the store that a build stands on or copies from, for all platforms asked for.

    Raises ``CarboyError`` for what is wrong with the Dockerfile.
    """
    found: dict[str, None] = {}
    for platform in split_platforms(request.platform):
        image = plan_dockerfile(engine, replace(request, platform=platform, names=()))
        for op in list_ops(image.state):
            if isinstance(op, Base) and op.image.digest is not None:
                name = str(Reference.parse(op.image.name))
                if engine.store.refs.get(name) is not None:
                    found[name] = None
    return tuple(found)
