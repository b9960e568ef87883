"""What a person asks of a build beside its graph."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from carboy.bootstrap.snapshot import Snapshot
    from carboy.build.exchange.arguments import CacheOrigin, CacheTarget

DEFAULT_LIMIT_BYTES = 10 * 2**30
MAX_SECRET_BYTES = 500 * 2**10


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """The request's part of a build; nothing of it but ``source_date_epoch`` is part of a key.

    ``contexts`` are folders by the names that ``LocalContext`` has; ``secrets`` contents by id; ``ssh`` the sockets of agents by
    id. ``network`` is what a RUN gets that asks for no other: "host", "none", or "default", a network of its own where one can
    be had that leads to what is needed, else the host's. ``entitlements`` are those that were granted ("network.host",
    "security.insecure"). ``add_hosts`` are (name, address). ``source_date_epoch`` (seconds since 1970) is the latest time in
    new layers, and that of the image; None: the base's. ``context_limit_bytes`` is how much of a context is read before that
    is an error. ``jobs`` bounds the steps at once. ``refresh`` asks the archive again for a base that is made here, from
    ``mirror`` where one is given; ``snapshot`` is a state of the archive that it is rather to be of. ``cache_from`` and
    ``cache_to`` are caches outside of the store.
    """

    contexts: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    ssh: Mapping[str, str] = field(default_factory=dict)
    network: str = "default"
    entitlements: frozenset[str] = frozenset()
    add_hosts: tuple[tuple[str, str], ...] = ()
    shm_bytes: int | None = None
    ulimits: tuple[tuple[str, int, int], ...] = ()
    source_date_epoch: int | None = None
    context_limit_bytes: int = DEFAULT_LIMIT_BYTES
    jobs: int = field(default_factory=lambda: max(4, len(os.sched_getaffinity(0))))
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    refresh: bool = False
    snapshot: Snapshot | None = None
    mirror: str | None = None
    cache_from: tuple[CacheOrigin, ...] = ()
    cache_to: tuple[CacheTarget, ...] = ()
