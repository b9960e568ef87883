"""The documents: what their specifications ask for, and nothing of the machine."""

from __future__ import annotations

import base64
import json

import pytest

from carboy.attest.cyclonedx import make_bom
from carboy.attest.packages import Package, System
from carboy.attest.request import AttestRequest, parse_attests
from carboy.attest.slsa import BuildFacts, make_provenance
from carboy.attest.spdx import PREDICATE, make_sbom
from carboy.attest.statement import make_documents, make_statement
from carboy.errors import CarboyError
from carboy.oci.config import parse_config
from carboy.oci.digest import Digest
from carboy.oci.manifest import parse_manifest
from carboy.oci.reference import Reference

IMAGE = Digest.of(b"image")
FACTS = BuildFacts(
    frontend="dockerfile",
    platform="linux/amd64",
    started="2026-01-01T00:00:00Z",
    finished="2026-01-01T00:00:01Z",
    source="https://user:hush-in-an-address@git.example/a.git#main",
    file="Dockerfile",
    text=b"FROM a\nADD https://user:hush-in-a-file@files.example/x /\n",
    target="last",
    build_args={"A": "1", "HTTP_PROXY": "http://proxy-canary", "no_proxy": "proxy-canary"},
    labels={"l": "2"},
    contexts=("lib",),
    secrets=("word",),
    ssh=("default",),
    bases={"docker.io/library/a:1": str(Digest.of(b"a")), "docker.io/library/made:1": None},
    steps=("[1/2] FROM a", "[2/2] ADD https://user:hush-in-a-step@files.example/x /"),
)


def test_cyclonedx() -> None:
    packages = [
        Package(kind="deb", name="jq", version="1.6", arch="amd64", source="jq-src", licence_text="MIT and others"),
        Package(kind="pypi", name="numpy", version="2.0", licence="BSD-3-Clause"),
        Package(kind="pypi", name="numpy", version="2.0"),
    ]
    system = System(id="debian", version="12")
    value = make_bom(packages, system, image=IMAGE, name="a:1", created="2026-01-01T00:00:00Z", version="1")
    assert (value["bomFormat"], value["specVersion"], value["version"]) == ("CycloneDX", "1.6", 1)
    assert value["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": IMAGE.hex}]
    os_, jq, numpy, again = value["components"]
    assert (os_["type"], os_["name"], os_["version"]) == ("operating-system", "debian", "12")
    assert jq["licenses"] == [{"license": {"name": "MIT and others"}}]
    assert jq["properties"] == [{"name": "carboy:source-package", "value": "jq-src"}]
    assert numpy["licenses"] == [{"expression": "BSD-3-Clause"}]
    assert again["bom-ref"] == f"{numpy['bom-ref']}#2"
    references = [one["bom-ref"] for one in value["components"]]
    assert value["dependencies"] == [{"ref": "image", "dependsOn": references}]
    assert value == make_bom(packages, system, image=IMAGE, name="a:1", created="2026-01-01T00:00:00Z", version="1")
    empty = make_bom([], System(), image=IMAGE, name="a:1", created="", version="1")
    assert empty["components"] == []


def test_sbom() -> None:
    packages = [
        Package(kind="pypi", name="numpy", version="2.0", licence="BSD-3-Clause"),
        Package(kind="deb", name="libstdc++6", version="12", arch="amd64", source="gcc-12"),
    ]
    system = System(id="debian", version="12")
    value = make_sbom(packages, system, image=IMAGE, name="a:1", created="2026-01-01T00:00:00Z", tool="carboy-1")
    assert value["spdxVersion"] == "SPDX-2.3"
    assert value["creationInfo"] == {"created": "2026-01-01T00:00:00Z", "creators": ["Tool: carboy-1"]}
    root, numpy, stdc = value["packages"]
    assert root["checksums"] == [{"algorithm": "SHA256", "checksumValue": IMAGE.hex}]
    assert numpy["licenseDeclared"] == "BSD-3-Clause"
    assert stdc["externalRefs"][0]["referenceLocator"].startswith("pkg:deb/debian/libstdc%2B%2B6@12")
    ids = [package["SPDXID"] for package in value["packages"]]
    assert len(set(ids)) == len(ids)
    assert all(
        set(one) <= set("SPDXRef-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") for one in ids
    )
    assert {r["relatedSpdxElement"] for r in value["relationships"]} == set(ids)


def test_provenance() -> None:
    least = make_provenance(FACTS, mode="min", platform="linux/amd64", version="1")
    most = make_provenance(FACTS, mode="max", platform="linux/amd64", version="1")
    for value in (least, most):
        text = json.dumps(value)
        for info in value["runDetails"]["metadata"].get("buildkit_metadata", {}).get("source", {}).get("infos", []):
            text += base64.b64decode(info["data"]).decode()
        assert "hush" not in text
        assert "proxy-canary" not in text
        assert value["buildDefinition"]["externalParameters"]["configSource"]["uri"] == (
            "https://***@git.example/a.git#main"
        )
        assert value["buildDefinition"]["resolvedDependencies"] == [
            {"uri": "pkg:docker/a@1?platform=linux%2Famd64", "digest": {"sha256": Digest.of(b"a").hex}},
            {"uri": "pkg:docker/made@1?platform=linux%2Famd64"},
        ]
        assert value["runDetails"]["metadata"]["startedOn"] == "2026-01-01T00:00:00Z"
    request = most["buildDefinition"]["externalParameters"]["request"]
    assert request["args"] == {"target": "last", "build-arg:A": "1", "label:l": "2", "context:lib": ""}
    assert request["secrets"] == [{"id": "word"}]
    assert "args" not in least["buildDefinition"]["externalParameters"]["request"]
    assert "steps" not in least["buildDefinition"]["internalParameters"]


def test_statements_and_their_manifest() -> None:
    names = (Reference.parse("a:1"), Reference.parse("quay.example/team/b:2"))
    statement = make_statement(PREDICATE, {"x": 1}, image=IMAGE, names=names, platform="linux/amd64")
    value = json.loads(statement)
    assert value["_type"] == "https://in-toto.io/Statement/v0.1"
    assert value["predicate"] == {"x": 1}
    assert [subject["name"] for subject in value["subject"]] == [
        "pkg:docker/a@1?platform=linux%2Famd64",
        "pkg:docker/quay.example/team/b@2?platform=linux%2Famd64",
    ]
    assert {subject["digest"]["sha256"] for subject in value["subject"]} == {IMAGE.hex}
    documents = make_documents([(PREDICATE, statement)])
    manifest = parse_manifest(documents.manifest)
    (layer,) = manifest.layers
    assert layer.digest == Digest.of(statement)
    assert layer.annotations == {"in-toto.io/predicate-type": PREDICATE}
    assert manifest.config.digest == Digest.of(documents.config)
    config = parse_config(documents.config)
    assert (config.platform.os, config.platform.architecture) == ("unknown", "unknown")
    assert config.diff_ids == (layer.digest,)


@pytest.mark.parametrize(
    ("items", "short", "expected"),
    [
        ([], {}, AttestRequest()),
        ([], {"sbom": "true"}, AttestRequest(sbom=True)),
        ([], {"provenance": "true"}, AttestRequest(provenance="min")),
        ([], {"provenance": "max"}, AttestRequest(provenance="max")),
        ([], {"provenance": "mode=max", "sbom": "false"}, AttestRequest(provenance="max")),
        (["type=sbom", "type=provenance,mode=max"], {}, AttestRequest(sbom=True, provenance="max")),
        (["type=provenance"], {"provenance": "false"}, AttestRequest()),
        (["type=sbom,disabled=true"], {}, AttestRequest()),
    ],
)
def test_what_is_asked_for(items: list[str], short: dict[str, str], expected: AttestRequest) -> None:
    assert parse_attests(items, **short) == expected


@pytest.mark.parametrize(
    "item", ["", "sbom", "type=x", "type=provenance,mode=full", "type=sbom,generator=a/b", "type=sbom,x=1"]
)
def test_what_cannot_be_asked_for(item: str) -> None:
    with pytest.raises(CarboyError, match="cannot be read") as caught:
        parse_attests([item])
    assert caught.value.details
