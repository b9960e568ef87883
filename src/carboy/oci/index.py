"""Image indexes. Source: OCI image-spec, image-index.md and image-layout.md."""

from __future__ import annotations

import msgspec

from carboy.oci import mediatypes
from carboy.oci.descriptor import Descriptor, DescriptorDocument, read_descriptor
from carboy.oci.document import convert, encode, parse_json
from carboy.oci.errors import InvalidDocumentError


class _Document(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    schemaVersion: int  # noqa: N815
    manifests: list[DescriptorDocument]
    mediaType: str = ""  # noqa: N815
    annotations: dict[str, str] = {}


class Index(msgspec.Struct, frozen=True, kw_only=True):
    """Manifests for several platforms, or the images of a layout; ``raw`` is the document."""

    manifests: tuple[Descriptor, ...]
    annotations: dict[str, str]
    raw: bytes


def is_index(data: bytes) -> bool:
    """Return whether a document is an index and no manifest. A cheap look: whoever parses it then is strict."""
    return b'"manifests"' in data and b'"layers"' not in data


def parse_index(data: bytes) -> Index:
    """Return the index in ``data``. Raises ``InvalidDocumentError``."""
    value = parse_json(data, "index")
    if "layers" in value or "config" in value:
        raise InvalidDocumentError("the index is also a manifest")
    document = convert(value, _Document, "index")
    if document.schemaVersion != 2:
        raise InvalidDocumentError(f"the index has schema version {document.schemaVersion}, not 2")
    if document.mediaType and document.mediaType not in mediatypes.INDEXES:
        raise InvalidDocumentError(f"the index calls itself {document.mediaType}")
    manifests = tuple(read_descriptor(entry) for entry in document.manifests)
    return Index(manifests=manifests, annotations=document.annotations, raw=data)


def make_index(manifests: tuple[Descriptor, ...]) -> Index:
    """Return a new OCI index with its bytes."""
    document = _Document(
        schemaVersion=2, mediaType=mediatypes.INDEX, manifests=[entry.document() for entry in manifests]
    )
    return Index(manifests=manifests, annotations={}, raw=encode(document))
