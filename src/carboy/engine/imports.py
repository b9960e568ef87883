"""``import``: an archive of all files becomes an image of one layer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.base.fs import translate_os_errors
from carboy.containers.events import write_event
from carboy.errors import CarboyError
from carboy.images.assemble import BuiltLayer, assemble
from carboy.images.changes import apply_changes
from carboy.layers.apply import commit_tree
from carboy.layers.compression import open_archive
from carboy.layers.errors import LayerError
from carboy.layers.extract import extract
from carboy.oci.config import RunConfig
from carboy.oci.reference import Reference

if TYPE_CHECKING:
    from carboy.engine.context import Engine
    from carboy.layers.tarread import Readable
    from carboy.oci.descriptor import Descriptor


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest:
    """What an image is to be: its ``name`` (None: none), instructions that make its configuration, a note in its history."""

    name: str | None = None
    changes: tuple[str, ...] = ()
    message: str = ""


def import_image(engine: Engine, stream: Readable, request: ImportRequest) -> Descriptor:
    """Make an image of a tar, as it is or compressed by gzip, bzip2, xz or zstd, and return its manifest's descriptor.

    Raises ``CarboyError``: also for what is no archive, or a hostile one.
    """
    reference = Reference.parse(request.name) if request.name is not None else None
    if reference is not None and reference.digest is not None:
        raise CarboyError("a new name cannot hold a digest", hint="write NAME[:TAG]", code=2)
    config = apply_changes(RunConfig(), request.changes)
    keeps_owners = engine.tier.name != "single"
    store = engine.store
    now_s = int(time.time())
    with store.lease("import"), store.layers.ingest_dir() as ingest, translate_os_errors("unpack the archive"):
        try:
            report = extract(open_archive(stream), f"{ingest}/tree", chown=keeps_owners)
        except LayerError as error:
            details = "\n".join(text for text in (error.brief, error.details) if text)
            hint = "a tar is expected, as it is, or compressed by gzip, bzip2, xz or zstd"
            raise CarboyError("what was given is no archive of files", details=details, hint=hint) from error
        if not report.entries:
            raise CarboyError("the archive is empty", hint="`carboy export` makes one of a container")
        layer = commit_tree(store, ingest, mtime_cap=now_s, owners=None if keeps_owners else report.owners)
        descriptor = assemble(
            store,
            [BuiltLayer(layer=layer, created_by="carboy: import")],
            config=config,
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_s)),
            comment=request.message,
        )
        if reference is not None:
            store.refs.set(str(reference), descriptor)
    familiar = "" if reference is None else reference.familiar
    write_event(engine.home.path, "image", "import", id=str(descriptor.digest), name=familiar)
    return descriptor
