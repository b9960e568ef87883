"""Images, networks and volumes of a home: implements ``Resources`` with the engine's use cases."""

from __future__ import annotations

import os
from collections.abc import Callable

from carboy.build.progress import Progress
from carboy.compose.model import Build, Network
from carboy.compose.planning.steps import BuildImage, CreateNetwork, CreateVolume
from carboy.engine.build import build_folder
from carboy.engine.context import Engine
from carboy.engine.images import remove_image, tag_image
from carboy.errors import CarboyError
from carboy.network.networks import create_network, list_networks, remove_network
from carboy.oci.platform import Platform
from carboy.oci.reference import Reference
from carboy.volumes.store import VolumeStore

SETTINGS = "carboy.toml"
DOCKERFILES = ("Dockerfile", "Containerfile")


class EngineResources:
    """What containers of one opened engine need. ``progress`` is told of builds, ``warn`` of what has no effect."""

    def __init__(self, engine: Engine, *, progress: Progress, warn: Callable[[str], None]) -> None:
        self._engine = engine
        self._progress = progress
        self._warn = warn
        self._volumes = VolumeStore(engine.home)

    def image_ids(self, names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
        """Return the images that are here, with their manifests' digests."""
        found = []
        for name in names:
            descriptor = self._engine.store.refs.get(str(Reference.parse(name)))
            if descriptor is not None:
                found.append((name, str(descriptor.digest)))
        return tuple(found)

    def build_image(self, step: BuildImage) -> None:
        """Build a folder of Python. A Dockerfile is refused: see :func:`check_build`."""
        context = step.build.context
        try:
            names = tuple(sorted(os.listdir(context)))
        except OSError as error:
            raise CarboyError(
                f"services.{step.service}.build: the folder {context} cannot be read", details=str(error)
            ) from error
        for text in check_build(step, names, platform=str(Platform.current())):
            self._warn(text)
        try:
            build_folder(self._engine, context, name=step.image, progress=self._progress, refresh=step.build.pull)
        except CarboyError as error:
            raise CarboyError(
                f"the image of {step.service} cannot be built: {error.brief}",
                details=error.details,
                hint=error.hint,
                code=error.code,
            ) from error
        for tag in step.build.tags:
            tag_image(self._engine, step.image, tag)

    def pull_image(self, name: str) -> None:
        """Say that there is no way to a registry yet. Raises ``CarboyError``."""
        hint = "give the service a build, or make the image: `carboy build FOLDER -t NAME`, `carboy bootstrap -t NAME`"
        raise CarboyError(f"there is no image {name} here, and carboy does not pull from registries yet", hint=hint)

    def remove_image(self, name: str) -> None:
        """Remove the name of an image."""
        if self.image_ids((name,)):
            remove_image(self._engine, name)

    def network_names(self) -> tuple[str, ...]:
        """Return the names of the networks that were made."""
        return tuple(network.name for network in list_networks(self._engine.home))

    def create_network(self, step: CreateNetwork) -> None:
        """Make a network. Raises ``CarboyError``: in the user tiers, or for what :func:`check_network` finds."""
        network = step.network
        for text in check_network(network):
            self._warn(text)
        try:
            create_network(
                self._engine.home,
                network.name,
                subnet=network.subnets[0] if network.subnets else None,
                is_internal=network.internal,
                has_ipv6=bool(network.enable_ipv6),
                labels=step.labels,
                tier=self._engine.tier.name,
            )
        except CarboyError as error:
            hint = (
                "write network_mode: host (services find each other on 127.0.0.1) or none (published ports work there)"
            )
            raise CarboyError(error.brief, details=error.details, hint=self._hint(error, hint)) from error

    def _hint(self, error: CarboyError, in_user_tiers: str) -> str:
        return error.hint if self._engine.tier.name == "root" else f"run as root, or {in_user_tiers}"

    def remove_network(self, name: str) -> None:
        """Remove a network."""
        if name in self.network_names():
            remove_network(self._engine.home, name, tier=self._engine.tier.name)

    def volume_names(self) -> tuple[str, ...]:
        """Return the names of the volumes that were made."""
        return tuple(volume.name for volume in self._volumes.list_volumes())

    def create_volume(self, step: CreateVolume) -> None:
        """Make a volume."""
        self._volumes.create(step.volume.name, labels=dict(step.labels))

    def remove_volume(self, name: str) -> None:
        """Remove a volume."""
        self._volumes.remove(name, force=True)


def check_network(network: Network) -> tuple[str, ...]:
    """Return what a network asks for that has no effect. Raises ``CarboyError`` for what cannot be left out. Pure."""
    path = f"networks.{network.key}"
    if len(network.subnets) > 1 or any(":" in subnet for subnet in network.subnets):
        raise CarboyError(
            f"{path}.ipam asks for more than one range of IPv4 addresses", hint="name one; enable_ipv6 chooses its own"
        )
    found = []
    if network.gateways:
        found.append((f"{path}.ipam.config.gateway", "it is the first address of the subnet"))
    found += [(f"{path}.driver_opts.{name}", "there is one kind of network") for name, _ in network.driver_options]
    return tuple(f"{key} has no effect: {why}" for key, why in found)


def check_build(step: BuildImage, names: tuple[str, ...], *, platform: str) -> tuple[str, ...]:
    """Return what a ``build`` asks for that has no effect; ``names`` are those of the folder, ``platform`` is this machine's.

    Raises ``CarboyError`` when it is not a folder of Python that the file means: carboy does not read Dockerfiles yet, and never
    builds something else in the place of one. A folder that has both is built when it has a ``carboy.toml``, which says so.
    Pure.
    """
    build, path = step.build, f"services.{step.service}.build"
    hint = f"with a {SETTINGS} the folder is built as a Python project (system packages: [system] packages)"
    if build.dockerfile or build.dockerfile_inline:
        raise CarboyError(f"{path} names a Dockerfile, which carboy does not read yet", hint=f"leave it out; {hint}")
    found = next((name for name in DOCKERFILES if name in names), "")
    if found and SETTINGS not in names:
        raise CarboyError(f"{path}: {build.context} has a {found}, which carboy does not read yet", hint=hint)
    for wanted in (*build.platforms, *([step.platform] if step.platform else [])):
        if wanted not in {platform, platform.partition("/")[0]}:
            raise CarboyError(f"{path} asks for {wanted}: this machine builds for {platform} only")
    if build.network not in {"", "host", "default"}:
        raise CarboyError(f"{path}.network: builds are not on the network {build.network}", hint="leave it out")
    return tuple(f"{path}.{key} has no effect: {why}" for key, why in _without_effect(build))


def _without_effect(build: Build) -> list[tuple[str, str]]:
    found = []
    if build.args:
        found.append(("args", "they are for a Dockerfile"))
    if build.target:
        found.append(("target", "it is for a Dockerfile"))
    if build.labels:
        found.append(("labels", "a project's image has carboy's own"))
    if build.no_cache:
        found.append(("no_cache", "what is in the cache is what would be built again"))
    return found
