"""Two images in two stores, compared on three levels."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest

from carboy.base.home import open_home
from carboy.comparison import images, reading
from carboy.comparison.images import ARCHIVE, COMPRESSION, DIFFERENT, IDENTICAL, Side, compare_images
from carboy.comparison.reasons import CLOCK, Surroundings
from carboy.oci import mediatypes
from carboy.oci.config import History, RunConfig, make_config
from carboy.oci.descriptor import Descriptor
from carboy.oci.digest import Digest
from carboy.oci.manifest import make_manifest
from carboy.oci.platform import Platform
from carboy.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path

NONE = Surroundings(values={})


def make_tar(files: dict[str, bytes], *, mode: int = 0o644) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as stream:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), mode
            member.pax_headers = {"SCHILY.xattr.user.a": "1"}
            stream.addfile(member, io.BytesIO(data))
    return out.getvalue()


class Bench:
    """Two stores, and images in them."""

    def __init__(self, folder: Path) -> None:
        self.stores = [Store.open(open_home(str(folder / name))) for name in ("one", "other")]

    def make(
        self, number: int, *layers: bytes, compress: bool = False, archive: object = None, env: str = "A=1"
    ) -> Side:
        store = self.stores[number]
        blobs = [gzip.compress(layer, mtime=0) if compress else layer for layer in layers]
        kind = mediatypes.LAYER_TAR + ("+gzip" if compress else "")
        described = tuple(Descriptor(media_type=kind, digest=store.blobs.put(blob), size=len(blob)) for blob in blobs)
        labels = {"io.carboy.archive": json.dumps(archive)} if archive is not None else None
        config = make_config(
            platform=Platform.current(),
            diff_ids=tuple(Digest.of(layer) for layer in layers),
            config=RunConfig(Env=[env], Labels=labels),
            created="1970-01-01T00:00:00Z",
            history=tuple(History(created_by=f"step {number}") for number, _ in enumerate(layers, 1)),
        )
        about = Descriptor(media_type=mediatypes.CONFIG, digest=store.blobs.put(config.raw), size=len(config.raw))
        manifest = make_manifest(config=about, layers=described)
        digest = store.blobs.put(manifest.raw)
        return Side(
            store=store, descriptor=Descriptor(media_type=mediatypes.MANIFEST, digest=digest, size=len(manifest.raw))
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


BASE = make_tar({"etc/a": b"a"})


def test_levels(bench: Bench) -> None:
    image = bench.make(0, BASE, archive={"date_s": 1})
    assert compare_images(image, bench.make(1, BASE, archive={"date_s": 1}), NONE).level == IDENTICAL
    packed = compare_images(image, bench.make(1, BASE, archive={"date_s": 1}, compress=True), NONE)
    assert (packed.level, packed.is_equal, packed.layers) == (COMPRESSION, True, ())
    newer = compare_images(image, bench.make(1, BASE, archive={"date_s": 2}), NONE)
    assert (newer.level, newer.is_equal) == (ARCHIVE, True)
    assert [one.name for one in newer.settings] == ["config.Labels.io.carboy.archive.date_s"]
    other = compare_images(image, bench.make(1, BASE, archive={"date_s": 1}, env="A=2"), NONE)
    assert (other.level, other.is_equal) == (DIFFERENT, False)
    assert [one.name for one in other.settings] == ["config.Env.A"]


def test_files_of_layers_that_differ(bench: Bench) -> None:
    one = make_tar({"b": b"at 1795877321\n", "c": b"c"})
    other = make_tar({"b": b"at 1795877399\n", "c": b"c", "d": b"d"})
    found = compare_images(bench.make(0, BASE, one, compress=True), bench.make(1, BASE, other), NONE)
    assert found.level == DIFFERENT
    (layer,) = found.layers
    assert (layer.number, layer.title, layer.note) == (2, "step 2", "")
    assert [(file.path, file.aspects[0].name) for file in layer.files] == [(b"b", "content"), (b"d", "presence")]
    assert layer.files[0].reason.startswith(CLOCK)


def test_order_and_archives_that_are_written_otherwise(bench: Bench) -> None:
    one, other = make_tar({"a": b"1", "b": b"2"}), make_tar({"b": b"2", "a": b"1"})
    (layer,) = compare_images(bench.make(0, one), bench.make(1, other), NONE).layers
    assert (layer.files, layer.note) == ((), "its members are in another order")
    padded = one + bytes(10240)
    (layer,) = compare_images(bench.make(0, one), bench.make(1, padded), NONE).layers
    assert (layer.files, layer.note) == ((), "its files are the same: only the archive is written otherwise")


def test_a_layer_too_many(bench: Bench) -> None:
    found = compare_images(bench.make(0, BASE), bench.make(1, BASE, make_tar({"x": b""})), NONE)
    (layer,) = found.layers
    assert (layer.number, layer.left, layer.note) == (2, "", "only in the rebuild")


def test_much_is_looked_into_only_so_far(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_EXPLAINED", 1)
    monkeypatch.setattr(reading, "MAX_CONTENT_BYTES", 4)
    one, other = (make_tar({"a": side, "b": side}) for side in (b"1795877321", b"1795877399"))
    (layer,) = compare_images(bench.make(0, one), bench.make(1, other), NONE).layers
    assert len(layer.files) == 2
    assert "too far" in layer.files[1].reason
