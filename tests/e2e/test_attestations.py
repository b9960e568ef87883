"""``--sbom`` and ``--provenance``: what is said of an image, where it goes, and what it never says."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from peer_tools import open_podman

if TYPE_CHECKING:
    from pathlib import Path

    from dockerfiles import Builder

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.userns]

TEXT = """FROM small:test
ARG GIVEN
COPY status /var/lib/dpkg/status
COPY METADATA /opt/env/lib/numpy-2.0.dist-info/METADATA
RUN --mount=type=secret,id=word [ ! -e /run/secrets/word ] || cat /run/secrets/word > /dev/null
CMD ["echo", "here"]
"""
STATUS = "Package: jq\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.6-2.1\n"


@pytest.fixture
def place(builder: Builder) -> Path:
    builder.write(status=STATUS, METADATA="Name: numpy\nVersion: 2.0\n\n", word="hush-secret-canary")
    return builder.folder


def read(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as stream:
        return {m.name: stream.extractfile(m).read() for m in stream if m.isreg()}  # type: ignore[union-attr]


def blob(files: dict[str, bytes], digest: str) -> Any:
    return json.loads(files[f"blobs/{digest.replace(':', '/')}"])


def statements(files: dict[str, bytes]) -> dict[str, Any]:
    """Return the statements of an archive's one image by predicate, after a look at how they are laid."""
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert entry["mediaType"] == "application/vnd.oci.image.index.v1+json"
    image, said = blob(files, entry["digest"])["manifests"]
    assert image["platform"]["os"] == "linux"
    assert said["platform"] == {"architecture": "unknown", "os": "unknown"}
    assert said["annotations"] == {
        "vnd.docker.reference.digest": image["digest"],
        "vnd.docker.reference.type": "attestation-manifest",
    }
    layers = blob(files, said["digest"])["layers"]
    found = {layer["annotations"]["in-toto.io/predicate-type"]: blob(files, layer["digest"]) for layer in layers}
    for kind, statement in found.items():
        assert statement["predicateType"] == kind
        assert {one["digest"]["sha256"] for one in statement["subject"]} == {image["digest"].partition(":")[2]}
    return found


def test_what_is_said_goes_with_the_image(builder: Builder, place: Path) -> None:
    arguments = builder.arguments(TEXT, "-t", "said:1")
    plain = json.loads(builder.carboy(*arguments).stdout)["digest"]
    (before,) = json.loads(builder.carboy("inspect", "said:1").stdout)
    assert before["Attestations"] == []  # nothing unless it is asked for
    asked = [*arguments, "--sbom=true", "--provenance=mode=max"]
    assert json.loads(builder.carboy(*asked).stdout)["digest"] == plain  # whatever is said, and whenever
    (after,) = json.loads(builder.carboy("inspect", "said:1").stdout)
    assert [one["PredicateType"] for one in after["Attestations"]] == [
        "https://spdx.dev/Document",
        "https://slsa.dev/provenance/v1",
    ]
    builder.carboy("system", "prune")
    assert json.loads(builder.carboy("inspect", "said:1").stdout) == [after]
    builder.carboy("rmi", "said:1")


@pytest.mark.parametrize(
    "tier_carboy",
    ["root", *(pytest.param(tier, marks=pytest.mark.long) for tier in ("subuid", "single"))],
    indirect=True,
)
def test_every_build_says_how_and_of_what(builder: Builder, place: Path) -> None:
    """Without being asked to, beside the image, whose digest stays; the same in another home, and wherever the image goes."""
    carboy, kinds = (
        builder.carboy,
        ["vnd.in-toto+json", "spdx+json", "vnd.cyclonedx+json", "vnd.carboy.licences.v1+json"],
    )
    arguments = builder.arguments(TEXT, "-t", "said:6", "--build-arg", "GIVEN=not-told")
    digest = json.loads(carboy(*arguments).stdout)["digest"]
    statement = json.loads(carboy("provenance", "said:6").stdout)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"] == [{"name": "_", "digest": {"sha256": digest.partition(":")[2]}}]
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    told = json.dumps(statement)
    assert "startedOn" not in told
    assert "not-told" not in told
    assert str(place) not in told
    (base,) = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert base["uri"].startswith("pkg:docker/small@test")
    assert "has no lock" in carboy("provenance", "--lock", "said:6", expect=1).stderr
    assert "nothing here says how small:test was made" in carboy("provenance", "small:test", expect=1).stderr
    carboy("system", "prune")
    carboy("save", "-o", str(place / "saved.tar"), "said:6")
    carboy("save", "-o", str(place / "bare.tar"), "--no-documents", "said:6")
    carboy(*arguments, "-o", f"type=oci,dest={place}/out.tar")
    files = read(place / "saved.tar")
    (image,) = json.loads(files["index.json"])["manifests"]
    assert image["digest"] == digest
    found = json.loads(files["referrers.json"])["manifests"]
    assert [one["artifactType"].partition("/")[2] for one in found] == kinds
    assert read(place / "out.tar")["referrers.json"] == files["referrers.json"]
    assert "referrers.json" not in read(place / "bare.tar")
    other = carboy.using(place / "home")
    other("load", "-i", str(place / "saved.tar"))
    assert json.loads(other("provenance", "said:6").stdout) == statement
    (loaded,) = json.loads(other("inspect", "said:6").stdout)
    assert (loaded["Digest"], len(loaded["Referrers"])) == (digest, 4)
    other("save", "-o", str(place / "again.tar"), "said:6")
    assert read(place / "again.tar")["referrers.json"] == files["referrers.json"]
    carboy("rmi", "said:6")


def test_archives_carry_it(builder: Builder, place: Path) -> None:
    asked = builder.arguments(TEXT, "-t", "said:1", "--sbom=true", "--provenance=mode=max")
    builder.carboy(*asked, "--load", "-o", f"type=oci,dest={place}/out.tar,compression=gzip")
    builder.carboy("save", "-o", str(place / "saved.tar"), "said:1")
    for name in ("saved.tar", "out.tar"):
        said = statements(read(place / name))
        packages = said["https://spdx.dev/Document"]["predicate"]["packages"]
        assert [package["name"] for package in packages] == ["said:1", "jq", "numpy"]
        steps = said["https://slsa.dev/provenance/v1"]["predicate"]["buildDefinition"]["internalParameters"]["steps"]
        assert steps[0] == "[1/4] FROM small:test"
    other = builder.carboy.using(place / "home")
    for name in ("saved.tar", "out.tar"):
        assert other("load", "-i", str(place / name)).stdout == "Loaded image: said:1\n"
        (loaded,) = json.loads(other("inspect", "said:1").stdout)
        assert len(loaded["Attestations"]) == 2
    builder.carboy("rmi", "said:1")


@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_several_platforms(builder: Builder, place: Path) -> None:
    text = "FROM scratch\nCOPY status /var/lib/dpkg/status\n"
    platforms = ("--platform", "linux/amd64,linux/arm64", "-t", "said:5", "--sbom=true", "--provenance=true")
    builder.carboy(*builder.arguments(text, *platforms, "--load", "-o", f"type=oci,dest={place}/out.tar"))
    (before,) = json.loads(builder.carboy("inspect", "said:5").stdout)
    files = read(place / "out.tar")
    (entry,) = json.loads(files["index.json"])["manifests"]
    inner = blob(files, entry["digest"])["manifests"]
    assert [one["platform"]["architecture"] for one in inner] == ["amd64", "arm64", "unknown", "unknown"]
    assert [one["annotations"]["vnd.docker.reference.digest"] for one in inner[2:]] == [
        one["digest"] for one in inner[:2]
    ]
    builder.carboy("system", "prune")
    other = builder.carboy.using(place / "home")
    assert other("load", "-i", str(place / "out.tar")).stdout == "Loaded image: said:5\n"
    (loaded,) = json.loads(other("inspect", "said:5").stdout)
    (kept,) = json.loads(builder.carboy("inspect", "said:5").stdout)
    assert loaded["Digest"] == kept["Digest"] == before["Digest"]
    assert [one["Subject"] for one in loaded["Attestations"]] == [one["digest"] for one in inner[:2] for _ in range(2)]
    assert loaded["Attestations"] == kept["Attestations"] == before["Attestations"]
    builder.carboy("rmi", "said:5")


@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_canaries_of_the_machine_are_nowhere(builder: Builder, place: Path) -> None:
    """Secrets, proxies, paths and names of the host: no byte of them is in an archive with everything that can be said."""
    canaries = {
        "secret": "hush-secret-canary", "proxy": "proxy-canary", "password": "password-canary",
        "path": str(place), "host": "host-canary",
    }  # fmt: skip
    proxies = {"HTTPS_PROXY": "http://user:password-canary@proxy-canary.example:1"}
    runner = builder.carboy.using(builder.carboy.home, **proxies)
    given = ("--build-arg", "http_proxy=http://proxy-canary.example:2", "--build-arg", "GIVEN=value")
    source = ("--build-arg", "INDEX=https://user:password-canary@index.example/simple")
    secret = ("--secret", f"id=word,src={place}/word", "--build-context", f"more={place}")
    output = ("-o", f"type=oci,dest={place}/out.tar,compression=uncompressed,force-compression=true")
    asked = ("--attest", "type=provenance,mode=max", "--attest", "type=sbom", "--network", "none")
    arguments = builder.arguments(f"ARG INDEX\n{TEXT}", *given, *source, *secret, *output, *asked)
    prefix = ["unshare", "--uts", "sh", "-c", 'hostname host-canary; exec "$@"', "sh"]
    with runner.start(*arguments, prefix=prefix) as process:
        out, error = process.communicate(timeout=100)
    assert process.returncode == 0, out + error
    files = read(place / "out.tar")
    provenance = statements(files)["https://slsa.dev/provenance/v1"]["predicate"]
    args = provenance["buildDefinition"]["externalParameters"]["request"]["args"]
    assert args == {
        "build-arg:GIVEN": "value", "build-arg:INDEX": "https://***@index.example/simple", "context:more": "",
    }  # fmt: skip
    for name, data in files.items():
        for kind, canary in canaries.items():
            assert canary.encode() not in data, f"{kind} in {name}"


def test_what_lies_is_carried_or_left(builder: Builder, place: Path) -> None:
    if builder.carboy.person.tier != "root":
        pytest.skip("the same in every tier")
    builder.carboy(*builder.arguments(TEXT, "-t", "said:2", "--sbom=true"))
    builder.carboy("save", "-o", str(place / "saved.tar"), "said:2")
    files = read(place / "saved.tar")
    (entry,) = json.loads(files["index.json"])["manifests"]
    said = blob(files, entry["digest"])["manifests"][1]["digest"]
    del files[f"blobs/{blob(files, said)['layers'][0]['digest'].replace(':', '/')}"]  # a statement is missing
    with tarfile.open(place / "cut.tar", "w") as stream:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            stream.addfile(member, io.BytesIO(data))
    other = builder.carboy.using(place / "home")
    assert other("load", "-i", str(place / "cut.tar")).stdout == "Loaded image: said:2\n"
    (loaded,) = json.loads(other("inspect", "said:2").stdout)
    assert loaded["Attestations"] == []
    assert "cannot be read" in builder.fail(TEXT, "--provenance=everything", status=2)
    builder.carboy("rmi", "said:2")


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_skopeo_finds_the_image_among_it(builder: Builder, place: Path) -> None:
    output = f"type=oci,dest={place}/out.tar"
    builder.carboy(*builder.arguments(TEXT, "-t", "said:3", "-o", output, "--sbom=true", "--provenance=true"))
    command = ["skopeo", "inspect", f"oci-archive:{place}/out.tar"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["Os"] == "linux"


@pytest.mark.long
@pytest.mark.xdist_group("podman")
@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_podman_runs_the_image_among_it(builder: Builder, place: Path) -> None:
    output = f"type=oci,dest={place}/out.tar"
    builder.carboy(*builder.arguments(TEXT, "-t", "said:4", "-o", output, "--sbom=true", "--provenance=true"))
    with open_podman() as podman:
        podman("load", "-i", str(place / "out.tar"))
        assert podman.run("docker.io/library/said:4") == "here\n"
