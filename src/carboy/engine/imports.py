"""``import``: an archive of all files becomes an image of one layer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.base.fs import translate_os_errors
from carboy.containers.events import write_event
from carboy.engine.images import parse_new_name
from carboy.errors import CarboyError
from carboy.images.assemble import BuiltLayer, assemble
from carboy.images.changes import apply_changes
from carboy.images.times import format_time
from carboy.layers.apply import commit_tree
from carboy.layers.compression import open_archive
from carboy.layers.errors import LayerError
from carboy.layers.extract import extract
from carboy.oci.config import RunConfig

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
    reference = parse_new_name(request.name) if request.name is not None else None
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
        layer = commit_tree(store, ingest, mtime_cap=now_s, owners=report.owners)
        descriptor = assemble(
            store,
            [BuiltLayer(layer=layer, created_by="carboy: import")],
            config=config,
            created=format_time(now_s),
            comment=request.message,
        )
        if reference is not None:
            store.refs.set(str(reference), descriptor)
    familiar = "" if reference is None else reference.familiar
    write_event(engine.home.path, "image", "import", id=str(descriptor.digest), name=familiar)
    return descriptor
