"""What a build is given besides its Dockerfile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from carboy.build.graph.ops import Copy, Git, Ignore, ImageResolver, InlineFiles, LocalContext
from carboy.dockerfile.scope import PlatformNames
from carboy.oci.platform import Platform

# Rights that a Dockerfile cannot take by itself.
NETWORK_HOST = "network.host"
SECURITY_INSECURE = "security.insecure"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedImage:
    """A context that is an image: ``--build-context name=docker-image://image``."""

    image: str


NamedContext: TypeAlias = "LocalContext | Git | NamedImage"
# A Copy is an archive that was unpacked.
MainContext: TypeAlias = "LocalContext | Git | InlineFiles | Copy"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildInput:
    """What ``carboy build`` says. ``platform`` is what is built for, "" in ``target`` the last stage.

    ``platform_given`` when somebody asked for that platform: the image has it then, whatever its base is. ``contexts`` are
    named ones, in lower case. ``no_cache`` is for all stages, ``no_cache_stages`` for those (names in lower case). ``allow``
    holds the rights that were given. ``ignore`` is the main context's, for the checks.
    """

    context: MainContext
    resolver: ImageResolver
    platform: Platform
    build_platform: Platform
    platform_given: bool = False
    is_one_of_several: bool = False
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    contexts: Mapping[str, NamedContext] = field(default_factory=dict)
    no_cache: bool = False
    no_cache_stages: frozenset[str] = frozenset()
    allow: frozenset[str] = frozenset()
    ignore: Ignore | None = None


def platform_names(platform: Platform) -> PlatformNames:
    """Return a platform's parts for ARGs, normalised as containerd does: arm64 is v8 without saying so."""
    variant = platform.variant or ""
    if platform.architecture == "arm64" and variant in {"8", "v8"}:
        variant = ""
    return PlatformNames(os=platform.os, architecture=platform.architecture, variant=variant)
