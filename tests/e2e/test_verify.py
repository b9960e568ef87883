"""``verify``, ``diff`` of two images, ``sbom`` and ``licenses``, as a person uses them."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from dockerfiles import Builder
    from tests.conftest import Carboy

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.userns]

HONEST = "FROM small:test\nARG WHO=you\nCOPY file /file\nRUN echo $WHO > /who; umask > /umask; hostname > /host\n"
STATUS = "Package: jq\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n"
METADATA = "Metadata-Version: 2.1\nName: idna\nVersion: 3\nLicense-Expression: BSD-3-Clause\n\n"
COPYRIGHT = "Format: 1\n\nFiles: *\nLicense: MIT\n\nFiles: x\nLicense: CC-BY-3.0\n"


def verify(carboy: Carboy, *arguments: str, expect: int | None) -> Any:
    return json.loads(carboy("verify", "--json", *arguments, expect=expect).stdout)


def read_files(found: Any) -> dict[str, dict[str, Any]]:
    return {file["path"]: file for layer in found["layers"] for file in layer["files"]}


def test_an_honest_build_is_proven(builder: Builder) -> None:
    """In every tier; what the home noted of the build is enough, its options included."""
    carboy = builder.carboy
    builder.write(file="text")
    digest = builder.build(HONEST, "-t", "honest:1", "--build-arg", "WHO=world").digest
    found = verify(carboy, "honest:1", expect=0)
    assert (found["equal"], found["level"], found["rebuilt"]) == (True, "identical", digest)
    assert found["options"] == ["--build-arg=WHO=world"]
    conditions = {one["name"]: one for one in found["conditions"]}
    assert conditions["umask"]["there"] == "0077"
    assert conditions["path of the folder"]["there"] != str(builder.folder)
    assert conditions["user id"]["varied"] == (carboy.person.tier != "single")
    if not conditions["user id"]["varied"]:
        assert "the tier single" in conditions["user id"]["note"]
    for name in ("ingest", "trash"):
        assert not list((carboy.home / name).iterdir())
    carboy("rmi", "honest:1")


@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_what_is_not_reproducible_is_found_and_explained(builder: Builder) -> None:
    carboy = builder.carboy
    steps = [
        "date > /clock", "echo {\\\"at\\\": $(date +%s)} > /seconds", "touch /log-$(date +%s)",
        "head -c 64 /dev/urandom > /noise", "cat /proc/sys/kernel/random/uuid > /id", "echo same > /same",
    ]  # fmt: skip
    builder.build(f"FROM small:test\nRUN echo first > /first\nRUN {'; '.join(steps)}\n", "-t", "clock:1")
    found = verify(carboy, "clock:1", expect=1)
    assert (found["equal"], found["level"]) == (False, "different")
    assert found["notes"] == ["two rebuilds differ from each other as well: the build is not reproducible"]
    (layer,) = found["layers"]
    assert layer["number"] == 3
    assert "date > /clock" in layer["title"]
    reasons = {path: file["reason"].partition(" (")[0] for path, file in read_files(found).items()}
    (logs, rest) = ({k: v for k, v in reasons.items() if k.startswith("/log-") == is_log} for is_log in (True, False))
    assert list(logs.values()) == ["a time is in its name"] * 2
    assert rest == {
        "/clock": "a time is written into it",
        "/seconds": "a time is written into it",
        "/noise": "it has random values",
        "/id": "it has random values",
    }
    carboy("rmi", "clock:1")


@pytest.mark.long
@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_people_read_it_as_text(builder: Builder) -> None:
    carboy = builder.carboy
    builder.build("FROM small:test\nRUN date > /clock\n", "-t", "clock:2")
    shown = carboy("verify", "clock:2", expect=1).stdout
    assert "DIFFERENT" in shown
    assert "  /clock: content\n      a time is written into it (" in shown
    assert carboy("verify", "-q", "clock:2", expect=1).stdout == ""
    carboy("rmi", "clock:2")


@pytest.mark.long
@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_conditions_that_leak_are_named(builder: Builder) -> None:
    carboy = builder.carboy
    step = "grep -c ^Cpus /proc/self/status > /x; grep Cpus_allowed_list /proc/self/status > /cpus"
    builder.build(f"FROM small:test\nRUN {step}\n", "-t", "leak:1")
    found = verify(carboy, "leak:1", expect=None)
    if not next(one for one in found["conditions"] if one["name"] == "processors")["varied"]:
        pytest.skip("this machine has one processor")
    assert list(read_files(found)) == ["/cpus"]
    assert found["notes"] == [
        "built again under the conditions of this machine it is the same: what differs depends on the conditions"
    ]
    carboy("rmi", "leak:1")


@pytest.mark.long
@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_another_folder_another_image(builder: Builder, tmp_path: Path) -> None:
    carboy = builder.carboy
    builder.write(file="text")
    builder.build(HONEST, "-t", "honest:2")
    other = tmp_path / "other"
    shutil.copytree(builder.folder, other)
    assert verify(carboy, "honest:2", "--from", str(other), expect=0)["equal"]
    (other / "file").write_text("forged")
    found = verify(carboy, "honest:2", "--from", str(other), expect=1)
    assert list(read_files(found)) == ["/file"]
    assert found["notes"] == [
        "two rebuilds are the same: the image was made of something else (other files, versions or options)"
    ]
    assert not verify(carboy, "honest:2", "--from", str(builder.folder), "--build-arg", "WHO=me", expect=1)["equal"]
    archive = str(tmp_path / "out.tar")
    carboy("build", "-o", f"type=oci,dest={archive},compression=gzip,force-compression=true", str(builder.folder))
    elsewhere = carboy.using(tmp_path / "home")
    loaded = elsewhere("load", "-i", archive).stdout.split()[-1]
    error = elsewhere("verify", loaded, expect=1).stderr
    assert "nothing here says what" in error
    assert "--from FOLDER" in error
    carboy("load", "-i", archive)
    assert verify(carboy, loaded, "--from", str(builder.folder), expect=0)["level"] == "compression"
    carboy("rmi", "honest:2")


@pytest.mark.long
@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_what_cannot_be_rebuilt(builder: Builder, tmp_path: Path) -> None:
    carboy = builder.carboy
    builder.write(file="text")
    builder.build(HONEST, "-t", "honest:3")
    assert "there is no image" in carboy("verify", "nowhere:1", expect=1).stderr
    assert "there is no folder" in carboy("verify", "honest:3", "--from", str(tmp_path / "no"), expect=1).stderr
    (builder.folder / "Dockerfile").write_text("FROM small:test\nRUN echo why; exit 7\n")
    error = carboy("verify", "honest:3", expect=1).stderr
    assert "it cannot be rebuilt" in error
    assert "exit 7" in error
    assert "why" in error
    assert not list((carboy.home / "ingest").iterdir())
    secret = "--build-arg=INDEX=https://user:hush@index.example/simple"
    builder.build(f"{HONEST}ARG INDEX\nRUN true\n", "-t", "honest:4", secret)
    error = carboy("verify", "honest:4", expect=1).stderr
    assert "options that hold passwords" in error
    assert "INDEX" in error
    assert b"hush" not in (carboy.home / "state.db").read_bytes()
    assert verify(carboy, "honest:4", "--from", str(builder.folder), secret, expect=0)["equal"]
    assert carboy("verify", "--from", "x", expect=2).returncode == 2
    carboy("rmi", "honest:3", "honest:4")


@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_two_images_are_compared(builder: Builder) -> None:
    carboy = builder.carboy
    copies = (
        "COPY status /var/lib/dpkg/status\nCOPY METADATA /opt/idna-3.dist-info/METADATA\n"
        "COPY copyright /usr/share/doc/jq/copyright\n"
    )
    builder.write(status=STATUS.format(version="1.6"), METADATA=METADATA, copyright=COPYRIGHT, file="1")
    builder.build(f"FROM small:test\n{copies}COPY file /file\nENV A=1\n", "-t", "left:1")
    builder.write(status=STATUS.format(version="1.7"), METADATA=METADATA.replace("Name: idna", "Name: six"))
    builder.build(f'FROM small:test\n{copies}ENV A=2\nCMD ["x"]\n', "-t", "right:1")
    found = json.loads(carboy("diff", "--json", "left:1", "right:1").stdout)
    assert [(one["what"], one["name"], one["left"], one["right"]) for one in found["packages"]] == [
        ("changed", "jq", "1.6", "1.7"),
        ("removed", "idna", "3", ""),
        ("added", "six", "", "3"),
    ]
    settings = {one["name"]: (one["left"], one["right"]) for one in found["settings"]}
    assert settings["config.Env.A"] == ("1", "2")
    assert settings["config.Cmd"] == ('["sh"]', '["x"]')
    changed = {one["path"]: [aspect["what"] for aspect in one["differs"]] for one in found["files"]}
    assert changed == {
        "/var/lib/dpkg/status": ["content"],
        "/opt/idna-3.dist-info/METADATA": ["content"],
        "/file": ["presence"],
    }
    assert found["shared_layers"] == 2
    shown = carboy("diff", "left:1", "right:1").stdout
    assert "  ~ jq 1.6 -> 1.7 (deb)\n" in shown
    assert "  /file: only on the left (file)" in shown
    assert "nothing differs" in carboy("diff", "left:1", "left:1").stdout
    assert "there is no image" in carboy("diff", "left:1", "nowhere:1", expect=1).stderr
    assert carboy("diff", "a", "b", "c", expect=2).returncode == 2

    table = carboy("sbom", "left:1").stdout
    assert "jq    1.6      deb   MIT, CC-BY-3.0" in table
    assert json.loads(carboy("sbom", "--format", "spdx", "left:1").stdout)["spdxVersion"] == "SPDX-2.3"
    components = json.loads(carboy("sbom", "--format", "cyclonedx", "left:1").stdout)["components"]
    assert [one["purl"] for one in components] == ["pkg:deb/debian/jq@1.6?arch=amd64", "pkg:pypi/idna@3"]
    groups = json.loads(carboy("licenses", "--json", "left:1").stdout)
    assert [(one["licence"], [p["name"] for p in one["packages"]]) for one in groups] == [
        ("BSD-3-Clause", ["idna"]),
        ("MIT, CC-BY-3.0", ["jq"]),
    ]
    assert "BSD-3-Clause  (1)\n    idna 3 (pypi)\n" in carboy("licenses", "left:1").stdout
    assert "there is no image" in carboy("sbom", "nowhere:1", expect=1).stderr
    carboy("rmi", "left:1", "right:1")


@pytest.mark.long
@pytest.mark.network
@pytest.mark.timeout(900)
def test_iris_is_proven(shared_carboy: Carboy, iris: Path) -> None:
    """Base, packages and files are made anew; the folder is only one that is equal to what was built."""
    found = verify(shared_carboy, "iris:test", "--from", str(iris), expect=0)
    assert found["equal"]
    assert found["level"] in {"identical", "archive"}
