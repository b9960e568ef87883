"""Taking a container away: its name, its volumes' claims, its folder."""

from __future__ import annotations

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

    Idempotent; killed or interrupted half-way, it is whole and can be removed again, or nobody sees it any more and the next
    opener removes it: the folder goes last, because it tells that there may be names. ``name`` None: the one in the folder.
    Raises ``CarboyError`` when something cannot be removed.
    """
    place = Home(home)
    container = snapshot.adopt_container(place, container_id, lock)
    with container:
        container.hand_over()  # an interruption leaves all that is there to the next opener, never a name without a folder
        name = read_name(container.path) if name is None else name
        release_volumes(home, container_id, remove_anonymous=remove_anonymous)
        container.forsake()
        remove_cgroup(container_id)
        release_names(place, container_id)
        container.take_back()
        write_event(home, "container", "destroy", id=container_id, name=name)


def remove_stale(home: Home) -> None:
    """Remove what containers left whose processes were all killed at once: names, control groups, and folders last.

    Any number of processes may do so at once, beside others that make containers; quick when there is nothing to do.
    """

    def remove_rest(container_id: str) -> None:
        release_names(home, container_id)
        remove_cgroup(container_id)

    snapshot.remove_stale(home, before=remove_rest)
    remove_stale_names(home)


def release_volumes(home: str, container_id: str, *, remove_anonymous: bool) -> None:
    """Let go of a container's volumes; the unnamed ones are removed when asked. Idempotent."""
    from carboy.volumes.store import VolumeStore

    VolumeStore(Home(home)).release(container_id, remove_anonymous=remove_anonymous)
