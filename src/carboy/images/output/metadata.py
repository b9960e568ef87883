"""What ``--metadata-file`` tells programs of a build. Pure. Source: docker/buildx, docs/reference/buildx_build.md."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.oci.descriptor import Descriptor
    from carboy.oci.reference import Reference


def make_metadata(
    descriptor: Descriptor | None,
    *,
    config: Descriptor | None = None,
    created: str = "",
    names: Sequence[Reference] = (),
) -> bytes:
    """Return the JSON document of an image, or of a build that gave none: buildx's keys, sorted."""
    found: dict[str, Any] = {}
    if descriptor is not None:
        annotations = {"org.opencontainers.image.created": created} if created else {}
        if config is not None:
            annotations["config.digest"] = str(config.digest)
            found["containerimage.config.digest"] = str(config.digest)
        told = msgspec.structs.replace(descriptor, annotations={**descriptor.annotations, **annotations})
        found["containerimage.descriptor"] = msgspec.to_builtins(told.document())
        found["containerimage.digest"] = str(descriptor.digest)
        if names:
            found["image.name"] = ",".join(str(name) for name in names)
    return json.dumps(found, indent=2, sort_keys=True).encode() + b"\n"
