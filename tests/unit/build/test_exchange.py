"""Caches in folders: what is asked for, what is written, and what is refused of a folder that nobody vouches for."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from carboy.base.home import open_home
from carboy.build.exchange.arguments import CacheOrigin, CacheTarget, parse_cache_from, parse_cache_to
from carboy.build.exchange.document import CONFIG_TYPE, DIFF_ID, CacheRecord, make_cache, parse_cache
from carboy.build.exchange.local import LocalCache, write_cache
from carboy.errors import CarboyError
from carboy.images.output.request import Compression
from carboy.layers.apply import commit_tree, find_layer
from carboy.layers.batch import LayerResult
from carboy.oci import mediatypes
from carboy.oci.descriptor import Descriptor
from carboy.oci.digest import Digest
from carboy.oci.errors import InvalidDigestError, InvalidDocumentError
from carboy.oci.reference import Reference
from carboy.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = f"layer:{'0' * 64}"


def test_what_is_asked_for() -> None:
    assert parse_cache_to(["type=local,dest=/c", "type=local,dest=a b,mode=max,tag=x,ignore-error=TRUE"]) == (
        CacheTarget(folder="/c"),
        CacheTarget(folder="a b", mode="max", tag="x", may_fail=True),
    )
    assert parse_cache_from(['type=local,"src=a,b"', "type=local,src=c,tag=t"]) == (
        CacheOrigin(folder="a,b"),
        CacheOrigin(folder="c", tag="t"),
    )


def test_what_is_asked_for_of_registries() -> None:
    name = Reference.parse("example.org/app:cache")
    assert parse_cache_to(
        ["type=registry,ref=example.org/app:cache,mode=max,compression=gzip,image-manifest=true"]
    ) == (CacheTarget(image=name, mode="max", compression=Compression(kind="gzip")),)
    short = Reference.parse("user/app")
    assert parse_cache_from(["user/app", "type=registry,ref=example.org/app:cache,registry.insecure=true"]) == (
        CacheOrigin(image=short),
        CacheOrigin(image=name, insecure=True),
    )
    assert [one.where for one in parse_cache_from(["user/app", "type=local,src=c"])] == ["user/app:latest", "local:c"]


@pytest.mark.parametrize(
    ("item", "word"),
    [
        ("type=registry", "ref="),
        ("type=registry,ref=a/b,dest=c", "dest"),
        ("type=registry,ref=a/b,tag=c", "tag"),
        ("type=registry,ref=a/B", "not the name"),
        (f"type=registry,ref=a/b@sha256:{'0' * 64}", "digest"),
        ("type=registry,ref=a,registry.insecure=perhaps", "true or false"),
        ("type=inline", "inline"),
        ("type=gha", "gha"),
        ("type=local", "dest="),
        ("type=local,place=x", "place"),
        ("type=local,dest=", "NAME=VALUE"),
        ("type=local,dest=x,mode=mid", "min or max"),
        ("type=local,dest=x,dest=y", "NAME=VALUE"),
        ("type=local,dest=x,compression=zstd", "compression"),
        ("type=local,dest=x,ignore-error=perhaps", "true or false"),
        ("type=other,ref=x", "type=local"),
        ("", "NAME=VALUE|type=local"),
    ],
)
def test_what_cannot_be_had_is_refused(item: str, word: str) -> None:
    with pytest.raises(CarboyError) as caught:
        parse_cache_to([item])
    assert caught.value.code in {1, 2}
    assert any(part in caught.value.brief for part in word.split("|"))
    with pytest.raises(CarboyError):
        parse_cache_from([item])


def test_the_same_records_are_the_same_bytes() -> None:
    one, two = (
        CacheRecord(key=f"layer:{digit * 64}", digest=Digest.of(digit.encode()), size_bytes=1) for digit in "ab"
    )
    config, manifest = make_cache([one, two, one])
    assert (config, manifest.raw) == (make_cache([two, one])[0], make_cache([two, one])[1].raw)
    assert parse_cache(config) == {one.key: one, two.key: two}
    assert manifest.config.media_type == CONFIG_TYPE
    assert len(manifest.layers) == 2


def test_what_is_said_of_a_packed_layer_stays() -> None:
    record = CacheRecord(key=KEY, digest=Digest.of(b"plain"), size_bytes=5)
    about = {"io.carboy.pieces": "40"}
    packed = Descriptor(media_type=mediatypes.LAYER_GZIP, digest=Digest.of(b"x"), size=1, annotations=about)
    (layer,) = make_cache([record], packed={record.digest: packed})[1].layers
    assert layer.annotations == {**about, DIFF_ID: str(record.digest)}


GOOD = {"key": KEY, "digest": f"sha256:{'1' * 64}", "size": 3}


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"version": 2, "records": []},
        {"version": 1, "records": {}},
        {"version": 1, "records": [1]},
        {"version": 1, "records": [{**GOOD, "key": "launch-record:x"}]},
        {"version": 1, "records": [{**GOOD, "key": KEY + "0"}]},
        {"version": 1, "records": [{**GOOD, "size": -1}]},
        {"version": 1, "records": [{**GOOD, "size": True}]},
        {"version": 1, "records": [{**GOOD, "size": 1.5}]},
        {"version": 1, "records": [{**GOOD, "digest": "../../etc"}]},
        {"version": 1, "records": [{**GOOD, "digest": "md5:00"}]},
        {"version": 1, "records": [GOOD, {**GOOD, "size": 4}]},
        {"version": 1, "records": [GOOD] * 20_001},
    ],
)
def test_a_wrong_document_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises((InvalidDocumentError, InvalidDigestError)):
        parse_cache(json.dumps(value).encode())


# --- folders ------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(open_home(str(tmp_path / "home")))


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store.open(open_home(str(tmp_path / "other")))


def make_layer(store: Store, text: str) -> CacheRecord:
    with store.layers.ingest_dir() as ingest:
        Path(ingest, "tree", "file").write_text(text)
        layer = commit_tree(store, ingest, mtime_cap=0)
    return CacheRecord(key=KEY, digest=layer.diff_id, size_bytes=layer.size_bytes)


def open_cache(folder: Path, said: list[str] | None = None, tag: str = "latest") -> LocalCache:
    return LocalCache.open(CacheOrigin(folder=str(folder), tag=tag), ([] if said is None else said).append)


@pytest.mark.root
def test_a_layer_comes_over(store: Store, other: Store, tmp_path: Path) -> None:
    record = make_layer(store, "hello")
    folder = tmp_path / "cache"
    write_cache(store, CacheTarget(folder=str(folder)), [record])
    before = sorted((path, path.stat().st_ino) for path in folder.rglob("*"))
    write_cache(store, CacheTarget(folder=str(folder)), [record])
    after = sorted((path, path.stat().st_ino) for path in folder.rglob("*"))
    assert [pair for pair in before if pair[0].name != "index.json"] == [p for p in after if p[0].name != "index.json"]
    cache = open_cache(folder)
    assert cache.fetch(f"layer:{'f' * 64}", other) is None
    layer = LayerResult(diff_id=record.digest, size_bytes=record.size_bytes)
    assert cache.fetch(KEY, other) == layer == find_layer(other, KEY)
    assert Path(other.layers.path(record.digest), "file").read_text() == "hello"


@pytest.mark.root
def test_names_in_a_folder_stay(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    for tag in ("one", "two", "one"):
        write_cache(store, CacheTarget(folder=str(folder), tag=tag), [make_layer(store, tag)])
    names = [one["annotations"] for one in json.loads((folder / "index.json").read_bytes())["manifests"]]
    assert sorted(name["org.opencontainers.image.ref.name"] for name in names) == ["one", "two"]
    open_cache(folder, tag="two")
    with pytest.raises(CarboyError, match="no cache 'three'"):
        open_cache(folder, tag="three")


@pytest.mark.root
def test_a_second_platform_adds_to_the_first(store: Store, tmp_path: Path) -> None:
    folder = str(tmp_path / "cache")
    one, two = make_layer(store, "one"), make_layer(store, "two")
    two = CacheRecord(key=f"layer:{'2' * 64}", digest=two.digest, size_bytes=two.size_bytes)
    write_cache(store, CacheTarget(folder=folder), [one])
    write_cache(store, CacheTarget(folder=folder, adds=True), [two])
    assert sorted(record.key for record in open_cache(Path(folder)).records) == [one.key, two.key]
    write_cache(store, CacheTarget(folder=folder), [two])
    assert [record.key for record in open_cache(Path(folder)).records] == [two.key]


def damage(folder: Path, record: CacheRecord) -> Path:
    return folder / "blobs/sha256" / record.digest.hex


def as_link(path: Path) -> None:
    path.rename(path.with_name("aside"))
    path.symlink_to("aside")


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.root
@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(path.read_bytes().replace(b"hello", b"HELLO")),
        lambda path: path.write_bytes(path.read_bytes() + b"more"),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.unlink(),
        as_link,
        as_folder,
        as_pipe,
    ],
    ids=["other bytes", "more", "less", "none", "a link", "a folder", "a pipe"],
)
def test_a_blob_that_is_not_what_it_should_be_is_left_out(
    store: Store, other: Store, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    record = make_layer(store, "hello")
    folder = tmp_path / "cache"
    write_cache(store, CacheTarget(folder=str(folder)), [record])
    change(damage(folder, record))
    said: list[str] = []
    cache = open_cache(folder, said)
    assert cache.fetch(KEY, other) is None
    assert cache.fetch(KEY, other) is None
    assert len(said) == 1
    assert find_layer(other, KEY) is None
    assert not other.blobs.has(record.digest)
    assert other.layers.diff_ids() == []


@pytest.mark.root
@pytest.mark.parametrize(
    ("name", "kind", "link"),
    [
        ("../escaped", tarfile.REGTYPE, ""),
        ("/../../escaped", tarfile.REGTYPE, ""),
        ("a/../../../escaped", tarfile.REGTYPE, ""),
        ("hard", tarfile.LNKTYPE, "../../../../../../etc/passwd"),
    ],
)
def test_a_hostile_tar_with_the_right_digest_is_refused(
    store: Store, other: Store, tmp_path: Path, name: str, kind: bytes, link: str
) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, link, 3 if kind == tarfile.REGTYPE else 0
        archive.addfile(member, io.BytesIO(b"bad"))
    with store.blobs.writer() as writer:
        writer.write(buffer.getvalue())
        digest = writer.commit()
    record = CacheRecord(key=KEY, digest=digest, size_bytes=len(buffer.getvalue()))
    folder = tmp_path / "cache"
    write_cache(store, CacheTarget(folder=str(folder)), [record])
    said: list[str] = []
    cache = open_cache(folder, said)
    found = cache.fetch(KEY, other)
    assert list(tmp_path.rglob("escaped")) == [] or all("/layers/" in str(path) for path in tmp_path.rglob("escaped"))
    assert (found is None) == bool(said)
    assert kind == tarfile.REGTYPE or found is None


@pytest.mark.root
def test_a_document_that_is_not_what_it_should_be_is_refused(store: Store, tmp_path: Path) -> None:
    record = make_layer(store, "hello")
    good = tmp_path / "cache"
    write_cache(store, CacheTarget(folder=str(good)), [record])
    index = json.loads((good / "index.json").read_bytes())
    manifest = good / "blobs/sha256" / index["manifests"][0]["digest"][7:]
    config = good / "blobs/sha256" / json.loads(manifest.read_bytes())["config"]["digest"][7:]
    for path in (manifest, config, good / "index.json"):
        for data in (b"", b"{", path.read_bytes()[:-1] + b" }", b"x" * (5 * 2**20)):
            bad = tmp_path / "bad"
            shutil.copytree(good, bad)
            (bad / path.relative_to(good)).write_bytes(data)
            if data.endswith(b" }") and path.name == "index.json":
                open_cache(bad)
            else:
                with pytest.raises(CarboyError):
                    open_cache(bad)
            shutil.rmtree(bad)
    with pytest.raises(CarboyError, match="read the cache"):
        open_cache(tmp_path / "nowhere")
    image = json.loads(manifest.read_bytes())
    image["config"]["mediaType"] = "application/vnd.oci.image.config.v1+json"
    data = json.dumps(image).encode()
    name = hashlib.sha256(data).hexdigest()
    (good / "blobs/sha256" / name).write_bytes(data)
    index["manifests"][0] |= {"digest": f"sha256:{name}", "size": len(data)}
    (good / "index.json").write_text(json.dumps(index))
    with pytest.raises(CarboyError, match="no build cache of carboy's"):
        open_cache(good)


@pytest.mark.root
def test_a_link_in_the_folder_leads_nowhere(store: Store, tmp_path: Path) -> None:
    record = make_layer(store, "hello")
    outside = tmp_path / "outside"
    outside.mkdir()
    folder = tmp_path / "cache"
    (folder / "blobs").mkdir(parents=True)
    (folder / "blobs/sha256").symlink_to(outside)
    with pytest.raises(CarboyError, match="elsewhere"):
        write_cache(store, CacheTarget(folder=str(folder)), [record])
    assert list(outside.iterdir()) == []
