"""``commit``: a new image of a container's image and what the container wrote."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from carboy.base.fs import translate_os_errors
from carboy.containers.client import hold
from carboy.containers.events import write_container_event, write_event
from carboy.engine.containers.create import read_config
from carboy.engine.containers.files.root import open_layers
from carboy.engine.containers.request import DEFAULT_PATH
from carboy.engine.images import parse_new_name
from carboy.errors import CarboyError
from carboy.images.assemble import extend
from carboy.images.changes import apply_changes
from carboy.images.times import format_time
from carboy.layers.batch import LayerResult
from carboy.oci.config import History, ImageConfig, parse_config
from carboy.oci.digest import Digest
from carboy.oci.manifest import Manifest, parse_manifest
from carboy.snapshots.changes import write_layer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carboy.containers.record import ContainerConfig
    from carboy.engine.containers.manage import ContainerView
    from carboy.engine.context import Engine
    from carboy.oci.config import RunConfig
    from carboy.oci.descriptor import Descriptor

DEFAULT_STOP_SIGNAL = "SIGTERM"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitRequest:
    """What an image is to be: its ``name`` (None: none), instructions that change its configuration, notes in its history.

    ``pause``: a container that runs is paused meanwhile, so that no file is half written.
    """

    name: str | None = None
    changes: tuple[str, ...] = ()
    message: str = ""
    author: str = ""
    pause: bool = True


def commit_container(engine: Engine, view: ContainerView, request: CommitRequest) -> Descriptor:
    """Make an image of what the container has now, without mounts, and return its manifest's descriptor.

    Raises ``CarboyError``: also when the image that the container was made of is gone.
    """
    reference = parse_new_name(request.name) if request.name is not None else None
    container = read_config(view.folder)
    with engine.store.lease("commit"):
        manifest, base = _read_base(engine, view, container)
        config = apply_changes(plan_commit(base.config, container), request.changes)
        layer = _write_layer(engine, view, pause=request.pause)
        entry = History(
            created=format_time(time.time()),
            created_by=" ".join(container.args),
            author=request.author,
            comment=request.message,
        )
        descriptor = extend(engine.store, (manifest, base), layer, config=config, entry=entry)
        if reference is not None:
            engine.store.refs.set(str(reference), descriptor)
    familiar = "" if reference is None else reference.familiar
    write_container_event(view.folder, "commit", image=familiar or str(descriptor.digest))
    if reference is not None:
        write_event(engine.home.path, "image", "tag", id=str(descriptor.digest), name=familiar)
    return descriptor


def _read_base(engine: Engine, view: ContainerView, container: ContainerConfig) -> tuple[Manifest, ImageConfig]:
    """Return the container's image, all of which counts as just used."""
    blobs = engine.store.blobs
    digest = Digest.parse(container.manifest)
    if blobs.has(digest):
        manifest = parse_manifest(blobs.read(digest))
        if blobs.has(manifest.config.digest) and all(blobs.has(layer.digest) for layer in manifest.layers):
            return manifest, parse_config(blobs.read(manifest.config.digest))
    raise CarboyError(
        f"the image of the container {view.name} was removed, so nothing can be added to it",
        details=f"{container.image} {container.manifest}",
        hint=f"`carboy export {view.name} | carboy import - NAME` makes an image of all of its files",
    )


def _write_layer(engine: Engine, view: ContainerView, *, pause: bool) -> LayerResult | None:
    """Write what the container changed as a layer; None when that is nothing."""
    # In the tier with one id the files' owners say nothing: all is root's.
    owners: dict[bytes, tuple[int, int]] | None = {} if engine.tier.name == "single" else None
    doing = translate_os_errors(f"read what {view.name} wrote")
    with open_layers(engine, view) as (upper, _), engine.store.blobs.writer() as writer:
        with _held(view, wanted=pause), doing:
            count = write_layer(upper, writer, owners=owners, live=view.running)
        return LayerResult(diff_id=writer.commit(), size_bytes=writer.size) if count else None


@contextmanager
def _held(view: ContainerView, *, wanted: bool) -> Iterator[None]:
    """Pause a container for the block. One that is killed, or this process, makes no difference: it goes on then."""
    if not wanted or view.state.status != "running":
        yield
        return
    try:
        connection = hold(view.folder)
    except CarboyError as error:
        error.code = 1
        error.hint = "\n".join([*([error.hint] if error.hint else []), "or read it as it goes on: --no-pause"])
        raise
    try:
        yield
    finally:
        connection.close()


# --- configuration ------------------------------------------------------------------------------------------------


def plan_commit(image: RunConfig, container: ContainerConfig) -> RunConfig:
    """Return the configuration of an image of a container: what the container was given, over its image's. Pure.

    As Docker has it: its command, environment, user, directory and labels are the new image's. What carboy adds to every
    environment is left out; triggers (ONBUILD) have had their effect.
    """
    workdir = image.WorkingDir if container.workdir == (image.WorkingDir or "/") else container.workdir
    signal = container.stop_signal
    return msgspec.structs.replace(
        image,
        User=container.user,
        Env=_find_env(image, container) or None,
        Entrypoint=list(container.entrypoint) or None,
        Cmd=list(container.args[len(container.entrypoint) :]) or None,
        WorkingDir=workdir,
        Labels=dict(container.labels) or None,
        StopSignal=image.StopSignal if signal == (image.StopSignal or DEFAULT_STOP_SIGNAL) else signal,
        Healthcheck=_find_health(image, container),
        OnBuild=None,
    )


def _find_env(image: RunConfig, container: ContainerConfig) -> list[str]:
    given = dict(item.partition("=")[::2] for item in image.Env or ())
    added = {"HOSTNAME": container.hostname, "PATH": DEFAULT_PATH}
    found = []
    for item in container.env:
        name, _, value = item.partition("=")
        if name in given or not (added.get(name) == value or (name == "TERM" and container.tty)):
            found.append(item)
    return found


def _find_health(image: RunConfig, container: ContainerConfig) -> dict[str, Any] | None:
    test = list(container.health_test)
    if not test:
        return {"Test": ["NONE"]} if image.Healthcheck else None
    is_shell = len(test) == 3 and test[:2] == ["/bin/sh", "-c"]
    return {
        **(image.Healthcheck or {}),
        "Test": ["CMD-SHELL", test[2]] if is_shell else ["CMD", *test],
        "Interval": round(container.health_interval_s * 1e9),
        "Timeout": round(container.health_timeout_s * 1e9),
        "StartPeriod": round(container.health_start_s * 1e9),
        "StartInterval": round(container.health_start_interval_s * 1e9),
        "Retries": container.health_retries,
    }
