"""What a build with a Dockerfile is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carboy.build.dockerfile.arguments import ContextSource, SecretSource

if TYPE_CHECKING:
    from carboy.bootstrap.snapshot import Snapshot
    from carboy.build.exchange.arguments import CacheOrigin, CacheTarget


EPOCH = "SOURCE_DATE_EPOCH"


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerfileRequest:
    """What ``carboy build`` asks for. ``context`` is a folder ("" for none), ``file`` a path, or ``text`` is the Dockerfile
    itself.

    ``platform`` "" is this machine's; "linux/amd64,linux/arm64" is an image for each, and ``is_one_of_several`` said to each of
    their builds. ``network`` is what a RUN gets that asks for no other.
    ``context_limit_bytes`` None is the home's own limit; ``snapshot``: see ``BuildOptions``.
    """

    context: str
    file: str = ""
    text: bytes | None = None
    archive: bytes | None = field(default=None, repr=False)
    names: tuple[str, ...] = ()
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    contexts: Mapping[str, ContextSource] = field(default_factory=dict)
    secrets: tuple[SecretSource, ...] = ()
    ssh: Mapping[str, str] = field(default_factory=dict)
    no_cache: bool = False
    no_cache_stages: frozenset[str] = frozenset()
    allow: frozenset[str] = frozenset()
    network: str = "default"
    add_hosts: tuple[tuple[str, str], ...] = ()
    shm_bytes: int | None = None
    ulimits: tuple[tuple[str, int, int], ...] = ()
    platform: str = ""
    is_one_of_several: bool = False
    refresh: bool = False
    snapshot: Snapshot | None = None
    context_limit_bytes: int | None = None
    cache_from: tuple[CacheOrigin, ...] = ()
    cache_to: tuple[CacheTarget, ...] = ()
