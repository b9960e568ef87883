"""Images as archives: written, read again here and by other tools, and archives that nobody should trust."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import shutil
import subprocess
import tarfile
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from small_image import SMALL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Carboy

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.userns]


@pytest.fixture
def place(small_carboy: Carboy) -> Iterator[Path]:
    """Return a folder of the person's."""
    folder = small_carboy.home.with_name(f"archives-{uuid.uuid4().hex[:12]}")
    folder.mkdir(mode=0o755)
    shutil.chown(folder, small_carboy.person.uid, small_carboy.person.gid)
    yield folder
    shutil.rmtree(folder)


def digest(carboy: Carboy, name: str) -> str:
    (found,) = json.loads(carboy("inspect", name).stdout)
    return str(found["Digest"])


def read(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as stream:
        return {m.name: stream.extractfile(m).read() for m in stream if m.isreg()}  # type: ignore[union-attr]


def write(path: Path, files: dict[str, bytes], *, more: Callable[[tarfile.TarFile], Any] | None = None) -> None:
    with tarfile.open(path, "w") as stream:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            stream.addfile(member, io.BytesIO(data))
        if more is not None:
            more(stream)
    path.chmod(0o644)


def test_what_is_saved_is_loaded(small_carboy: Carboy, place: Path) -> None:
    archive = place / "images.tar"
    small_carboy("tag", SMALL, "other:2")
    small_carboy("save", "-o", str(archive), SMALL, "other:2")
    files = read(archive)
    (entry,) = json.loads(files["manifest.json"])
    assert entry["RepoTags"] == [SMALL, "other:2"]
    assert {entry["Config"], *entry["Layers"]} < files.keys()
    names = [m["annotations"]["io.containerd.image.name"] for m in json.loads(files["index.json"])["manifests"]]
    assert names == ["docker.io/library/small:test", "docker.io/library/other:2"]
    other = small_carboy.using(place / "home")
    done = other("load", "-i", str(archive))
    assert done.stdout == f"Loaded image: {SMALL}\nLoaded image: other:2\n"
    assert digest(other, SMALL) == digest(small_carboy, SMALL)
    assert other("run", "--rm", "other:2", "echo", "here").stdout == "here\n"


def test_the_archive_of_dockers_alone_is_loaded(small_carboy: Carboy, place: Path) -> None:
    small_carboy("save", "-o", str(place / "images.tar"), SMALL)
    files = read(place / "images.tar")
    (entry,) = json.loads(files["manifest.json"])
    layer = entry["Layers"][0]
    old = {
        "layer/layer.tar": files[layer],
        "c.json": files[entry["Config"]],
        "layer/json": b"{}",
        "layer/VERSION": b"1",
    }
    old["manifest.json"] = json.dumps(
        [{"Config": "c.json", "RepoTags": ["old:1"], "Layers": ["layer/layer.tar"]}]
    ).encode()
    write(place / "old.tar", old)
    assert small_carboy("load", "-i", str(place / "old.tar")).stdout == "Loaded image: old:1\n"
    assert small_carboy("run", "--rm", "old:1", "echo", "here").stdout == "here\n"


def test_a_compressed_archive_is_loaded_from_a_pipe(small_carboy: Carboy, place: Path) -> None:
    with (place / "images.tar").open("wb") as out, small_carboy.start("save", SMALL, stdout=out) as process:
        assert process.wait(60) == 0
    data = (place / "images.tar").read_bytes()
    assert read(place / "images.tar").keys() >= {"oci-layout", "index.json", "manifest.json"}
    for compress in (gzip.compress, lzma.compress, zstandard.ZstdCompressor().compress):
        (place / "packed").write_bytes(compress(data))
        with (place / "packed").open("rb") as packed, small_carboy.start("load", "-q", stdin=packed) as process:
            stdout, stderr = process.communicate(timeout=60)
        assert stdout == f"{digest(small_carboy, SMALL)}\n", stderr


def test_an_oci_layout_alone_is_loaded(small_carboy: Carboy, place: Path) -> None:
    small_carboy("save", "-o", str(place / "images.tar"), SMALL)
    files = read(place / "images.tar")
    del files["manifest.json"], files["repositories"]
    index = json.loads(files["index.json"])
    index["manifests"][0]["annotations"] = {"org.opencontainers.image.ref.name": "layout:1"}
    files["index.json"] = json.dumps(index).encode()
    write(place / "layout.tar", files)
    assert small_carboy("load", "-i", str(place / "layout.tar")).stdout == "Loaded image: layout:1\n"
    assert digest(small_carboy, "layout:1") == digest(small_carboy, SMALL)


def test_nothing_is_left_of_an_archive_that_fails(small_carboy: Carboy, place: Path) -> None:
    (place / "images.tar").write_text("what was there")
    assert small_carboy("save", "-o", str(place / "images.tar"), SMALL, "absent:1", expect=1).stdout == ""
    assert (place / "images.tar").read_text() == "what was there"
    assert [path.name for path in place.iterdir()] == ["images.tar"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Config": "../../etc/passwd"}, "leads out"),
        ({"Config": "absent.json"}, "incomplete"),
        ({"Layers": []}, "do not agree"),
        ({"RepoTags": ["evil/UPPER"]}, "not the name of an image"),
        ({"Layers": "text"}, "breaks its specification"),
    ],
)
def test_a_list_that_lies_is_refused(small_carboy: Carboy, place: Path, change: dict[str, Any], said: str) -> None:
    small_carboy("save", "-o", str(place / "images.tar"), SMALL)
    files = read(place / "images.tar")
    (entry,) = json.loads(files["manifest.json"])
    files["manifest.json"] = json.dumps([{**entry, "RepoTags": ["evil:1"], **change}]).encode()
    write(place / "evil.tar", files)
    assert said in small_carboy("load", "-i", str(place / "evil.tar"), expect=1).stderr
    assert "evil" not in small_carboy("images").stdout


def _add(name: str, kind: bytes, link: str = "") -> Callable[[tarfile.TarFile], None]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return lambda stream: stream.addfile(member)


@pytest.mark.parametrize(
    ("files", "more", "said"),
    [
        ({"../outside": b"x"}, None, "leads out"),
        ({"blobs/sha256/" + "0" * 64: b"x"}, None, "not what was announced"),
        ({"blobs/sha256/../../x": b"x"}, None, "leads out"),
        ({"blobs/sha512/" + "0" * 128: b"x"}, None, "not a digest"),
        ({"a": b"x"}, _add("device", tarfile.BLKTYPE), "neither file nor link"),
        ({"a": b"x"}, _add("link", tarfile.SYMTYPE, "../../etc/passwd"), "leads out"),
        ({"a": b"x"}, _add("a", tarfile.REGTYPE), "twice"),
        ({"manifest.json": b" " * (4 * 2**20 + 1)}, None, "larger than"),
        ({"manifest.json": b'[{"Config": "a", "Config": "b"}]'}, None, "not valid JSON"),
        ({"a": b"x"}, None, "holds no images"),
    ],
    ids=["outside", "wrong", "dots", "sha512", "device", "link", "twice", "large", "keys", "nothing"],
)
def test_a_hostile_archive_is_refused(
    small_carboy: Carboy, place: Path, files: dict[str, bytes], more: Callable[[tarfile.TarFile], Any] | None, said: str
) -> None:
    write(place / "evil.tar", files, more=more)
    assert said in small_carboy("load", "-i", str(place / "evil.tar"), expect=1).stderr


def test_a_bomb_is_refused(small_carboy: Carboy, place: Path) -> None:
    (place / "evil.tar").write_bytes(zstandard.ZstdCompressor().compress(bytes(280 * 2**20)))
    assert "bomb" in small_carboy("load", "-i", str(place / "evil.tar"), expect=1).stderr
    (place / "evil.tar").write_bytes(b"no archive at all" * 100)
    assert "no archive of images" in small_carboy("load", "-i", str(place / "evil.tar"), expect=1).stderr


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_skopeo_reads_and_writes_it(small_carboy: Carboy, place: Path) -> None:
    small_carboy("save", "-o", str(place / "images.tar"), SMALL)
    ours, theirs = place / "images.tar", place / "theirs.tar"
    for kind in ("docker-archive", "oci-archive"):
        theirs.unlink(missing_ok=True)
        source = f"{kind}:{ours}" + (f":{SMALL}" if kind == "docker-archive" else "")
        command = ["skopeo", "copy", "--insecure-policy", "-q", source, f"docker-archive:{theirs}:copied:1"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        theirs.chmod(0o644)
        assert small_carboy("load", "-i", str(theirs)).stdout == "Loaded image: copied:1\n"
        assert small_carboy("run", "--rm", "copied:1", "echo", "here").stdout == "here\n"
