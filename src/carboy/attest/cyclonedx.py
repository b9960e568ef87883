"""The SBOM as CycloneDX 1.6. Pure; the same image, the same document. Source: CycloneDX 1.6, bom-1.6.schema.json."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from carboy.attest.packages import make_purl
from carboy.images.times import format_time, parse_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.attest.packages import Package, System
    from carboy.oci.digest import Digest

_IMAGE = "image"
_SYSTEM = "operating-system"


def make_bom(
    packages: Sequence[Package], system: System, *, image: Digest, name: str, created: str, version: str
) -> dict[str, Any]:
    """Return the document of the image with this manifest; ``created`` is its own RFC 3339 time, ``version`` carboy's.

    The serial number, which the format asks for as a UUID, is made of the image's digest.
    """
    components = [_describe_system(system)] if system.id else []
    references: dict[str, int] = {}
    for package in packages:
        purl = make_purl(package, system)
        references[purl] = count = references.get(purl, 0) + 1
        components.append(_describe(package, purl, purl if count == 1 else f"{purl}#{count}"))
    metadata: dict[str, Any] = {
        "timestamp": format_time(parse_time(created)),
        "tools": {"components": [{"type": "application", "name": "carboy", "version": version}]},
        "component": {
            "type": "container",
            "bom-ref": _IMAGE,
            "name": name,
            "version": str(image),
            "hashes": [{"alg": "SHA-256", "content": image.hex}],
        },
    }
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'urn:carboy:sbom:{image}')}",
        "version": 1,
        "metadata": metadata,
        "components": components,
        "dependencies": [{"ref": _IMAGE, "dependsOn": [str(one["bom-ref"]) for one in components]}],
    }


def _describe_system(system: System) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "operating-system", "bom-ref": _SYSTEM, "name": system.id}
    if system.version:
        found["version"] = system.version
    return found


def _describe(package: Package, purl: str, reference: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": reference,
        "name": package.name,
        "version": package.version,
        "purl": purl,
    }
    if package.licence:
        found["licenses"] = [{"expression": package.licence}]
    elif package.licence_text:
        found["licenses"] = [{"license": {"name": package.licence_text}}]
    if package.source:
        found["properties"] = [{"name": "carboy:source-package", "value": package.source}]
    return found
