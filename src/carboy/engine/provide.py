"""Images that are asked for by name and are not here: made, where carboy knows how, else fetched from their registry."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from carboy.build.solver.recipes import Bases
from carboy.errors import CarboyError
from carboy.oci.reference import Reference
from carboy.remote.settings import read_registries

if TYPE_CHECKING:
    from collections.abc import Callable

    from carboy.build.solver.progress import GraphProgress
    from carboy.engine.context import Engine
    from carboy.images.transport.progress import TransferProgress


def provide_image(
    engine: Engine,
    name: str,
    *,
    platform: str = "",
    refresh: bool = False,
    say: Callable[[str], None],
    open_steps: Callable[[], AbstractContextManager[GraphProgress]],
    open_transfers: Callable[[], AbstractContextManager[TransferProgress]],
) -> None:
    """Get the image for a platform ("": this machine's) and give it its name, having said so.

    What can be made here is fetched only when config.toml names its registry. ``refresh``: although it is here.
    Raises ``CarboyError`` where neither can be done.
    """
    reference = Reference.parse(name)
    can_make = Bases(engine.home.path).find(reference) is not None
    if not can_make or reference.registry in read_registries(engine.home.path):
        from carboy.engine.transfer.registries import pull

        try:
            say(f"{reference.familiar} is fetched from {reference.registry}")
            with open_transfers() as transfers:
                pull(engine, name, platform=platform, progress=transfers)
        except CarboyError as error:
            if not can_make:
                raise
            say(error.brief)
        else:
            return
    say(f"{reference.familiar} is made from its distribution's signed archive")
    with open_steps() as steps:
        _make(engine, reference, name, platform=platform, refresh=refresh, progress=steps)


def _make(
    engine: Engine, reference: Reference, name: str, *, platform: str, refresh: bool, progress: GraphProgress
) -> None:
    from carboy.engine.dockerfile import build_dockerfile
    from carboy.engine.dockerfile_request import DockerfileRequest

    request = DockerfileRequest(
        context="", text=f"FROM {reference}\n".encode(), names=(name,), platform=platform, refresh=refresh
    )
    build_dockerfile(engine, request, progress=progress)
