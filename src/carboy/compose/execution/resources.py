"""Images, networks and volumes of a home: implements ``Resources`` with the engine's use cases."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING

from carboy.build.front import Choice
from carboy.build.progress import Progress
from carboy.build.sources import read_front
from carboy.compose.document.paths import is_remote
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

if TYPE_CHECKING:
    from carboy.build.exchange.arguments import CacheOrigin, CacheTarget
    from carboy.engine.dockerfile_request import DockerfileRequest


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
        """Build a service's image: with its Dockerfile, or as a folder of Python (``build.front``)."""
        build, path = step.build, f"services.{step.service}.build"
        try:
            if is_remote(build.context):
                choice = Choice(front="dockerfile", file=build.dockerfile, reason="its context is elsewhere")
            else:
                choice = read_front(build.context, file=build.dockerfile or None)
            if build.dockerfile_inline:
                choice = Choice(front="dockerfile", file="", reason=f"{path}.dockerfile_inline")
            for text in check_build(step, choice, platform=str(Platform.current())):
                self._warn(text)
            if choice.front == "dockerfile":
                from carboy.build.solver.progress import InTurn
                from carboy.engine.dockerfile import build_dockerfile

                build_dockerfile(
                    self._engine,
                    request_build(step, choice, self._engine.environ),
                    progress=InTurn(self._progress),
                    warn=lambda warning: self._warn(f"{warning.file}: {warning}"),
                )
                return
            build_folder(self._engine, build.context, name=step.image, progress=self._progress, refresh=build.pull)
        except CarboyError as error:
            raise CarboyError(
                f"the image of {step.service} cannot be built: {error.brief}",
                details=error.details,
                hint=error.hint,
                code=error.code,
            ) from error
        for tag in build.tags:
            tag_image(self._engine, step.image, tag)

    def pull_image(self, name: str, *, platform: str) -> None:
        """Get an image that is not made of the project: from its registry, or made here where carboy knows how."""
        from carboy.build.solver.progress import InTurn
        from carboy.engine.provide import provide_image
        from carboy.images.transport.progress import SilentTransfer

        provide_image(
            self._engine,
            name,
            platform=platform,
            refresh=bool(self.image_ids((name,))),
            say=self._warn,
            open_steps=lambda: nullcontext(InTurn(self._progress)),
            open_transfers=lambda: nullcontext(SilentTransfer()),
        )

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


def check_build(step: BuildImage, choice: Choice, *, platform: str) -> tuple[str, ...]:
    """Return what a ``build`` asks for that has no effect; ``choice`` is the folder's, ``platform`` is this machine's.

    Raises ``CarboyError`` for what cannot be left out. Pure.
    """
    build, path = step.build, f"services.{step.service}.build"
    for wanted in (*build.platforms, *([step.platform] if step.platform else [])):
        if wanted not in {platform, platform.partition("/")[0]}:
            raise CarboyError(f"{path} asks for {wanted}: this machine builds for {platform} only")
    known = {"", "host", "default"} | ({"none"} if choice.front == "dockerfile" else set())
    if build.network not in known:
        raise CarboyError(f"{path}.network: builds are not on the network {build.network}", hint="leave it out")
    for id_, material in step.secrets:
        if material.environment and material.value is None:
            raise CarboyError(
                f"{path}.secrets: the variable {material.environment}, which holds {id_}, is not set", hint="set it"
            )
    if choice.front == "dockerfile":
        return tuple(f"{path}.{text}" for _, _, text in _read_caches(build) if text)
    return tuple(f"{path}.{key} has no effect: {why} ({choice.reason})" for key, why in _without_effect(build))


def request_build(step: BuildImage, choice: Choice, environ: Mapping[str, str]) -> DockerfileRequest:
    """Return the build with a Dockerfile that a service asks for. Raises ``CarboyError`` for what no build can have. Pure."""
    from carboy.build.dockerfile.arguments import SecretSource, parse_contexts, parse_ssh
    from carboy.engine.dockerfile_request import DockerfileRequest

    build = step.build
    inline = build.dockerfile_inline
    file = choice.file if is_remote(build.context) else os.path.join(build.context, choice.file)
    return DockerfileRequest(
        context=build.context,
        file="dockerfile_inline" if inline else file,
        text=inline.encode() if inline else None,
        names=(step.image, *build.tags),
        build_args={name: value for name, value in build.args if value is not None},
        labels=dict(build.labels),
        target=build.target,
        contexts=parse_contexts(f"{name}={value}" for name, value in build.additional_contexts),
        secrets=tuple(
            SecretSource(
                id=id_, path=material.file, value=None if material.value is None else os.fsencode(material.value)
            )
            for id_, material in step.secrets
        ),
        ssh=parse_ssh((f"{name}={path}" if path else name for name, path in build.ssh), environ),
        no_cache=build.no_cache,
        no_cache_stages=frozenset(name.lower() for name in build.no_cache_filter),
        allow=frozenset(build.entitlements),
        network=build.network or "default",
        add_hosts=tuple((name, address) for name, _, address in (text.partition("=") for text in build.extra_hosts)),
        shm_bytes=build.shm_size_bytes,
        ulimits=_ulimits(build, f"services.{step.service}.build"),
        cache_from=tuple(origin for origin, _, _ in _read_caches(build) if origin is not None),
        cache_to=tuple(target for _, target, _ in _read_caches(build) if target is not None),
        refresh=build.pull,
    )


def _read_caches(build: Build) -> list[tuple[CacheOrigin | None, CacheTarget | None, str]]:
    """Return (where one is read, where one is written, why neither): a cache is a help, and a build works without."""
    from carboy.build.exchange.arguments import parse_cache_from, parse_cache_to

    found: list[tuple[CacheOrigin | None, CacheTarget | None, str]] = []
    for item in build.cache_from:
        try:
            found += [(origin, None, "") for origin in parse_cache_from([item])]
        except CarboyError as error:
            found.append((None, None, f"cache_from has no effect: {error.brief}"))
    for item in build.cache_to:
        try:
            found += [(None, target, "") for target in parse_cache_to([item])]
        except CarboyError as error:
            found.append((None, None, f"cache_to has no effect: {error.brief}"))
    return found


def _ulimits(build: Build, path: str) -> tuple[tuple[str, int, int], ...]:
    from carboy.runtime.limits import parse_ulimit

    try:
        return tuple(parse_ulimit(f"{item.name}={item.soft}:{item.hard}") for item in build.ulimits)
    except ValueError as error:
        raise CarboyError(f"{path}.ulimits: {error}", hint="write it as nofile: {soft: 1024, hard: 2048}") from error


_FOR_DOCKERFILES = (
    "args", "target", "secrets", "ssh", "additional_contexts", "entitlements", "extra_hosts", "no_cache_filter", "ulimits",
    "cache_from", "cache_to",
)  # fmt: skip


def _without_effect(build: Build) -> list[tuple[str, str]]:
    found = [(key, "it is for a Dockerfile") for key in _FOR_DOCKERFILES if getattr(build, key)]
    if build.shm_size_bytes is not None:
        found.append(("shm_size", "it is for a Dockerfile"))
    if build.labels:
        found.append(("labels", "a project's image has carboy's own"))
    if build.no_cache:
        found.append(("no_cache", "what is in the cache is what would be built again"))
    return found
