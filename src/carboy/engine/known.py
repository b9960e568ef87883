"""Images that are made here when they are asked for by name and are not there, as Docker would pull them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carboy.build.solver.recipes import Bases
from carboy.oci.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Callable

    from carboy.build.solver.progress import GraphProgress
    from carboy.engine.context import Engine


def is_known(engine: Engine, name: str) -> bool:
    """Return whether an image of this name can be made from a distribution's signed archive. Raises ``CarboyError``."""
    return Bases(engine.home.path).find(Reference.parse(name)) is not None


def make_known(
    engine: Engine, name: str, *, progress: GraphProgress, say: Callable[[str], None], platform: str = ""
) -> None:
    """Make the image for a platform ("": this machine's) and give it its name, having said so.

    Raises ``CarboyError`` when it cannot be made.
    """
    from carboy.engine.dockerfile import build_dockerfile
    from carboy.engine.dockerfile_request import DockerfileRequest

    reference = Reference.parse(name)
    say(f"{reference.familiar} is not here: it is made from its distribution's signed archive")
    request = DockerfileRequest(context="", text=f"FROM {reference}\n".encode(), names=(name,), platform=platform)
    build_dockerfile(engine, request, progress=progress)
