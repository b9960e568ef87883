"""``carboy build --output``: where a build's result goes, and that it is the same wherever and however it is built."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import tarfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from peer_tools import open_podman
from small_image import make_small_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dockerfiles import Builder

    from conftest import Carboy

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.userns]

TEXT = """FROM small:test
COPY --chmod=644 --chown=ana word /d/
RUN echo made > /made
CMD ["cat", "/d/word"]
"""


@pytest.fixture
def place(builder: Builder) -> Path:
    """Return the context's folder, which is the person's, for outputs as well; its word is written."""
    builder.write(word="here\n", _DOT_dockerignore="*\n!word\n")
    return builder.folder


def words(builder: Builder, *options: str, text: str = TEXT) -> list[str]:
    builder.write(Dockerfile=text)
    return ["build", "-q", *options, str(builder.folder)]


def read(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as stream:
        return {m.name: stream.extractfile(m).read() for m in stream if m.isreg()}  # type: ignore[union-attr]


def test_an_archive_is_the_image(builder: Builder, place: Path) -> None:
    dest = place / "image.tar"
    outputs = ("-o", f"type=oci,dest={dest}", "-o", f"type=oci,dest={place}/small.tar,compression=zstd")
    told = ("--iidfile", str(place / "iid"), "--metadata-file", str(place / "metadata"))
    (place / "iid").write_text("of an earlier build")
    done = builder.carboy(*[word for word in words(builder, "-t", "out:1", *outputs[:2], *told) if word != "-q"])
    assert "built out:1" not in done.stderr  # there is no such name in the store
    digest = done.stdout.strip()
    files = read(dest)
    assert "manifest.json" not in files
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert entry["digest"] == digest == (place / "iid").read_text()
    assert entry["annotations"]["io.containerd.image.name"] == "docker.io/library/out:1"
    metadata = json.loads((place / "metadata").read_text())
    assert metadata["containerimage.digest"] == digest
    assert metadata["image.name"] == "docker.io/library/out:1"
    manifest = json.loads(files[f"blobs/sha256/{digest.removeprefix('sha256:')}"])
    assert metadata["containerimage.config.digest"] == manifest["config"]["digest"]
    assert "\nout " not in builder.carboy("images").stdout  # an output stands in place of the store
    assert builder.carboy(*words(builder, *outputs[2:])).stdout.strip() != digest
    assert (place / "small.tar").stat().st_size < dest.stat().st_size
    assert builder.carboy("load", "-i", str(dest)).stdout == "Loaded image: out:1\n"
    assert builder.run("out:1") == "here\n"
    builder.carboy("rmi", "out:1")


def test_several_outputs_and_the_store(builder: Builder, place: Path) -> None:
    outputs = ("--load", "-o", f"{place}/files", "-o", f'type=docker,"name=a:1,b:2",dest={place}/d.tar', "-o", "-")
    arguments = words(builder, "-t", "several:1", *outputs)
    with (place / "f.tar").open("wb") as out, builder.carboy.start(*arguments, stdout=out) as process:
        assert process.wait(60) == 0
    person = builder.carboy.person
    assert (place / "files" / "made").read_text() == "made\n"
    status = (place / "files" / "d" / "word").stat()
    assert (status.st_uid, status.st_gid) == (person.uid, person.gid)  # the caller's, whoever's in the image
    with tarfile.open(place / "f.tar") as stream:
        member = stream.getmember("d/word")
        assert (member.uid, member.mode) == (1000, 0o644)
    (entry,) = json.loads(read(place / "d.tar")["manifest.json"])
    assert entry["RepoTags"] == ["a:1", "b:2"]
    assert builder.run("several:1") == "here\n"
    builder.carboy("rmi", "several:1")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-o", "type=oci,dest={0}"], "is a directory"),
        (["-o", "{0}/word"], "is a file"),
        (["-o", "type=tar,dest={0}/no/f"], "there is no folder"),
        (["--push"], "tag is needed when pushing"),
        (["-o", "type=oci", "--json"], "exclude each other"),
        (["-o", "type=oci", "-o", "-"], "two outputs"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_built(
    builder: Builder, place: Path, options: list[str], said: str
) -> None:
    if builder.carboy.person.tier != "root":
        pytest.skip("the same in every tier")
    given = [option.format(place) for option in options]
    done = builder.carboy(*words(builder, *given, text="FROM small:test\nRUN false\n"), expect=2)
    assert said in done.stderr


def test_what_fails_leaves_what_was_there(builder: Builder, place: Path) -> None:
    for name in ("image.tar", "iid"):
        (place / name).write_text("before")
    told = ("--iidfile", str(place / "iid"))
    text = "FROM small:test\nRUN false\n"
    builder.carboy(*words(builder, "-o", f"type=oci,dest={place}/image.tar", *told, text=text), expect=1)
    assert (place / "image.tar").read_text() == "before"
    assert not (place / "iid").exists()  # it would tell of another build


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted(builder: Builder, place: Path, number: signal.Signals) -> None:
    """At no moment is there a half file at the destination, or another one beside it."""
    if builder.carboy.person.tier != "root":
        pytest.skip("the same in every tier")
    text = "FROM scratch\nCOPY large /\n"
    with (place / "large").open("wb") as stream:
        for _ in range(40):
            stream.write(os.urandom(2**20))  # what cannot be compressed, and takes a moment to be written
    (place / ".dockerignore").unlink()
    dest = place / "image.tar"
    command = words(builder, "-o", f"type=oci,dest={dest}", text=text)
    with builder.carboy.start(*command) as process:
        end = time.monotonic() + 30
        while not has_unnamed_file(process.pid, place) and time.monotonic() < end and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(number)
        process.wait(30)
    left = [path.name for path in place.glob("image.tar*")]
    if left:  # it was quicker
        assert left == ["image.tar"]
        with tarfile.open(dest) as archive:
            archive.getmembers()


def has_unnamed_file(pid: int, folder: Path) -> bool:
    """Return whether a process writes a file in a folder that has no name yet: proc(5), /proc/PID/fd."""
    try:
        links = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return False
    return any(link.startswith(f"{folder}/#") for link in links)


# --- the same bytes -------------------------------------------------------------------------------------------------


@pytest.fixture
def other(builder: Builder) -> Iterator[Carboy]:
    """Return the same person with another, empty store."""
    home = builder.carboy.home.with_name(f"other-{uuid.uuid4().hex[:8]}")
    runner = builder.carboy.using(home, TZ="Pacific/Chatham", LANG="C", LC_ALL="C", PYTHONHASHSEED="7")
    make_small_image(runner)
    yield runner
    subprocess.run(["rm", "-rf", str(home), f"{home}-small", f"{home}-small.lock"], check=False)


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_same_bytes_from_two_stores(builder: Builder, other: Carboy, place: Path) -> None:
    """Whatever the time zone, locale, umask and times of files, and wherever the time is asked for."""
    outputs = ("type=oci,compression=gzip", "type=docker", "type=tar")
    given = [item for number, output in enumerate(outputs) for item in ("-o", f"{output},dest={place}/1-{number}")]
    builder.carboy.using(builder.carboy.home, SOURCE_DATE_EPOCH="86400")(*words(builder, "-t", "same:1", *given))
    os.utime(place / "word", (1, 1))
    again = [item.replace("/1-", "/2-") for item in given]
    arguments = words(builder, "-t", "same:1", "--build-arg", "SOURCE_DATE_EPOCH=86400", *again)
    done = other.start(*arguments, prefix=["sh", "-c", 'umask 077; exec "$@"', "sh"])
    out, error = done.communicate(timeout=60)
    assert done.returncode == 0, out + error
    for number, _ in enumerate(outputs):
        assert digest_of(place / f"1-{number}") == digest_of(place / f"2-{number}"), outputs[number]
    with tarfile.open(place / "1-2") as stream:
        assert max(member.mtime for member in stream if member.name.startswith("d")) == 86400


@pytest.mark.long
@pytest.mark.network
@pytest.mark.timeout(900)
@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_the_same_dockerfile_twice_from_empty_stores(builder: Builder, place: Path) -> None:
    """With its base made anew, and packages installed."""
    # apt and dpkg write times into their logs and caches, which nobody needs in an image.
    rest = "rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/ldconfig/aux-cache /var/log/*"
    install = f"apt-get update && apt-get install -y --no-install-recommends jq && {rest}"
    text = f"FROM debian:bookworm\nRUN {install}\nCOPY word /\n"
    digests = set()
    for number in (1, 2):
        home = builder.carboy.home.with_name(f"empty-{number}-{uuid.uuid4().hex[:8]}")
        runner = builder.carboy.using(home, TZ=("UTC", "Asia/Tokyo")[number - 1])
        output = ("-o", f"type=oci,dest={place}/{number}.tar")
        digests.add(runner(*words(builder, *output, text=text), timeout_s=400).stdout.strip())
        subprocess.run(["rm", "-rf", str(home)], check=True)
    assert len(digests) == 1
    assert digest_of(place / "1.tar") == digest_of(place / "2.tar")


# --- other tools ----------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.xdist_group("podman")
@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
@pytest.mark.parametrize("compression", ["", ",compression=gzip", ",compression=zstd"])
def test_podman_loads_and_runs_it(builder: Builder, place: Path, compression: str) -> None:
    builder.carboy(*words(builder, "-t", "podman:1", "-o", f"type=oci,dest={place}/image.tar{compression}"))
    with open_podman() as podman:
        loaded = podman("load", "-i", str(place / "image.tar"))
        assert "podman:1" in loaded
        assert podman.run("docker.io/library/podman:1") == "here\n"
