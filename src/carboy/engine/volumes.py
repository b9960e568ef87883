"""Volumes by name: make, list, describe, remove, prune."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carboy.base.filters import has_label, parse_filters, passes
from carboy.containers.events import write_event
from carboy.containers.names import read_name
from carboy.engine.containers.describe import render_time
from carboy.errors import CarboyError
from carboy.volumes.store import Volume, VolumeStore, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from carboy.base.home import Home

    Test = Callable[[Volume, str], bool]

SHORT_ID = 12


def create_volume(home: Home, name: str | None = None, *, labels: Mapping[str, str] | None = None) -> Volume:
    """Make a volume and return it; without a name an anonymous one. One that is there is returned as it is.

    Raises ``CarboyError`` for a bad name, or when the disk refuses.
    """
    store = VolumeStore(home)
    new = name is None or all(volume.name != name for volume in store.list_volumes())
    volume = store.create(name, labels=labels)
    if new:
        write_event(home.path, "volume", "create", id=volume.name, name=volume.name, driver="local")
    return volume


def list_volumes(home: Home, filters: Sequence[str] = ()) -> list[Volume]:
    """Return the volumes that pass ``volume ls --filter``, by name. Raises ``CarboyError`` (2) for an unknown filter."""
    return filter_volumes(VolumeStore(home).list_volumes(), filters)


def inspect_volume(home: Home, name: str) -> Volume:
    """Return one volume. Raises ``CarboyError`` with the nearest name when there is none."""
    return VolumeStore(home).inspect(name)


def remove_volume(home: Home, name: str, *, force: bool = False) -> int:
    """Remove a volume with all that is in it and return how many bytes that was on the disk.

    ``force`` does not mind a missing one, and never takes one in use. Raises ``CarboyError``, which names the containers.
    """
    store = VolumeStore(home)
    try:
        volume = store.inspect(name)
    except CarboyError:
        if force:
            return 0
        raise
    size_bytes = 0 if volume.users else measure(volume.path)
    try:
        store.remove(name, force=force)
    except CarboyError as error:
        users = [f"{user[:SHORT_ID]} {read_name(f'{home.containers}/{user}')}".rstrip() for user in volume.users]
        error.details = error.details or ("used by " + ", ".join(users) if users else "")
        raise
    write_event(home.path, "volume", "destroy", id=name, name=name, driver="local")
    return size_bytes


def prune_volumes(home: Home, filters: Sequence[str] = (), *, everything: bool = False) -> tuple[list[str], int]:
    """Remove the anonymous volumes that no container has (``everything``: the named ones as well) and pass the filters.

    Returns their names and how many bytes they had on the disk. Raises ``CarboyError`` (2) for an unknown filter.
    """
    wanted = parse_filters(filters, _PRUNE_TESTS)
    names, size_bytes = VolumeStore(home).prune(
        all=everything, accept=lambda volume: passes(volume, wanted, _PRUNE_TESTS)
    )
    for name in names:
        write_event(home.path, "volume", "destroy", id=name, name=name, driver="local")
    return names, size_bytes


def describe_volume(volume: Volume) -> dict[str, Any]:
    """Return what ``volume inspect`` shows: the shape of Docker's, with the containers that have it. Pure."""
    return {
        "CreatedAt": render_time(volume.created_at_s),
        "Driver": "local",
        "Labels": dict(volume.labels),
        "Mountpoint": volume.path,
        "Name": volume.name,
        "Options": {},
        "Scope": "local",
        "Anonymous": volume.anonymous,
        "Containers": list(volume.users),
    }


# --- filters ------------------------------------------------------------------------------------------------------


def _is_dangling(volume: Volume, value: str) -> bool:
    wanted = {"true": True, "1": True, "false": False, "0": False}.get(value.lower())
    if wanted is None:
        raise CarboyError(f"the filter dangling is true or false, not {value!r}", code=2)
    return wanted != bool(volume.users)


_TESTS: dict[str, Test] = {
    "name": lambda volume, value: value in volume.name,
    "label": lambda volume, value: has_label(volume.labels, value),
    "dangling": _is_dangling,
    "driver": lambda _, value: value == "local",
}
_PRUNE_TESTS: dict[str, Test] = {
    "label": _TESTS["label"],
    "label!": lambda volume, value: not has_label(volume.labels, value),
}


def filter_volumes(volumes: Iterable[Volume], filters: Sequence[str]) -> list[Volume]:
    """Return the volumes that pass. Pure. Raises ``CarboyError`` (2)."""
    wanted = parse_filters(filters, _TESTS)
    return [volume for volume in volumes if passes(volume, wanted, _TESTS)]
