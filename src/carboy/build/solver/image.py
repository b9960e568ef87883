"""A state and what is said of it to an image in the store; the same input, the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from carboy.build.graph.ops import Copy, Image, MakeFolder, Run, list_chain
from carboy.images.times import format_time
from carboy.oci import mediatypes
from carboy.oci.config import History, make_config
from carboy.oci.descriptor import Descriptor
from carboy.oci.digest import Digest
from carboy.oci.manifest import make_manifest

if TYPE_CHECKING:
    from carboy.build.solver.state import StateResult
    from carboy.store.store import Store


def write_image(store: Store, image: Image, state: StateResult) -> tuple[Descriptor, bool]:
    """Return the manifest's descriptor, durable, and whether it was there before."""
    created = format_time(state.epoch_s)
    config = image.config
    if state.archive:
        config = msgspec.structs.replace(config, Labels={"io.carboy.archive": state.archive, **(config.Labels or {})})
    document = make_config(
        platform=image.platform,
        diff_ids=state.chain,
        config=config,
        created=created,
        history=(*state.history, *plan_history(image, created)),
        author=image.author,
    )
    manifest = make_manifest(
        config=Descriptor(media_type=mediatypes.CONFIG, digest=Digest.of(document.raw), size=len(document.raw)),
        layers=tuple(layer.descriptor for layer in state.layers),
    )
    digest = Digest.of(manifest.raw)
    known = store.blobs.has(Digest.of(document.raw)) and store.blobs.has(digest)
    if not known:
        store.blobs.put(document.raw)
        store.blobs.put(manifest.raw)
    return Descriptor(media_type=mediatypes.MANIFEST, digest=digest, size=len(manifest.raw)), known


def plan_history(image: Image, created: str) -> list[History]:
    """Return the lines that come after the base's. A layer that nobody wrote a line for gets one, so that all have one. Pure."""
    lines: list[History] = []
    untold = [op for op in list_chain(image.state) if isinstance(op, Run | Copy | MakeFolder)]
    for line in image.history:
        if line.state is not None:
            while untold and untold[0] is not line.state:
                lines.append(History(created=created, created_by=untold.pop(0).title, comment=line.comment))
            untold = untold[1:]
        lines.append(
            History(
                created=created,
                created_by=line.created_by,
                author=line.author,
                comment=line.comment,
                empty_layer=line.state is None,
            )
        )
    return [*lines, *(History(created=created, created_by=op.title) for op in untold)]
