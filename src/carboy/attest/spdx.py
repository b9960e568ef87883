"""The SBOM: an SPDX 2.3 document of an image's packages. Pure; the same image, the same document. Source: SPDX 2.3."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from carboy.attest.packages import make_purl
from carboy.images.times import format_time, parse_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.attest.packages import Package, System
    from carboy.oci.digest import Digest

PREDICATE = "https://spdx.dev/Document"
_NO = "NOASSERTION"


def make_sbom(
    packages: Sequence[Package], system: System, *, image: Digest, name: str, created: str, tool: str
) -> dict[str, Any]:
    """Return the document of the image with this manifest; ``created`` is the image's own RFC 3339 time."""
    described = [_describe(package, system, number) for number, package in enumerate(packages, 1)]
    root = {
        "SPDXID": "SPDXRef-Image",
        "name": name,
        "versionInfo": str(image),
        "downloadLocation": _NO,
        "filesAnalyzed": False,
        "licenseConcluded": _NO,
        "licenseDeclared": _NO,
        "copyrightText": _NO,
        "primaryPackagePurpose": "CONTAINER",
        "checksums": [{"algorithm": "SHA256", "checksumValue": image.hex}],
    }
    relations = [("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Image")]
    relations += [("SPDXRef-Image", "CONTAINS", str(one["SPDXID"])) for one in described]
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"urn:carboy:sbom:{image}",
        "creationInfo": {"created": format_time(parse_time(created)), "creators": [f"Tool: {tool}"]},
        "packages": [root, *described],
        "relationships": [
            {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}
            for one, kind, other in relations
        ],
    }


def _describe(package: Package, system: System, number: int) -> dict[str, Any]:
    shown = re.sub(r"[^A-Za-z0-9.-]", "-", f"{package.kind}-{package.name}")
    found: dict[str, Any] = {
        "SPDXID": f"SPDXRef-Package-{shown}-{number}",
        "name": package.name,
        "versionInfo": package.version,
        "downloadLocation": _NO,
        "filesAnalyzed": False,
        "licenseConcluded": _NO,
        "licenseDeclared": package.licence or _NO,
        "copyrightText": _NO,
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": make_purl(package, system),
            }
        ],
    }
    if package.licence_text:
        found["licenseComments"] = f"it says of itself: {package.licence_text}"
    if package.source:
        found["sourceInfo"] = f"built from: {package.source}"
    return found
