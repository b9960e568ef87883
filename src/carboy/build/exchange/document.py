"""The document of an exported cache: keys of steps to layers. Pure.

It is an OCI image manifest, so that every tool can copy it, whose configuration is of a type of our own::

    {"version": 1, "records": [{"key": "layer:<64 hexadecimal digits>", "digest": "sha256:...", "size": 1024}, ...]}

and whose layers are those that the records name, each once: in folders plain tars, so that a layer's digest is its diff id as
well; in registries compressed, each with its diff id as an annotation (:data:`DIFF_ID`).

A key says all that the step depends on (``build.graph.keys``), and nothing of it can be read from it. Who wrote a document is
trusted to say which layer a step makes, as the store itself is; and only to say that: the layer is what its digest says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from carboy.oci import mediatypes
from carboy.oci.descriptor import Descriptor
from carboy.oci.digest import Digest
from carboy.oci.document import parse_json
from carboy.oci.errors import InvalidDocumentError
from carboy.oci.manifest import Manifest, make_manifest

CONFIG_TYPE = "application/vnd.carboy.buildcache.config.v1+json"
DIFF_ID = "io.carboy.diff-id"
VERSION = 1
MAX_RECORDS = 20_000
_KEY = re.compile(r"layer:[0-9a-f]{64}")


class CacheRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The layer that a step of this key made: its digest, which is its diff id, and its size in bytes."""

    key: str
    digest: Digest
    size_bytes: int


def make_cache(
    records: Iterable[CacheRecord], *, packed: Mapping[Digest, Descriptor] | None = None
) -> tuple[bytes, Manifest]:
    """Return the configuration's bytes and the manifest; the same records, the same bytes.

    ``packed`` are the layers as they are sent, by diff id.
    """
    ordered = sorted(set(records), key=lambda record: record.key)
    value = {
        "version": VERSION,
        "records": [{"key": one.key, "digest": str(one.digest), "size": one.size_bytes} for one in ordered],
    }
    config = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    layers = {str(record.digest): _describe(record, packed) for record in ordered}
    manifest = make_manifest(
        config=Descriptor(media_type=CONFIG_TYPE, digest=Digest.of(config), size=len(config)),
        layers=tuple(layer for _, layer in sorted(layers.items())),
    )
    return config, manifest


def _describe(record: CacheRecord, packed: Mapping[Digest, Descriptor] | None) -> Descriptor:
    if packed is None:
        return Descriptor(media_type=mediatypes.LAYER_TAR, digest=record.digest, size=record.size_bytes)
    layer = packed[record.digest]
    return msgspec.structs.replace(layer, annotations={**layer.annotations, DIFF_ID: str(record.digest)})


def parse_cache(data: bytes) -> dict[str, CacheRecord]:
    """Return the records of a configuration, by key. Raises ``InvalidDocumentError``."""
    value = parse_json(data, "build cache")
    if value.get("version") != VERSION:
        raise InvalidDocumentError(f"the build cache has version {value.get('version')!r}, not {VERSION}")
    records = value.get("records")
    if not isinstance(records, list) or len(records) > MAX_RECORDS:
        raise InvalidDocumentError(f"the build cache has no list of at most {MAX_RECORDS} records")
    found: dict[str, CacheRecord] = {}
    for item in records:
        record = _read_record(item)
        if found.setdefault(record.key, record) != record:
            raise InvalidDocumentError("the build cache has two layers for one step", details=record.key)
    return found


def _read_record(item: Any) -> CacheRecord:
    if not isinstance(item, dict):
        raise InvalidDocumentError("a record of the build cache is no object")
    key, size, digest = item.get("key"), item.get("size"), item.get("digest")
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise InvalidDocumentError("a record of the build cache has no key of a step")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 2**53 or not isinstance(digest, str):
        raise InvalidDocumentError("a record of the build cache has no layer", details=key)
    return CacheRecord(key=key, digest=Digest.parse(digest), size_bytes=size)
