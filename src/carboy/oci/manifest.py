"""Image manifests. Source: OCI image-spec, manifest.md; Docker's schema 2 is read as well."""

from __future__ import annotations

import msgspec

from carboy.oci import mediatypes
from carboy.oci.descriptor import Descriptor, DescriptorDocument, read_descriptor
from carboy.oci.document import convert, encode, parse_json
from carboy.oci.errors import InvalidDocumentError

MAX_LAYERS = 500


class _Document(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    schemaVersion: int  # noqa: N815
    config: DescriptorDocument
    layers: list[DescriptorDocument]
    mediaType: str = ""  # noqa: N815
    annotations: dict[str, str] = {}


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration and its layers, lowest first; ``raw`` is the document as it was received or written."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: dict[str, str]
    raw: bytes


def parse_manifest(data: bytes, *, media_type: str | None = None) -> Manifest:
    """Return the manifest in ``data``; ``media_type`` is what its descriptor called it.

    Raises ``InvalidDocumentError``, also for a document that could pass as something else (CVE-2021-41190).
    """
    value = parse_json(data, "manifest")
    if "manifests" in value or "fsLayers" in value:
        raise InvalidDocumentError("the manifest is also an index, or of an old schema")
    document = convert(value, _Document, "manifest")
    if document.schemaVersion != 2:
        raise InvalidDocumentError(f"the manifest has schema version {document.schemaVersion}, not 2")
    if document.mediaType and document.mediaType not in mediatypes.MANIFESTS:
        raise InvalidDocumentError(f"the manifest calls itself {document.mediaType}")
    if media_type and document.mediaType and media_type != document.mediaType:
        raise InvalidDocumentError(f"the manifest was announced as {media_type} and calls itself {document.mediaType}")
    if len(document.layers) > MAX_LAYERS:
        raise InvalidDocumentError(f"the manifest has more than {MAX_LAYERS} layers")
    return Manifest(
        config=read_descriptor(document.config),
        layers=tuple(read_descriptor(layer) for layer in document.layers),
        annotations=document.annotations,
        raw=data,
    )


def make_manifest(
    *, config: Descriptor, layers: tuple[Descriptor, ...], annotations: dict[str, str] | None = None
) -> Manifest:
    """Return a new OCI manifest with its bytes."""
    document = _Document(
        schemaVersion=2,
        mediaType=mediatypes.MANIFEST,
        config=config.document(),
        layers=[layer.document() for layer in layers],
        annotations=annotations or {},
    )
    return Manifest(config=config, layers=layers, annotations=annotations or {}, raw=encode(document))
