"""Artifacts that refer to an image: manifests with a subject. Source: OCI image-spec 1.1, manifest.md."""

from __future__ import annotations

import msgspec

from carboy.oci import mediatypes
from carboy.oci.descriptor import Descriptor, DescriptorDocument, parse_descriptor
from carboy.oci.digest import Digest
from carboy.oci.document import encode, parse_json
from carboy.oci.errors import InvalidDocumentError
from carboy.oci.manifest import parse_manifest

EMPTY = b"{}"
"""What stands for a configuration where there is none."""


class _Document(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    schemaVersion: int  # noqa: N815
    mediaType: str  # noqa: N815
    artifactType: str  # noqa: N815
    config: DescriptorDocument
    layers: list[DescriptorDocument]
    subject: DescriptorDocument
    annotations: dict[str, str] = {}


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of the image ``subject``; ``raw`` is the document."""

    artifact_type: str
    subject: Descriptor
    config: Descriptor
    layers: tuple[Descriptor, ...]
    raw: bytes

    @property
    def descriptor(self) -> Descriptor:
        """The artifact as a list of referrers names it."""
        return Descriptor(
            media_type=mediatypes.MANIFEST,
            digest=Digest.of(self.raw),
            size=len(self.raw),
            artifact_type=self.artifact_type,
        )

    @property
    def contents(self) -> tuple[Descriptor, ...]:
        """What it stands on: its configuration and its layers."""
        return (self.config, *self.layers)


def parse_artifact(data: bytes) -> Artifact:
    """Return the artifact in ``data``. Raises ``InvalidDocumentError``, also for a manifest that refers to nothing."""
    manifest = parse_manifest(data, media_type=mediatypes.MANIFEST)
    value = parse_json(data, "manifest")
    subject, kind = value.get("subject"), value.get("artifactType", "")
    if not isinstance(subject, dict) or not isinstance(kind, str):
        raise InvalidDocumentError("the manifest refers to no image")
    return Artifact(
        artifact_type=kind, subject=parse_descriptor(subject), config=manifest.config, layers=manifest.layers, raw=data
    )


def make_artifact(
    artifact_type: str, layer: Descriptor, *, subject: Descriptor, annotations: dict[str, str]
) -> Artifact:
    """Return a new artifact of one layer with its bytes: the same of the same."""
    config = Descriptor(media_type=mediatypes.EMPTY, digest=Digest.of(EMPTY), size=len(EMPTY))
    about = Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size)
    document = _Document(
        schemaVersion=2,
        mediaType=mediatypes.MANIFEST,
        artifactType=artifact_type,
        config=config.document(),
        layers=[layer.document()],
        subject=about.document(),
        annotations=annotations,
    )
    return Artifact(artifact_type=artifact_type, subject=about, config=config, layers=(layer,), raw=encode(document))
