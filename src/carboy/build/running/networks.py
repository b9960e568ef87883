"""Which network a RUN has, and its connection to it.

One that asks for nothing gets a network of its own where that can be had and leads to what the machine's settings need
(proxies, indexes, mirrors, name servers); else the host's. No word of the Dockerfile takes part in that: a step that names
an address of this machine's does not thereby reach it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from carboy.environments.connection import Connection
from carboy.environments.reach import Reach, find_network

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carboy.build.graph.ops import Run

_USERS = "a user's steps run beside each other in one process, which cannot hold a network for each"


def find_default_network(tier: str, settings: Mapping[str, str], addresses: Sequence[str] = ()) -> Reach:
    """Return which network a step has that asks for none. Looks names up; changes nothing.

    ``settings`` are variables of the machine's and of whoever builds (proxies, uv's settings), ``addresses`` what else the
    machine's settings name.
    """
    if tier != "root":
        return Reach(network="host", reason=_USERS)
    return find_network(tier, settings, " ".join(addresses))


class StepNetworks:
    """The networks of a build's steps, from any thread. ``default`` is what the build was told: "none", "host", "default".

    What steps leave is taken away by :meth:`close` at once: the kernel takes 60 ms for a bridge and its last device.
    """

    def __init__(self, tier: str, default: str) -> None:
        self._tier = tier
        self._default = default
        self._lock = threading.Lock()
        self._found: dict[tuple[object, ...], Reach] = {}
        self._ended: list[str] = []

    def choose(self, op: Run, settings: Mapping[str, str], addresses: Sequence[str]) -> tuple[Reach, bool]:
        """Return the network of a step, "none", "host" or "private", and whether this is the first time for that reason.

        ``settings`` and ``addresses`` are those of :func:`find_default_network`.
        """
        wanted = self._default if op.network == "default" else op.network
        if wanted != "default":
            return Reach(network=wanted, reason="it was asked for"), False
        with self._lock:
            key: tuple[object, ...] = (*sorted(settings.items()), *addresses)
            is_new = key not in self._found
            if is_new:
                self._found[key] = find_default_network(self._tier, settings, addresses)
            return self._found[key], is_new

    def connect(self, container_id: str) -> Connection:
        """Return what gives a sandbox its private network."""
        return _Lasting(container_id, tier=self._tier, ended=self._ended)

    def close(self) -> None:
        """Take away what the steps left. Idempotent."""
        from carboy.network import private

        ended, self._ended[:] = list(self._ended), []
        if ended:
            private.detach(*ended, tier=self._tier)


class _Lasting(Connection):
    """A connection whose end is only noted."""

    def __init__(self, container_id: str, *, tier: str, ended: list[str]) -> None:
        super().__init__(container_id, tier=tier)
        self._ended = ended

    def end(self) -> None:
        self._ended.append(self._id)
