"""Images that are made here when they are asked for by name and are not there, as Docker would pull them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carboy.build.solver.recipes import find_recipe
from carboy.oci.reference import DEFAULT_REGISTRY, OFFICIAL, Reference

if TYPE_CHECKING:
    from collections.abc import Callable

    from carboy.build.solver.progress import GraphProgress
    from carboy.engine.context import Engine


def is_known(name: str) -> bool:
    """Return whether an image of this name can be made from a distribution's signed archive. Raises ``CarboyError``."""
    reference = Reference.parse(name)
    official = reference.registry == DEFAULT_REGISTRY and reference.repository.startswith(f"{OFFICIAL}/")
    if not official or reference.digest is not None:
        return False
    return find_recipe(reference.repository.removeprefix(f"{OFFICIAL}/"), reference.tag or "latest") is not None


def make_known(engine: Engine, name: str, *, progress: GraphProgress, say: Callable[[str], None]) -> None:
    """Make the image and give it its name, having said so. Raises ``CarboyError`` when it cannot be made."""
    from carboy.engine.dockerfile import build_dockerfile
    from carboy.engine.dockerfile_request import DockerfileRequest

    say(f"{Reference.parse(name).familiar} is not here: it is made from its distribution's signed archive")
    text = f"FROM {Reference.parse(name)}\n".encode()
    build_dockerfile(engine, DockerfileRequest(context="", text=text, names=(name,)), progress=progress)
