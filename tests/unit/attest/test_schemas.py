"""The documents are valid by what their specifications' own people check with: CycloneDX's schema, SPDX's validator."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from carboy.attest.cyclonedx import make_bom
from carboy.attest.licence_list import EXCEPTIONS, LICENCES
from carboy.attest.packages import Package, System, parse_apk, parse_conda, parse_python, parse_r
from carboy.attest.spdx import make_sbom
from carboy.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = [pytest.mark.slow, pytest.mark.long]  # the libraries take seconds to load

IMAGE = Digest.of(b"image")
DEBIAN = System(id="debian", version="12")
EXPRESSION = "BSD-3-Clause AND (MIT OR GPL-3.0-or-later WITH GCC-exception-3.1)"
CONDA = {"name": "_libgcc_mutex", "version": "0.1", "build": "conda_forge", "subdir": "linux-64", "license": "None"}
PACKAGES = (
    Package(kind="deb", name="libstdc++6", version="1:12+b1~x", arch="amd64", source="gcc-12", licence_text="GPL-3+, Artistic"),
    Package(kind="deb", name="bare", version="0"),
    *parse_apk("P:musl\nV:1.2\nA:x86_64\nL:GPL-2.0-only WITH Linux-syscall-note AND (MIT OR custom)\n"),
    *parse_apk("P:zlib\nV:1\nA:noarch\nL:Zlib\no:zlib\n"),
    *parse_python("Name: A.b\nVersion: 1!2.0+local\nLicense: my own <words> \u2028 é\n"),
    *parse_python(f"Name: numpy\nVersion: 2.0\nLicense-Expression: {EXPRESSION}\n"),
    *parse_python("Name: numpy\nVersion: 2.0\n"),
    *parse_r("Package: Rcpp\nVersion: 1.0-12\nLicense: GPL (>= 2) | file LICENSE\nBuilt: R 4\n"),
    *parse_r("Package: xgb\nVersion: 1\nLicense: Apache License (== 2.0) | file LICENSE\nBuilt: R 4\n"),
    *parse_conda(json.dumps(CONDA)),
    *parse_conda(json.dumps({**CONDA, "name": "python", "license": "Python-2.0"})),
)  # fmt: skip
ALL_LICENCES = tuple(
    Package(kind="pypi", name=f"p{number}", version="1", licence=name)
    for number, name in enumerate((*sorted(LICENCES), *(f"MIT WITH {name}" for name in sorted(EXCEPTIONS))))
)


def check_cyclonedx(value: dict[str, Any]) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(value)) is None


def check_spdx(value: dict[str, Any]) -> None:
    from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    document = JsonLikeDictParser().parse(json.loads(json.dumps(value)))
    assert [message.validation_message for message in validate_full_spdx_document(document, "SPDX-2.3")] == []


def make(packages: Sequence[Package], system: System, created: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return (
        make_bom(packages, system, image=IMAGE, name="a:1", created=created, version="0.1.0"),
        make_sbom(packages, system, image=IMAGE, name="a:1", created=created, tool="carboy-0.1.0"),
    )


@pytest.mark.parametrize(
    ("packages", "system", "created"),
    [
        (PACKAGES, DEBIAN, "2024-02-03T04:05:06.123456789+02:00"),
        ((), System(), ""),
        (ALL_LICENCES, DEBIAN, "2026-01-01T00:00:00Z"),
    ],
)
def test_documents_are_valid(packages: Sequence[Package], system: System, created: str) -> None:
    bom, sbom = make(packages, system, created)
    check_cyclonedx(bom)
    check_spdx(sbom)
    assert len(bom["components"]) >= len(packages)
    assert len(sbom["packages"]) == len(packages) + 1


def test_what_is_not_valid_is_found() -> None:
    bom, sbom = make(PACKAGES, DEBIAN, "")
    bom["components"][1]["licenses"] = [{"expression": 1}]
    sbom["packages"][1]["licenseDeclared"] = "custom"
    for check, value in ((check_cyclonedx, bom), (check_spdx, sbom)):
        with pytest.raises(AssertionError):
            check(value)
