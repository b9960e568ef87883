"""Images there and back: documents and layers between a store and a registry that is slow, wrong, hostile, or cut off."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import tarfile
import threading
import time
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest
from registries import Registry, Seen, digest_of, serve

from carboy.base.home import open_home
from carboy.errors import CarboyError
from carboy.images.archive import SavedImage
from carboy.images.transport.pull import pull_documents, pull_layers
from carboy.images.transport.push import push_image
from carboy.images.transport.together import PATIENCE_S, Together
from carboy.layers.errors import LayerError
from carboy.oci import mediatypes
from carboy.oci.digest import Digest
from carboy.oci.errors import InvalidDigestError, InvalidDocumentError
from carboy.oci.platform import Platform
from carboy.oci.reference import Reference
from carboy.remote.errors import RegistryError, UnreachableError
from carboy.remote.repository import Registries
from carboy.remote.settings import read_registries
from carboy.store.errors import CorruptBlobError
from carboy.store.store import Store

if TYPE_CHECKING:
    from registries import Answer, Server

    from carboy.images.transport.pull import PulledDocuments
    from carboy.remote.repository import Repository

HERE = Platform.current()
OTHER = "arm64" if HERE.architecture == "amd64" else "amd64"


class Told:
    """Keeps what is told of transfers."""

    def __init__(self) -> None:
        self.done: dict[str, int] = {}
        self.outcomes: list[str] = []

    def begin(self, digest: Digest, size_bytes: int) -> None:
        self.done[str(digest)] = 0

    def advance(self, digest: Digest, count: int) -> None:
        self.done[str(digest)] += count

    def end(self, digest: Digest, outcome: str) -> None:
        self.outcomes.append(outcome)


def open_registries(folder: Path, config: str = "") -> Registries:
    home = folder / "settings"
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(config)
    return Registries(str(home), {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)})


def name(server: Server, tag: str = "1") -> Reference:
    return Reference.parse(f"{server.host}/a/b:{tag}")


def make_layer(text: bytes) -> tuple[bytes, bytes]:
    """Return a layer of one file, compressed, and its tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as stream:
        member = tarfile.TarInfo("file")
        member.size = len(text)
        stream.addfile(member, io.BytesIO(text))
    return gzip.compress(out.getvalue(), mtime=0), out.getvalue()


class Image:
    """An image as others push it; each part can be made wrong before it is put."""

    def __init__(self, *texts: bytes, architecture: str = HERE.architecture, docker: bool = False) -> None:
        self.layers = [make_layer(text) for text in texts or (b"one", b"two")]
        self.config = {
            "architecture": architecture,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for _, tar in self.layers]},
        }
        self.kind = mediatypes.DOCKER_MANIFEST if docker else mediatypes.MANIFEST
        layer = mediatypes.DOCKER_LAYER_GZIP if docker else mediatypes.LAYER_GZIP
        config = mediatypes.DOCKER_CONFIG if docker else mediatypes.CONFIG
        self.manifest: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": self.kind,
            "config": describe(config, self.raw_config),
            "layers": [describe(layer, data) for data, _ in self.layers],
        }

    @property
    def raw_config(self) -> bytes:
        return json.dumps(self.config).encode()

    @property
    def raw(self) -> bytes:
        return json.dumps(self.manifest).encode()

    @property
    def digest(self) -> str:
        return digest_of(self.raw)

    def put(self, registry: Registry, tag: str = "1") -> Image:
        for data in (self.raw_config, *(data for data, _ in self.layers)):
            registry.put_blob("a/b", data)
        registry.put("a/b", tag, self.raw, self.kind)
        return self

    def entry(self, **more: object) -> dict[str, object]:
        platform = {"os": "linux", "architecture": self.config["architecture"]}
        return {**describe(self.kind, self.raw), "platform": platform, **more}


def describe(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


def put_index(registry: Registry, *entries: dict[str, object], kind: str = mediatypes.INDEX) -> str:
    raw = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": entries}).encode()
    return registry.put("a/b", "1", raw, kind)


def pull(
    repository: Repository,
    store: Store,
    *,
    reference: str = "1",
    platform: Platform | None = None,
    told: Told | None = None,
) -> PulledDocuments:
    named = f"{repository.registry}/{repository.name}{'@' if ':' in reference else ':'}{reference}"
    with store.lease("test"):
        documents = pull_documents(repository, store, Reference.parse(named), platform=platform)
        pull_layers(repository, store, documents, tier_chown=os.getuid() == 0, progress=told or Told())
        return documents


def read_file(store: Store, image: PulledDocuments, layer: int = 0) -> bytes:
    with open(f"{store.layers.path(image.config.diff_ids[layer])}/file", "rb") as stream:
        return stream.read()


# --- pull -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("docker", [False, True])
def test_an_image_comes_and_is_not_fetched_again(
    ours: Registry, repository: Repository, store: Store, docker: bool
) -> None:
    image = Image(docker=docker).put(ours)
    told = Told()
    found = pull(repository, store, told=told)
    assert str(found.descriptor.digest) == str(found.top) == image.digest
    assert [read_file(store, found, 0), read_file(store, found, 1)] == [b"one", b"two"]
    assert told.outcomes == ["Pull complete"] * 2
    assert told.done == {digest_of(data): len(data) for data, _ in image.layers}
    told = Told()
    pull(repository, store, told=told)
    assert told.outcomes == ["Already exists"] * 2
    assert ours.calls["GET blob"] == 3


def test_a_layer_twice_is_fetched_once(ours: Registry, repository: Repository, store: Store) -> None:
    Image(b"same", b"same").put(ours)
    pull(repository, store)
    assert ours.calls["GET blob"] == 2


@pytest.mark.parametrize("ranges", [True, False])
def test_a_connection_that_ends_is_taken_up_where_it_was(
    ours: Registry, repository: Repository, store: Store, registry: tuple[Registry, Server], ranges: bool
) -> None:
    ours.ranges = ranges
    image = Image(os.urandom(300_000)).put(ours)
    ((data, _),) = image.layers
    ours.plan("GET blob", (200, {}, image.raw_config), (200, {"x-cut": "200000"}, data))
    told = Told()
    pull(repository, store, told=told)
    assert told.done == {digest_of(data): len(data)}
    asked = [s.headers.get("range") for s in registry[1].seen if s.path.endswith(digest_of(data))]
    assert asked[0] is None
    assert asked[1] is not None
    assert 0 < int(asked[1].removeprefix("bytes=").removesuffix("-")) <= 200_000
    assert len(asked) == (2 if ranges else 3)


@pytest.mark.parametrize("ranges", [True, False])
def test_one_that_always_ends_is_given_up(ours: Registry, repository: Repository, store: Store, ranges: bool) -> None:
    ours.ranges = ranges
    image = Image(os.urandom(300_000)).put(ours)
    ours.change = lambda kind, seen, answer: (
        (answer[0], {**answer[1], "x-cut": "0" if "range" in seen.headers and ranges else "1000"}, answer[2])
        if kind == "GET blob" and seen.path.endswith(digest_of(image.layers[0][0]))
        else answer
    )
    told = Told()
    with pytest.raises(UnreachableError, match="cannot be reached"):
        pull(repository, store, told=told)
    assert ours.calls["GET blob"] < 20
    assert set(told.done.values()) == {0}
    assert not store.blobs.has(Digest.parse(digest_of(image.layers[0][0])))


def test_a_range_that_is_another_one_begins_anew(ours: Registry, repository: Repository, store: Store) -> None:
    image = Image(os.urandom(300_000)).put(ours)
    ((data, _),) = image.layers
    wrong = {"Content-Range": f"bytes 5-{len(data) - 1}/{len(data)}"}
    ours.plan("GET blob", (200, {}, image.raw_config), (200, {"x-cut": "1000"}, data), (206, wrong, data[5:]))
    found = pull(repository, store)
    assert store.blobs.has(Digest.parse(digest_of(data)))
    assert found.config.diff_ids


def test_wrong_bytes_once_are_fetched_again(ours: Registry, repository: Repository, store: Store) -> None:
    image = Image(b"x").put(ours)
    ((data, _),) = image.layers
    ours.plan("GET blob", (200, {}, image.raw_config), (200, {}, bytes(len(data))))
    told = Told()
    pull(repository, store, told=told)
    assert told.done == {digest_of(data): len(data)}


def test_wrong_bytes_are_not_kept(ours: Registry, repository: Repository, store: Store) -> None:
    image = Image(b"x").put(ours)
    ((data, _),) = image.layers
    ours.blobs["a/b", digest_of(data)] = bytes(len(data))
    with pytest.raises(CorruptBlobError, match="not what was announced"):
        pull(repository, store)
    ours.blobs["a/b", digest_of(data)] = data + b"more"
    with pytest.raises(RegistryError) as caught:
        pull(repository, store)
    assert f"more than the {len(data)} bytes" in caught.value.details
    ours.blobs["a/b", digest_of(data)] = data[:-1]
    with pytest.raises(UnreachableError) as caught:
        pull(repository, store)
    assert f"ended after {len(data) - 1} of {len(data)} bytes" in caught.value.details
    assert not store.blobs.has(Digest.parse(digest_of(data)))
    assert not any(os.scandir(store.blobs.path(Digest.of(b"")).rpartition("/")[0] + "/../../../ingest"))


def test_a_layer_that_the_configuration_does_not_name(ours: Registry, repository: Repository, store: Store) -> None:
    image = Image(b"x")
    image.config["rootfs"] = {"type": "layers", "diff_ids": [digest_of(b"other")]}
    image.manifest["config"] = describe(mediatypes.CONFIG, image.raw_config)
    image.put(ours)
    with pytest.raises(LayerError, match="not the one that the image names"):
        pull(repository, store)
    assert not store.layers.has(Digest.of(b"other"))


def test_an_index_with_what_is_said_and_with_platforms_that_nobody_knows(
    ours: Registry, repository: Repository, store: Store
) -> None:
    here, other = Image(b"here").put(ours, "h"), Image(b"other", architecture=OTHER).put(ours, "o")
    said = json.dumps({"_type": "https://in-toto.io/Statement/v1"}).encode()
    ours.put_blob("a/b", said)
    ours.put_blob("a/b", b"{}")
    about = {
        "schemaVersion": 2,
        "mediaType": mediatypes.MANIFEST,
        "config": describe("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": [describe(mediatypes.IN_TOTO, said)],
        "subject": here.entry(),
    }
    raw = json.dumps(about).encode()
    ours.put("a/b", "s", raw, mediatypes.MANIFEST)
    unknown = {"os": "unknown", "architecture": "unknown"}
    reference = {mediatypes.REFERENCE_TYPE: mediatypes.ATTESTATION, mediatypes.REFERENCE_DIGEST: here.digest}
    top = put_index(
        ours,
        {**describe(mediatypes.MANIFEST, b"?"), "platform": {"os": "plan9", "architecture": "vax"}},
        {**describe(mediatypes.MANIFEST, b"??"), "platform": unknown},
        other.entry(),
        here.entry(),
        {**describe(mediatypes.MANIFEST, raw), "platform": unknown, "annotations": reference},
    )
    found = pull(repository, store)
    assert (str(found.top), str(found.descriptor.digest)) == (top, here.digest)
    assert read_file(store, found) == b"here"
    assert [str(one.digest) for one in found.said] == [digest_of(raw)]
    assert store.blobs.read(Digest.of(said)) == said
    # By the digest of the index, and of the other platform.
    assert str(pull(repository, store, reference=top).descriptor.digest) == here.digest
    wanted = Platform(os="linux", architecture=OTHER)
    assert str(pull(repository, store, platform=wanted).descriptor.digest) == other.digest
    with pytest.raises(CarboyError, match="has nothing for linux/s390x") as caught:
        pull(repository, store, platform=Platform(os="linux", architecture="s390x"))
    assert f"linux/{OTHER}" in caught.value.details


def test_an_index_in_an_index_is_not_followed(ours: Registry, repository: Repository, store: Store) -> None:
    inner = put_index(ours, Image().put(ours, "x").entry())
    platform = {"os": "linux", "architecture": HERE.architecture}
    entry = {"mediaType": mediatypes.INDEX, "digest": inner, "size": 1, "platform": platform}
    put_index(ours, entry)
    with pytest.raises(CarboyError, match="has nothing for") as caught:
        pull(repository, store)
    assert caught.value.details == "there is: nothing that carboy reads"
    put_index(ours, entry, Image(b"real").put(ours, "y").entry(), kind=mediatypes.DOCKER_INDEX)
    assert read_file(store, pull(repository, store)) == b"real"


def test_an_entry_that_is_not_what_the_index_says(ours: Registry, repository: Repository, store: Store) -> None:
    image = Image().put(ours, "x")
    put_index(ours, image.entry(size=5))
    with pytest.raises(InvalidDocumentError, match="not what its index says"):
        pull(repository, store)
    put_index(ours, *[image.entry()] * 1001)
    with pytest.raises(InvalidDocumentError, match="more than 1000 entries"):
        pull(repository, store)


def test_digests_that_are_not_kept_here(ours: Registry, repository: Repository, store: Store) -> None:
    sha512 = "sha512:" + "a" * 128
    for change in ("config", "layers"):
        image = Image(b"x")
        part = image.manifest[change]
        (part if isinstance(part, dict) else part[0])["digest"] = sha512  # type: ignore[index]
        image.put(ours)
        with pytest.raises(InvalidDigestError, match="not sha256"):
            pull(repository, store)
    assert ours.calls["GET blob"] == 1  # no layer was asked for
    put_index(ours, {**Image().put(ours, "x").entry(), "digest": sha512})
    with pytest.raises(CarboyError):
        pull(repository, store)


@pytest.mark.parametrize(
    "kind",
    [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    ],
)
def test_layers_from_elsewhere_are_refused(ours: Registry, repository: Repository, store: Store, kind: str) -> None:
    image = Image(b"x")
    with serve(lambda _: (200, {}, b"")) as elsewhere:
        image.manifest["layers"][0] |= {"mediaType": kind, "urls": [f"http://{elsewhere.host}/layer"]}  # type: ignore[index]
        image.put(ours)
        with pytest.raises(InvalidDocumentError, match="unknown kind"):
            pull(repository, store)
        assert elsewhere.seen == []


def test_addresses_beside_a_usual_layer_are_not_followed(ours: Registry, repository: Repository, store: Store) -> None:
    image = Image(b"x")
    with serve(lambda _: (200, {}, b"")) as elsewhere:
        image.manifest["layers"][0]["urls"] = [f"http://{elsewhere.host}/layer"]  # type: ignore[index]
        image.put(ours)
        assert read_file(store, pull(repository, store)) == b"x"
        assert elsewhere.seen == []


@pytest.mark.parametrize(
    ("media_type", "change", "said"),
    [
        (mediatypes.MANIFEST, {"mediaType": mediatypes.DOCKER_MANIFEST}, "announced as"),
        (mediatypes.MANIFEST, {"manifests": []}, "also an index"),
        (mediatypes.MANIFEST, {"schemaVersion": 1}, "schema version"),
        (mediatypes.MANIFEST, {"fsLayers": []}, "old schema"),
        (mediatypes.INDEX, {}, "also a manifest"),
    ],
)
def test_documents_that_pass_as_something_else(
    ours: Registry, repository: Repository, store: Store, media_type: str, change: dict[str, object], said: str
) -> None:
    image = Image()
    image.manifest |= change
    image.kind = media_type
    image.put(ours)
    with pytest.raises(InvalidDocumentError, match=said):
        pull(repository, store)


def test_another_platform_than_asked_for(ours: Registry, repository: Repository, store: Store) -> None:
    Image(b"x", architecture=OTHER).put(ours)
    assert pull(repository, store).config.platform.architecture == OTHER
    with pytest.raises(CarboyError, match=f"has nothing for {HERE}"):
        pull(repository, store, platform=HERE)


# --- mirrors --------------------------------------------------------------------------------------------------------


def test_mirrors_are_asked_first_and_nothing_depends_on_them(
    ours: Registry, registry: tuple[Registry, Server], store: Store, tmp_path: Path
) -> None:
    image = Image(b"x").put(ours)
    own, mirror = registry[1], Registry()
    image.put(mirror)
    mirror.blobs = {("hub/a/b", digest): data for (_, digest), data in mirror.blobs.items()}
    mirror.manifests = {("hub/a/b", tag): found for (_, tag), found in mirror.manifests.items()}
    with serve(lambda _: None) as gone:
        dead = gone.host
    with serve(mirror.answer) as server, serve(lambda _: (200, {}, b"<html>")) as page:
        config = f'[registries."{own.host}"]\nmirrors = ["{dead}", "http://{page.host}", "{server.host}/hub"]\n'
        with open_registries(tmp_path, config) as registries:
            pull(registries.open(name(own)), store)
            assert ours.calls == {}
            assert own.host in read_registries(str(tmp_path / "settings"))
            assert "example.com" not in read_registries(str(tmp_path / "settings"))
        # One that has other content, or none, is no reason to fail.
        mirror.blobs = dict.fromkeys(mirror.blobs, b"wrong")
        other = Store.open(open_home(str(tmp_path / "other")))
        with open_registries(tmp_path, config) as registries:
            told = Told()
            pull(registries.open(name(own)), other, told=told)
            assert told.done == {digest_of(data): len(data) for data, _ in image.layers}
        assert ours.calls["GET blob"] == 2
        assert ours.calls["GET manifest"] == 0


# --- push -----------------------------------------------------------------------------------------------------------


def push(
    repository: Repository, store: Store, image: PulledDocuments, *tags: str, elsewhere: dict[Digest, str] | None = None
) -> list[str]:
    told = Told()
    saved = SavedImage(descriptor=image.descriptor, names=())
    with store.lease("test"):
        push_image(repository, store, saved, tags, elsewhere=elsewhere or {}, progress=told)
    return sorted(told.outcomes)


def test_an_image_goes_once_and_the_tag_comes_last(
    ours: Registry, repository: Repository, store: Store, registry: tuple[Registry, Server]
) -> None:
    image = Image().put(ours)
    found = pull(repository, store)
    ours.blobs.clear()
    ours.manifests.clear()
    registry[1].seen.clear()
    assert push(repository, store, found, "2") == ["Pushed"] * 3
    assert ours.manifests["a/b", "2"] == (mediatypes.MANIFEST, image.raw)
    assert registry[1].seen[-1].path == "/v2/a/b/manifests/2"
    assert push(repository, store, found, "3") == ["Layer already exists"] * 3
    ours.manifests.clear()
    push(repository, store, found)
    assert list(ours.manifests) == [("a/b", image.digest)]


def test_what_another_repository_has_is_taken_from_there(
    ours: Registry, repository: Repository, store: Store, registry: tuple[Registry, Server], tmp_path: Path
) -> None:
    Image().put(ours)
    found = pull(repository, store)
    elsewhere = {layer.digest: "a/b" for layer in found.manifest.layers}
    with open_registries(tmp_path) as registries:
        other = registries.open(Reference.parse(f"{registry[1].host}/c"))
        assert push(other, store, found, "1", elsewhere=elsewhere) == ["Mounted from a/b"] * 2 + ["Pushed"]
        ours.mount = False
        third = registries.open(Reference.parse(f"{registry[1].host}/d"))
        assert push(third, store, found, "1", elsewhere=elsewhere) == ["Pushed"] * 3


def test_a_tag_is_not_set_when_a_blob_did_not_arrive(ours: Registry, repository: Repository, store: Store) -> None:
    Image().put(ours)
    found = pull(repository, store)
    ours.blobs.clear()
    ours.manifests.clear()
    ours.change = lambda kind, _seen, answer: (500, {}, b"") if kind == "PATCH upload" else answer
    with pytest.raises(UnreachableError):
        push(repository, store, found, "1")
    assert ours.manifests == {}


def test_a_damaged_blob_does_not_leave(ours: Registry, repository: Repository, store: Store) -> None:
    Image(b"x").put(ours)
    found = pull(repository, store)
    ours.blobs.clear()
    ours.manifests.clear()
    path = Path(store.blobs.path(found.manifest.layers[0].digest))
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptBlobError):
        push(repository, store, found, "1")
    assert ours.manifests == {}
    assert ("a/b", str(found.manifest.layers[0].digest)) not in ours.blobs


# --- interrupted ----------------------------------------------------------------------------------------------------


def list_transfers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("transfer")]


def test_the_first_failure_ends_all() -> None:
    together = Together()
    begun: list[int] = []

    def act(number: int) -> None:
        begun.append(number)
        if number == 2:
            raise ValueError(number)
        while True:
            together.check()

    with pytest.raises(ValueError, match="2"):
        together.run(act, range(100))
    assert len(begun) <= 4
    assert list_transfers() == []


def test_nothing_to_do() -> None:
    Together().run(lambda _: None, ())


def test_ctrl_c_does_not_wait_for_a_registry_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carboy.images.transport.together.PATIENCE_S", 0.05)
    assert PATIENCE_S <= 3
    silent, ready = threading.Event(), threading.Event()

    def act(_number: int) -> None:
        ready.set()
        silent.wait(30)

    together = Together()

    def interrupt() -> None:
        ready.wait(5)
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        together.run(act, range(10))
    silent.set()
    for thread in threading.enumerate():
        if thread.name.startswith("transfer"):
            thread.join(5)
    assert list_transfers() == []


def test_ctrl_c_when_the_word_of_an_end_was_taken_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal's handler can run between the return of the wait and the line that would count it."""
    monkeypatch.setattr("carboy.images.transport.together.PATIENCE_S", 60)
    together = Together()

    class Interrupted(SimpleQueue[None]):
        def get(self, block: bool = True, timeout: float | None = None) -> None:
            super().get(block, timeout)
            if timeout is None:
                raise KeyboardInterrupt

    monkeypatch.setattr(together, "_ended", Interrupted())
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        together.run(lambda _number: None, range(3))
    assert time.monotonic() - begin < 30
    assert list_transfers() == []


@pytest.mark.parametrize("direction", ["pull", "push"])
def test_ctrl_c_in_the_middle(
    ours: Registry, repository: Repository, store: Store, direction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Content is there or not there, no tag and no name is; and all threads have ended, however slow the machine is."""
    monkeypatch.setattr("carboy.images.transport.together.PATIENCE_S", 60)
    image = Image(os.urandom(100_000), os.urandom(100_000), b"x").put(ours)
    if direction == "push":
        found = pull(repository, store)
        ours.blobs.clear()
        ours.manifests.clear()
    struck = threading.Event()

    def strike(kind: str, _seen: Seen, answer: Answer) -> Answer:
        if kind in {"GET blob", "PATCH upload"} and len(ours.calls) and not struck.is_set() and ours.calls[kind] > 1:
            struck.set()
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return answer

    ours.change = strike

    def act() -> object:
        return pull(repository, store) if direction == "pull" else push(repository, store, found, "1")

    with pytest.raises(KeyboardInterrupt):
        act()
    assert list_transfers() == []
    assert direction == "pull" or ours.manifests == {}
    ours.change = None
    act()
    assert ours.manifests["a/b", "1"] == (mediatypes.MANIFEST, image.raw)
