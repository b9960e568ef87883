"""Predicates to in-toto statements, and these to an attestation manifest beside an image's. Pure.

Sources: in-toto attestation, spec/v0.1 and spec/v1; BuildKit, docs/attestations/attestation-storage.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carboy.attest.slsa import image_purl
from carboy.base.canonical import encode_json
from carboy.oci import mediatypes
from carboy.oci.config import RunConfig, make_config
from carboy.oci.descriptor import Descriptor
from carboy.oci.digest import Digest
from carboy.oci.document import parse_json
from carboy.oci.errors import InvalidDocumentError
from carboy.oci.manifest import make_manifest
from carboy.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.oci.reference import Reference

STATEMENT = "https://in-toto.io/Statement/v0.1"  # as BuildKit writes it
STATEMENT_1 = "https://in-toto.io/Statement/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationDocuments:
    """The blobs of an attestation: statements with their predicates' types, the empty configuration, and the manifest."""

    statements: tuple[tuple[str, bytes], ...]
    config: bytes
    manifest: bytes


def make_statement(
    predicate_type: str,
    predicate: dict[str, Any],
    *,
    image: Digest,
    names: Sequence[Reference],
    platform: str,
    kind: str = STATEMENT,
) -> bytes:
    """Return the statement that says ``predicate`` of an image; its names are subjects, or "_" where it has none."""
    subjects = [image_purl(name, platform) for name in names] or ["_"]
    value = {
        "_type": kind,
        "predicateType": predicate_type,
        "subject": [{"name": name, "digest": {image.algorithm: image.hex}} for name in subjects],
        "predicate": predicate,
    }
    return encode_json(value)


def retarget_statement(data: bytes, *, image: Digest) -> bytes:
    """Return a statement that says the same of another form of the image, as one whose layers are compressed otherwise.

    Raises ``InvalidDocumentError`` for what is no statement.
    """
    value = parse_json(data, "statement")
    subjects = value.get("subject")
    if not isinstance(subjects, list) or not all(isinstance(one, dict) for one in subjects):
        raise InvalidDocumentError("the statement has no subjects")
    value["subject"] = [{**one, "digest": {image.algorithm: image.hex}} for one in subjects]
    return encode_json(value)


def make_documents(statements: Sequence[tuple[str, bytes]]) -> AttestationDocuments:
    """Return the blobs that hold statements; the manifest's layers are the statements."""
    digests = tuple(Digest.of(data) for _, data in statements)
    config = make_config(
        platform=Platform(os="unknown", architecture="unknown"),
        diff_ids=digests,
        config=RunConfig(),
        created="",
        history=(),
    )
    layers = tuple(
        Descriptor(
            media_type=mediatypes.IN_TOTO, digest=digest, size=len(data), annotations={mediatypes.PREDICATE_TYPE: kind}
        )
        for digest, (kind, data) in zip(digests, statements, strict=True)
    )
    about = Descriptor(media_type=mediatypes.CONFIG, digest=Digest.of(config.raw), size=len(config.raw))
    manifest = make_manifest(config=about, layers=layers)
    return AttestationDocuments(statements=tuple(statements), config=config.raw, manifest=manifest.raw)
