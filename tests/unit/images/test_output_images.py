"""Images on their way out: layers compressed otherwise, layouts in folders, what is said of them."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from carboy.base.home import open_home
from carboy.images.archive import SavedImage
from carboy.images.assemble import BuiltLayer, assemble
from carboy.images.output import compress
from carboy.images.output.compress import compress_image
from carboy.images.output.layout import write_layout
from carboy.images.output.metadata import make_metadata
from carboy.images.output.request import Compression
from carboy.layers.apply import commit_tree
from carboy.layers.batch import LayerResult
from carboy.layers.pieces import ANNOTATION, TAIL_BYTES, parse_table, parse_tail
from carboy.oci import mediatypes
from carboy.oci.config import RunConfig
from carboy.oci.descriptor import Descriptor
from carboy.oci.digest import Digest
from carboy.oci.manifest import make_manifest, parse_manifest
from carboy.oci.reference import Reference
from carboy.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from carboy.oci.manifest import Manifest


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(open_home(str(tmp_path / "home")))


def make_layer(store: Store, text: str) -> LayerResult:
    with store.layers.ingest_dir() as ingest:
        with open(f"{ingest}/tree/file", "w", encoding="ascii") as stream:
            stream.write(text * 1000 if len(text) < 1000 else text)
        return commit_tree(store, ingest, mtime_cap=0)


def make_image(store: Store, *texts: str) -> Descriptor:
    layers = [BuiltLayer(layer=make_layer(store, text), created_by="test") for text in texts]
    return assemble(store, layers, config=RunConfig(), created="1970-01-01T00:00:00Z", comment="")


def read(store: Store, image: Descriptor) -> Manifest:
    return parse_manifest(store.blobs.read(image.digest))


def test_layers_are_compressed_and_nothing_else(store: Store) -> None:
    image = make_image(store, "a", "b")
    plain = read(store, image)
    for kind, media_type, unpack in (
        ("gzip", mediatypes.LAYER_GZIP, gzip.decompress),
        ("zstd", mediatypes.LAYER_ZSTD, lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data)),
    ):
        packed = read(store, compress_image(store, image, Compression(kind=kind)))
        assert packed.config == plain.config
        assert {layer.media_type for layer in packed.layers} == {media_type}
        for layer, before in zip(packed.layers, plain.layers, strict=True):
            data = store.blobs.read(layer.digest)
            assert len(data) == layer.size < before.size
            assert unpack(data) == store.blobs.read(before.digest)


def test_the_same_bytes_again_and_made_once(store: Store, tmp_path: Path) -> None:
    image = make_image(store, "a")
    first = compress_image(store, image, Compression(kind="gzip"))
    (layer,) = read(store, first).layers
    assert store.blobs.read(layer.digest)[4:10] == b"\0\0\0\0\0\3"  # no time, no flags for speed, Unix: RFC 1952
    written = (tmp_path / "home" / "store" / "blobs" / "sha256" / layer.digest.hex).stat().st_ino
    assert compress_image(store, image, Compression(kind="gzip")) == first
    assert (tmp_path / "home" / "store" / "blobs" / "sha256" / layer.digest.hex).stat().st_ino == written
    other = Store.open(open_home(str(tmp_path / "other")))
    assert compress_image(other, make_image(other, "a"), Compression(kind="gzip")) == first


def test_what_is_compressed_stays_unless_forced(store: Store) -> None:
    image = make_image(store, "a")
    packed = compress_image(store, image, Compression(kind="gzip"))
    assert compress_image(store, packed, Compression(kind="zstd")) == packed
    assert compress_image(store, packed, Compression(kind="uncompressed")) == packed
    assert compress_image(store, packed, Compression()) == packed
    assert compress_image(store, packed, Compression(kind="uncompressed", force=True)) == image
    (layer,) = read(store, compress_image(store, packed, Compression(kind="zstd", force=True))).layers
    assert layer.media_type == mediatypes.LAYER_ZSTD


def test_one_layer_in_two_compressions_is_made_of_each(store: Store) -> None:
    image = make_image(store, "a", "a")
    plain = read(store, image)
    (packed, _) = read(store, compress_image(store, image, Compression(kind="zstd"))).layers
    both = make_manifest(config=plain.config, layers=(plain.layers[0], packed))
    mixed = Descriptor(media_type=mediatypes.MANIFEST, digest=store.blobs.put(both.raw), size=len(both.raw))
    one, other = read(store, compress_image(store, mixed, Compression(kind="gzip", force=True))).layers
    assert one == other
    assert one.media_type == mediatypes.LAYER_GZIP


def index(folder: Path) -> list[dict[str, Any]]:
    value = json.loads((folder / "index.json").read_text())["manifests"]
    assert isinstance(value, list)
    return value


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_large_layer_is_compressed_in_pieces(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Everybody's decoders read it, it is the same everywhere, and a change in it leaves most pieces what they are."""
    monkeypatch.setattr(compress, "MIN_PIECED_BYTES", 2**20)
    text = random.Random(1).randbytes(2 * 2**20).hex()
    tables = []
    for changed in (text, f"{text[: 2**21]} something else {text[2**21 :]}"):
        image = make_image(store, changed)
        (plain,) = read(store, image).layers
        (packed,) = read(store, compress_image(store, image, Compression(kind=kind))).layers
        data = store.blobs.read(packed.digest)
        done = subprocess.run([kind, "-dc"], input=data, capture_output=True, check=True)
        assert Digest.of(done.stdout) == plain.digest
        size = int(packed.annotations[ANNOTATION])
        tables.append(parse_table(data[-size:], blob_size=len(data)))
        # And found again with what is said of it.
        assert read(store, compress_image(store, image, Compression(kind=kind))).layers == (packed,)
    other = Store.open(open_home(str(tmp_path / "other")))
    again = compress_image(other, make_image(other, changed), Compression(kind=kind))
    assert read(other, again).layers == (packed,)
    assert kind == "zstd" or Digest.of(gzip.decompress(data)) == plain.digest
    assert len(set(tables[0]) - set(tables[1])) <= len(tables[0]) // 2


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_layer_that_is_not_large_is_one_stream(store: Store, kind: str) -> None:
    (packed,) = read(store, compress_image(store, make_image(store, "a"), Compression(kind=kind))).layers
    assert packed.annotations == {}
    assert parse_tail(store.blobs.read(packed.digest)[-TAIL_BYTES:], blob_size=packed.size) == 0


def test_a_layout_in_a_folder_takes_one_image_after_the_other(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "layout"
    one, two = make_image(store, "a"), make_image(store, "a", "b")
    names = (Reference.parse("one:1"),)
    write_layout(store, [SavedImage(descriptor=one, names=names)], str(folder))
    write_layout(store, [SavedImage(descriptor=two, names=())], str(folder))
    write_layout(store, [SavedImage(descriptor=two, names=())], str(folder))
    assert [entry["digest"] for entry in index(folder)] == [str(one.digest), str(two.digest)]
    write_layout(store, [SavedImage(descriptor=two, names=names)], str(folder))
    assert [(entry["digest"], len(entry.get("annotations", {}))) for entry in index(folder)] == [(str(two.digest), 2)]
    blobs = {path.name: path for path in (folder / "blobs" / "sha256").iterdir()}
    assert set(blobs) == {digest.hex for digest in store.blobs.digests()}
    assert (folder / "oci-layout").read_text() == '{"imageLayoutVersion":"1.0.0"}'
    assert not (folder / "manifest.json").exists()


def test_no_link_of_a_layout_is_followed(store: Store, tmp_path: Path) -> None:
    folder, outside = tmp_path / "layout", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (folder / "blobs").symlink_to(outside)
    image = SavedImage(descriptor=make_image(store, "a"), names=())
    with pytest.raises(OSError, match="Not a directory"):
        write_layout(store, [image], str(folder))
    (folder / "blobs").unlink()
    (outside / "index.json").write_text("mine")
    (folder / "oci-layout").symlink_to(outside / "index.json")
    write_layout(store, [image], str(folder))
    assert (outside / "index.json").read_text() == "mine"
    assert [path.name for path in outside.iterdir()] == ["index.json"]


def test_metadata(store: Store) -> None:
    image = make_image(store, "a")
    names = (Reference.parse("a:1"), Reference.parse("quay.example/b:2"))
    config = read(store, image).config
    told = json.loads(make_metadata(image, config=config, created="1970-01-01T00:00:00Z", names=names))
    assert told == {
        "containerimage.config.digest": str(config.digest),
        "containerimage.descriptor": {
            "annotations": {
                "config.digest": str(config.digest),
                "org.opencontainers.image.created": "1970-01-01T00:00:00Z",
            },
            "digest": str(image.digest),
            "mediaType": mediatypes.MANIFEST,
            "size": image.size,
        },
        "containerimage.digest": str(image.digest),
        "image.name": "docker.io/library/a:1,quay.example/b:2",
    }
    assert json.loads(make_metadata(None)) == {}
