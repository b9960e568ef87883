"""The process behind one call: a request on descriptor 3, the answer on descriptor 4, both JSON."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from carboy.engine.containers import manage
from carboy.engine.containers.create import create_container, start_container
from carboy.engine.containers.describe import describe_row
from carboy.engine.containers.request import RunRequest
from carboy.engine.context import Engine
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Callable

ASK_FD, ANSWER_FD = 3, 4


def main() -> int:
    """Carry out the request and answer it; returns the exit status."""
    with open(ASK_FD, "rb") as file:
        request = json.loads(file.read())
    try:
        answer = {"result": METHODS[request["method"]](**request["values"])}
    except CarboyError as error:
        answer = {"error": {"brief": error.brief, "details": error.details, "hint": error.hint, "code": error.code}}
    with open(ANSWER_FD, "wb") as file:
        file.write(json.dumps(answer).encode())
    return 0 if "result" in answer else 1


def _open() -> Engine:
    return Engine.open(os.environ)


def _view(engine: Engine, name: str) -> manage.ContainerView:
    return manage.open_view(engine.home, name)


def run(image: str, request: dict[str, Any], *, start: bool) -> dict[str, Any]:
    """Make a container of an image or a folder, start it unless asked not to, and return its row."""
    engine = _open()
    manifest, network = None, None
    if os.path.isdir(image):
        manifest, network = _build_folder(engine, image)
    asked = RunRequest.from_json({"network": network, **request})
    container_id = create_container(engine, image, asked, manifest=manifest)
    if start:
        try:
            start_container(engine, container_id)
        except BaseException:
            manage.delete_container(engine.home, _view(engine, container_id), force=True)
            raise
    return describe_row(_view(engine, container_id))


def _build_folder(engine: Engine, folder: str) -> tuple[str, str]:
    from carboy.build.progress import SilentProgress
    from carboy.engine.build import build_any

    result = build_any(engine, folder, name=None, progress=SilentProgress())
    return str(result.descriptor.digest), result.network


def build(folder: str, name: str | None) -> dict[str, Any]:
    """Build a folder and return {"digest", "name", "size_bytes"}."""
    from carboy.build.progress import SilentProgress
    from carboy.engine.build import build_any

    result = build_any(_open(), folder, name=name, progress=SilentProgress())
    return {"digest": str(result.descriptor.digest), "name": name, "size_bytes": result.size_bytes}


def pull(name: str, platform: str) -> dict[str, Any]:
    """Fetch an image and return its name, digest and size."""
    from carboy.engine.images import read_manifest
    from carboy.engine.transfer import registries
    from carboy.images.transport.progress import SilentTransfer

    engine = _open()
    (image,) = registries.pull(engine, name, platform=platform, progress=SilentTransfer())
    size_bytes = sum(layer.size for layer in read_manifest(engine, image.descriptor).layers)
    return {"name": image.name.familiar, "digest": str(image.descriptor.digest), "size_bytes": size_bytes}


def push(name: str) -> str:
    """Send an image to its registry and return the digest that it has there."""
    from carboy.engine.transfer import registries
    from carboy.images.transport.progress import SilentTransfer

    (image,) = registries.push(_open(), name, progress=SilentTransfer())
    return str(image.descriptor.digest)


def images() -> list[dict[str, Any]]:
    """Return the images, newest first."""
    from carboy.engine.images import list_images

    return [
        {"name": f"{row.name}:{row.tag}", "digest": str(row.digest), "size_bytes": row.size_bytes}
        for row in list_images(_open())
    ]


def rows(*, everything: bool) -> list[dict[str, Any]]:
    """Return the rows of the containers."""
    return [describe_row(view) for view in manage.list_containers(_open().home, everything=everything)]


def row(name: str) -> dict[str, Any]:
    """Return the row of one container."""
    return describe_row(_view(_open(), name))


def start(name: str) -> None:
    """Start a container."""
    engine = _open()
    start_container(engine, _view(engine, name).id)


def stop(name: str, *, signal: int, timeout_s: int | None) -> None:
    """Stop a container."""
    manage.stop_container(_view(_open(), name), signal=signal, timeout_s=timeout_s)


def kill(name: str, *, signal: int) -> None:
    """Send a container a signal."""
    manage.kill_container(_view(_open(), name), signal=signal)


def pause(name: str, *, resume: bool) -> None:
    """Pause a container, or let it go on."""
    manage.pause_container(_view(_open(), name), resume=resume)


def wait(name: str) -> int:
    """Wait for a container's end and return its exit status."""
    engine = _open()
    return manage.wait_container(engine.home, _view(engine, name))


def remove(name: str, *, force: bool) -> None:
    """Remove a container."""
    engine = _open()
    manage.delete_container(engine.home, _view(engine, name), force=force)


def rename(name: str, new_name: str) -> None:
    """Rename a container."""
    engine = _open()
    manage.rename_container(engine.home, _view(engine, name), new_name)


def copy_in(name: str, *, source: str, path: str, follow: bool, archive: bool) -> int:
    """Copy a file or folder of the host into a container."""
    from carboy.engine.containers.files import copy

    engine = _open()
    return copy.copy_in(engine, _view(engine, name), source, path, follow=follow, archive=archive)


def copy_out(name: str, *, path: str, destination: str, follow: bool, archive: bool) -> int:
    """Copy a file or folder of a container to the host."""
    from carboy.engine.containers.files import copy

    engine = _open()
    return copy.copy_out(engine, _view(engine, name), path, destination, follow=follow, archive=archive)


def diff(name: str) -> list[tuple[str, str]]:
    """Return (letter, path) of what a container changed."""
    from carboy.engine.containers.files.changes import diff_container

    engine = _open()
    return [(change.kind, os.fsdecode(change.path)) for change in diff_container(engine, _view(engine, name))]


def commit(name: str, *, new_name: str | None, changes: list[str], message: str, author: str, pause: bool) -> str:
    """Make an image of a container and return its digest."""
    from carboy.engine.containers.files.commit import CommitRequest, commit_container

    engine = _open()
    request = CommitRequest(name=new_name, changes=tuple(changes), message=message, author=author, pause=pause)
    return str(commit_container(engine, _view(engine, name), request).digest)


def volumes() -> list[dict[str, Any]]:
    """Return the volumes."""
    from carboy.engine.volumes import describe_volume, list_volumes

    return [describe_volume(volume) for volume in list_volumes(_open().home)]


def volume(name: str) -> dict[str, Any]:
    """Return one volume."""
    from carboy.engine.volumes import describe_volume, inspect_volume

    return describe_volume(inspect_volume(_open().home, name))


def create_volume(name: str | None, *, labels: dict[str, str]) -> dict[str, Any]:
    """Make a volume and return it."""
    from carboy.engine import volumes as use_case

    return use_case.describe_volume(use_case.create_volume(_open().home, name, labels=labels))


def remove_volume(name: str, *, force: bool) -> int:
    """Remove a volume and return the bytes that it had."""
    from carboy.engine import volumes as use_case

    return use_case.remove_volume(_open().home, name, force=force)


def prune_volumes(*, everything: bool) -> list[str]:
    """Remove the volumes that nobody has and return their names."""
    from carboy.engine import volumes as use_case

    return use_case.prune_volumes(_open().home, everything=everything)[0]


METHODS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        run,
        build,
        images,
        pull,
        push,
        rows,
        row,
        start,
        stop,
        kill,
        pause,
        wait,
        remove,
        rename,
        copy_in,
        copy_out,
        diff,
        commit,
        volumes,
        volume,
        create_volume,
        remove_volume,
        prune_volumes,
    )
}

if __name__ == "__main__":
    sys.exit(main())
