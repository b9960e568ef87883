"""``--data-ref IMAGE[:/PATH]``: the data of one image in a container of another, for reading.

A folder of an image may be spread over its layers, and not every runtime can mount several as one. So the folder is brought into
a volume of its own, once for all containers: it is named after the image's digest and the path, and mounted for reading only.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
from typing import TYPE_CHECKING

from carboy.engine.launch import read_launch_record
from carboy.errors import CarboyError
from carboy.runtime.mounts import MountRequest, format_mount
from carboy.snapshots.copy import fill_folder
from carboy.snapshots.merged import MergedRoot, find
from carboy.volumes.store import VolumeStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.engine.context import Engine
    from carboy.engine.launch import LaunchRecord

OPTION = "data"
_LABEL = "io.carboy.data="


def parse_data_ref(text: str) -> tuple[str, str]:
    """Return the image and the path ("": its data, as the image itself says where they are). Raises ``CarboyError`` (125)."""
    image, colon, path = text.partition(":/")
    path = posixpath.normpath(f"/{path}").replace("//", "/", 1) if colon else ""
    if not image or path == "/" or ".." in text.split("/") or "," in path:
        raise CarboyError(
            f"--data-ref {text}: this names no folder of an image", hint="write IMAGE, or IMAGE:/app/data", code=125
        )
    return image, path


def bring_data(engine: Engine, container_id: str, asked: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return the mounts with those of data as volumes, which are there and filled. Raises ``CarboyError`` (125).

    The container's folder must be there; the volumes are noted as its own, and released with its others.
    """
    result: list[tuple[str, str]] = []
    for option, text in asked:
        if option != OPTION:
            result.append((option, text))
            continue
        image, path = parse_data_ref(text)
        with engine.store.lease("data"):  # its layers stay until they are read
            record = _read_record(engine, image)
            for folder in [path] if path else _find_paths(image, record):
                name = _bring(engine, container_id, image, record, folder)
                request = MountRequest(kind="volume", source=name, target=folder, read_only=True, copy_up=False)
                result.append(("mount", format_mount(request)))
    return tuple(result)


def _read_record(engine: Engine, image: str) -> LaunchRecord:
    """Return the record of an image with data. Raises ``CarboyError`` (125), never that the container's own image is missing.

    Whoever is told that fetches what the container runs, in place of the image of that name that is here.
    """
    from carboy.engine.images import NoImageError

    try:
        return read_launch_record(engine, image)
    except NoImageError as error:
        raise CarboyError(f"--data-ref: {error.brief}", hint=f"`carboy pull {image}` fetches it", code=125) from error


def _find_paths(image: str, record: LaunchRecord) -> list[str]:
    """Return where an image has its data: in a label, which anybody may have written."""
    text = next((label.removeprefix(_LABEL) for label in record.labels if label.startswith(_LABEL)), "")
    try:
        paths = json.loads(text) if text else []
    except ValueError:
        paths = []
    if not isinstance(paths, list) or not paths or not all(isinstance(path, str) for path in paths):
        raise CarboyError(
            f"the image {image} does not say where its data are", hint=f"name the folder: {image}:/app/data", code=125
        )
    return [parse_data_ref(f"{image}:/{path.lstrip('/')}")[1] for path in paths]


def _bring(engine: Engine, container_id: str, image: str, record: LaunchRecord, folder: str) -> str:
    trees = [engine.store.layers.path_of_hex(layer.partition(":")[2]) for layer in record.layers]
    root = MergedRoot(trees)
    _check_folder(root, image, folder)
    name = f"data-{hashlib.sha256(f'{record.manifest} {folder}'.encode()).hexdigest()[:32]}"

    def fill(fd: int) -> None:
        fill_folder(root, os.fsencode(folder), fd, keep_owners=engine.tier.name != "single")

    VolumeStore(engine.home).acquire(name, container_id, fill=fill)
    return name


def _check_folder(root: MergedRoot, image: str, folder: str) -> None:
    try:
        with root.open() as top, find(top, os.fsencode(folder)) as place:
            if place.entry is not None and place.entry.is_folder:
                return
            reason = "is a file, and only folders can be mounted" if place.entry is not None else "is not there"
    except OSError as error:
        reason = f"cannot be found: {error.strerror}"
    raise CarboyError(f"{folder} of the image {image} {reason}", hint="name a folder: IMAGE:/PATH", code=125)
