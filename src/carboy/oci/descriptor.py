"""Descriptors: what, how large, which bytes. Source: OCI image-spec, descriptor.md."""

from __future__ import annotations

from typing import Any

import msgspec

from carboy.oci.digest import Digest
from carboy.oci.document import convert
from carboy.oci.errors import InvalidDocumentError
from carboy.oci.platform import Platform


class DescriptorDocument(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    rename={"media_type": "mediaType", "artifact_type": "artifactType"},
):
    """A descriptor as it stands in JSON."""

    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] = {}
    platform: dict[str, Any] | None = None
    urls: list[str] = []
    artifact_type: str = ""
    data: str = ""


class Descriptor(msgspec.Struct, frozen=True, kw_only=True):
    """A reference to content: its media type, digest, and size in bytes; ``artifact_type`` of what is no image, "" of one."""

    media_type: str
    digest: Digest
    size: int
    annotations: dict[str, str] = {}
    platform: Platform | None = None
    artifact_type: str = ""

    def document(self) -> DescriptorDocument:
        """Return the JSON form."""
        platform = None
        if self.platform is not None:
            platform = {"os": self.platform.os, "architecture": self.platform.architecture}
            if self.platform.variant:
                platform["variant"] = self.platform.variant
        return DescriptorDocument(
            media_type=self.media_type,
            digest=str(self.digest),
            size=self.size,
            annotations=self.annotations,
            platform=platform,
            artifact_type=self.artifact_type,
        )


def parse_descriptor(value: dict[str, Any]) -> Descriptor:
    """Return the descriptor that a JSON object holds. Raises ``InvalidDocumentError``."""
    return read_descriptor(convert(value, DescriptorDocument, "descriptor"))


def read_descriptor(document: DescriptorDocument) -> Descriptor:
    """Return the checked descriptor of its JSON form. Raises ``InvalidDocumentError`` or ``InvalidDigestError``."""
    if document.size < 0:
        raise InvalidDocumentError("a descriptor has a negative size")
    platform = document.platform
    if platform is not None and not (
        isinstance(platform.get("os"), str) and isinstance(platform.get("architecture"), str)
    ):
        raise InvalidDocumentError("a platform names no operating system or no processor")
    return Descriptor(
        media_type=document.media_type,
        digest=Digest.parse(document.digest),
        size=document.size,
        annotations=document.annotations,
        platform=None
        if platform is None
        else Platform(os=platform["os"], architecture=platform["architecture"], variant=platform.get("variant")),
        artifact_type=document.artifact_type,
    )
