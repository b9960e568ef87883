"""What refers to an image, there and back: registries that keep a list of it, those that do not, and those that lie."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import pytest
from registries import Registry, digest_of

from carboy.attest.kept import Document, keep_documents
from carboy.base.home import open_home
from carboy.images.transport.referrers import is_referrers_tag, pull_referrers, push_referrers
from carboy.oci import mediatypes
from carboy.oci.artifact import parse_artifact
from carboy.oci.descriptor import Descriptor
from carboy.oci.digest import Digest
from carboy.oci.errors import InvalidDocumentError
from carboy.oci.manifest import make_manifest
from carboy.remote.errors import RegistryError
from carboy.store.gc import collect
from carboy.store.referrers import Referrers, find_making, find_referrers, note_making
from carboy.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from registries import Server

    from carboy.remote.repository import Repository

RAW = make_manifest(config=Descriptor(media_type=mediatypes.CONFIG, digest=Digest.of(b"{}"), size=2), layers=()).raw
IMAGE = Descriptor(media_type=mediatypes.MANIFEST, digest=Digest.of(RAW), size=len(RAW))
DOCUMENTS = (
    Document(media_type=mediatypes.IN_TOTO, data=b'{"how": 1}', predicate_type="urn:how"),
    Document(media_type=mediatypes.SPDX, data=b'{"what": 1}'),
)
TAG = f"sha256-{IMAGE.digest.hex}"


def open_store(folder: Path) -> Store:
    store = Store.open(open_home(str(folder)))
    store.blobs.put(RAW)
    store.blobs.put(b"{}")
    return store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "home")


def keep(store: Store) -> Referrers:
    return keep_documents(store, IMAGE, DOCUMENTS, created="2026-01-01T00:00:00Z", source="x")


@pytest.mark.parametrize("lists", [True, False])
def test_there_and_back(
    registry: tuple[Registry, Server], repository: Repository, store: Store, tmp_path: Path, lists: bool
) -> None:
    ours = registry[0]
    ours.referrers = lists
    kept = keep(store)
    ours.put("a/b", "1", RAW, mediatypes.MANIFEST)
    for _ in range(2):
        push_referrers(repository, store, IMAGE, kept.manifests)
    assert ours.tags("a/b") == (["1"] if lists else ["1", TAG])
    other = open_store(tmp_path / "other")
    assert pull_referrers(repository, other, IMAGE) == 2
    found = find_referrers(other, IMAGE.digest)
    assert found == Referrers(manifests=kept.manifests)
    artifacts = [parse_artifact(other.blobs.read(one.digest)) for one in found.manifests]
    assert [one.artifact_type for one in artifacts] == [mediatypes.IN_TOTO, mediatypes.SPDX]
    assert [other.blobs.read(one.layers[0].digest) for one in artifacts] == [one.data for one in DOCUMENTS]
    assert all(one.subject == IMAGE for one in artifacts)
    first = json.loads(artifacts[0].raw)
    assert first["annotations"] == {mediatypes.CREATED: "2026-01-01T00:00:00Z", mediatypes.PREDICATE_TYPE: "urn:how"}
    assert first["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"


def test_others_of_the_same_image_stay_in_the_list(
    registry: tuple[Registry, Server], repository: Repository, store: Store
) -> None:
    ours = registry[0]
    foreign = {
        "mediaType": mediatypes.MANIFEST,
        "digest": str(Digest.of(b"x")),
        "size": 1,
        "artifactType": "foreign/one",
    }
    index = {"schemaVersion": 2, "mediaType": mediatypes.INDEX, "manifests": [foreign]}
    ours.put("a/b", TAG, json.dumps(index).encode(), mediatypes.INDEX)
    push_referrers(repository, store, IMAGE, keep(store).manifests)
    kinds = [one["artifactType"] for one in json.loads(ours.manifests["a/b", TAG][1])["manifests"]]
    assert kinds == ["foreign/one", mediatypes.IN_TOTO, mediatypes.SPDX]
    assert pull_referrers(repository, store, IMAGE) == 2  # of the others nothing is known


def test_who_has_nothing_or_fails_gives_nothing(
    registry: tuple[Registry, Server], repository: Repository, store: Store
) -> None:
    ours = registry[0]
    assert pull_referrers(repository, store, IMAGE) == 0
    ours.referrers = True
    assert pull_referrers(repository, store, IMAGE) == 0
    kept = keep(store)
    push_referrers(repository, store, IMAGE, kept.manifests)
    for answer in ((403, {}, b""), (200, {"Content-Type": mediatypes.INDEX}, b"[]")):
        ours.plan("GET referrers", answer)
        assert pull_referrers(repository, store, IMAGE) == 0
    ours.blobs = dict.fromkeys(ours.blobs, b"wrong")
    other = open_store(store_path(store))
    assert pull_referrers(repository, other, IMAGE) == 0
    ours.change = lambda kind, _seen, answer: (405, {}, b"") if kind == "PUT manifest" else answer
    with pytest.raises(RegistryError):
        push_referrers(repository, store, IMAGE, kept.manifests)


def store_path(store: Store) -> Path:
    from pathlib import Path

    return Path(store.home.path).with_name("elsewhere")


def test_what_is_said_of_another_image_is_left(
    registry: tuple[Registry, Server], repository: Repository, store: Store
) -> None:
    ours = registry[0]
    artifact = store.blobs.read(keep(store).manifests[1].digest)
    lie = artifact.replace(IMAGE.digest.hex.encode(), b"0" * 64)
    ours.put("a/b", digest_of(lie), lie, mediatypes.MANIFEST)
    entry = {
        "mediaType": mediatypes.MANIFEST,
        "digest": digest_of(lie),
        "size": len(lie),
        "artifactType": mediatypes.SPDX,
    }
    body = json.dumps({"schemaVersion": 2, "mediaType": mediatypes.INDEX, "manifests": [entry]}).encode()
    ours.put("a/b", TAG, body, mediatypes.INDEX)
    assert pull_referrers(repository, store, IMAGE) == 0


def test_it_stays_as_long_as_the_image(store: Store) -> None:
    kept = keep(store)
    note_making(store, IMAGE.digest, {"how": 1})
    store.refs.set("docker.io/library/a:1", IMAGE)
    collect(store, keep_cache=False)
    assert find_referrers(store, IMAGE.digest) == kept
    assert find_making(store, IMAGE.digest) == {"how": 1}
    store.refs.remove("docker.io/library/a:1")
    collect(store, keep_cache=False)
    assert find_referrers(store, IMAGE.digest) == Referrers()
    assert find_making(store, IMAGE.digest) is None
    assert not list(store.blobs.digests())


def test_the_same_documents_are_the_same_artifacts(store: Store, tmp_path: Path) -> None:
    assert keep(store) == keep(open_store(tmp_path / "other"))


def test_what_is_no_artifact() -> None:
    with pytest.raises(InvalidDocumentError, match="refers to no image"):
        parse_artifact(RAW)
    assert is_referrers_tag(TAG)
    assert not is_referrers_tag("sha256-1")
    assert not is_referrers_tag("1")
    entry = msgspec.structs.replace(IMAGE, artifact_type="a/b")
    assert entry.document().artifact_type == "a/b"
