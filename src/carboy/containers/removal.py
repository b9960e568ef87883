"""Taking a container away: its name, its volumes' claims, its folder."""

from __future__ import annotations

import os

from carboy.base.home import Home
from carboy.containers.events import write_event
from carboy.containers.names import read_name, release_names, remove_stale_names
from carboy.runtime.native.cgroup import remove_cgroup
from carboy.snapshots import snapshot


def remove_container(
    home: str, container_id: str, *, name: str | None, lock: int, remove_anonymous: bool = False
) -> None:
    """Remove a container whose lock is held by this process, and all that was made for it alone.

    Its unnamed volumes go with it where ``remove_anonymous`` says so.

    Idempotent; killed half-way, it is whole and can be removed again, or nobody sees it any more and the next opener removes
    the folder: the name goes last, because by it the container is found. ``name`` None: the one in the folder. Raises
    ``CarboyError`` when something cannot be removed.
    """
    place = Home(home)
    container = snapshot.adopt_container(place, container_id, lock)
    with container:
        name = read_name(container.path) if name is None else name
        release_volumes(home, container_id, remove_anonymous=remove_anonymous)
        container.forsake()
        remove_cgroup(container_id)
        release_names(place, container_id)
        write_event(home, "container", "destroy", id=container_id, name=name)


def remove_stale(home: Home) -> None:
    """Remove what containers left whose processes were all killed at once: folders, control groups and names.

    Any number of processes may do so at once; quick when there is nothing to do: each container has one name, so that only
    where there are more names than folders one of them is nobody's.
    """
    stale = snapshot.remove_stale(home)
    for container_id in stale:
        remove_cgroup(container_id)
    if stale or len(os.listdir(home.names)) > len(os.listdir(home.containers)):
        remove_stale_names(home)


def release_volumes(home: str, container_id: str, *, remove_anonymous: bool) -> None:
    """Let go of a container's volumes; the unnamed ones are removed when asked. Idempotent."""
    from carboy.volumes.store import VolumeStore

    VolumeStore(Home(home)).release(container_id, remove_anonymous=remove_anonymous)
