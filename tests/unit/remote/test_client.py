"""The calls of the API, against a registry with the ways of many."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from registries import Registry, Seen, digest_of, fail, serve

from carboy.base.web import WebSettings
from carboy.oci.descriptor import Descriptor
from carboy.oci.digest import Digest
from carboy.oci.mediatypes import DOCKER_MANIFEST, INDEX, MANIFEST
from carboy.remote.client import RegistryClient
from carboy.remote.errors import NotThereError, RegistryError
from carboy.remote.settings import Endpoint
from carboy.remote.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registries import Answer, Server

RAW = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": {}, "layers": []}).encode()
DATA = b"content" * 1000
BLOB = Descriptor(media_type="t", digest=Digest.of(DATA), size=len(DATA))


@pytest.fixture
def client(registry: tuple[Registry, Server]) -> Iterator[RegistryClient]:
    host = registry[1].host
    endpoint = Endpoint(registry=host, host=host, insecure=True)
    found = RegistryClient(Transport(endpoint, web=WebSettings(), sleep=lambda _: None))
    yield found
    found.close()


@pytest.fixture
def ours(registry: tuple[Registry, Server]) -> Registry:
    return registry[0]


# --- manifests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "told", [MANIFEST, f"{MANIFEST}; charset=utf-8", f" {MANIFEST} ;x=y", "application/json", "text/plain", ""]
)
def test_the_kind_of_a_manifest(ours: Registry, client: RegistryClient, told: str) -> None:
    ours.put("a/b", "1", RAW, told)
    found = client.fetch_manifest("a/b", "1")
    assert (found.raw, found.media_type, str(found.digest)) == (RAW, MANIFEST, digest_of(RAW))
    by_digest = client.fetch_manifest("a/b", digest_of(RAW))
    assert by_digest == found


@pytest.mark.parametrize(
    ("told", "raw"),
    [
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", b'{"schemaVersion": 1, "fsLayers": []}'),
        ("application/vnd.docker.distribution.manifest.v1+json", b'{"schemaVersion": 1}'),
        ("application/json", b'{"schemaVersion": 1, "fsLayers": []}'),
        ("application/vnd.example.artifact+json", RAW),
        ("text/html", b"<html>"),
        ("application/json", b"{"),
        ("application/json", b'{"mediaType": 5}'),
        ("application/json", b'{"mediaType": ["a"]}'),
    ],
)
def test_what_is_no_image(ours: Registry, client: RegistryClient, told: str, raw: bytes) -> None:
    ours.put("a/b", "1", raw, told)
    with pytest.raises(RegistryError) as caught:
        client.fetch_manifest("a/b", "1")
    assert "no image that carboy reads" in caught.value.brief or "not valid JSON" in caught.value.details
    assert caught.value.hint


def test_all_kinds_are_asked_for(ours: Registry, client: RegistryClient, registry: tuple[Registry, Server]) -> None:
    ours.put("a/b", "1", RAW, MANIFEST)
    client.fetch_manifest("a/b", "1")
    accepted = registry[1].seen[-1].headers["accept"]
    assert all(kind in accepted for kind in (MANIFEST, INDEX, DOCKER_MANIFEST))


def test_the_digest_is_of_what_came(ours: Registry, client: RegistryClient) -> None:
    ours.put("a/b", "1", RAW, MANIFEST)
    ours.tells_digest = False
    assert str(client.fetch_manifest("a/b", "1").digest) == digest_of(RAW)
    ours.tells_digest = True
    wrong = {"Content-Type": MANIFEST, "Docker-Content-Digest": digest_of(b"other")}
    ours.plan("GET manifest", (200, wrong, RAW))
    with pytest.raises(RegistryError, match="answers what it must not"):
        client.fetch_manifest("a/b", "1")
    ours.plan("GET manifest", (200, {**wrong, "Docker-Content-Digest": "nonsense"}, RAW))
    assert client.fetch_manifest("a/b", "1").raw == RAW
    ours.manifests["a/b", digest_of(b"other")] = MANIFEST, RAW
    ours.tells_digest = False
    with pytest.raises(RegistryError, match="answers what it must not") as caught:
        client.fetch_manifest("a/b", digest_of(b"other"))
    assert f"in place of {digest_of(b'other')}" in caught.value.details


def test_manifests_end(ours: Registry, client: RegistryClient) -> None:
    ours.plan("GET manifest", (200, {"Content-Type": MANIFEST}, b"x" * (4 * 2**20 + 1)))
    with pytest.raises(RegistryError) as caught:
        client.fetch_manifest("a/b", "1")
    assert "a manifest of more than 4194304 bytes" in caught.value.details
    ours.put("a/b", "1", RAW, MANIFEST)
    ours.plan("GET manifest", (200, {"Content-Type": MANIFEST, "x-cut": "10"}, RAW))
    assert client.fetch_manifest("a/b", "1").raw == RAW  # at the second attempt


def test_what_is_not_there(ours: Registry, client: RegistryClient) -> None:
    with pytest.raises(NotThereError, match=r"there is no image a/b:1 at 127\.0\.0\.1") as caught:
        client.fetch_manifest("a/b", "1")
    assert caught.value.details == "MANIFEST_UNKNOWN: manifest unknown"
    with pytest.raises(NotThereError, match=f"there is no image a/b@{digest_of(b'')} at"):
        client.fetch_manifest("a/b", digest_of(b""))


def test_what_a_registry_has_after_a_manifest_is_put(ours: Registry, client: RegistryClient) -> None:
    assert str(client.send_manifest("a/b", "1", RAW, media_type=MANIFEST)) == digest_of(RAW)
    assert ours.manifests["a/b", "1"] == (MANIFEST, RAW)
    ours.tells_digest = False
    client.send_manifest("a/b", "2", RAW, media_type=MANIFEST)
    ours.plan("PUT manifest", (201, {"Docker-Content-Digest": digest_of(b"")}, b""))
    with pytest.raises(RegistryError, match="answers what it must not"):
        client.send_manifest("a/b", "3", RAW, media_type=MANIFEST)
    ours.plan("PUT manifest", fail(400, "MANIFEST_INVALID", "no"))
    with pytest.raises(RegistryError) as caught:
        client.send_manifest("a/b", "3", RAW, media_type=MANIFEST)
    assert caught.value.details == "MANIFEST_INVALID: no"


# --- tags -----------------------------------------------------------------------------------------------------------


def test_tags_that_are_none(ours: Registry, client: RegistryClient) -> None:
    assert client.list_tags("a/b") == []
    for tags, wanted in (
        (None, []),
        (
            ["1", None, "sha256:" + "0" * 64, "1", 5, "v_2.a-b", "../x", "a/b", "\x1b[2J", "", "-x", "x" * 129],
            ["1", "v_2.a-b"],
        ),
    ):
        ours.plan("GET tags", (200, {}, json.dumps({"name": "a/b", "tags": tags}).encode()))
        assert client.list_tags("a/b") == wanted
    for body in (b"[]", b"{", b'{"tags": {"a": 1}}', b'{"tags": "latest"}'):
        ours.plan("GET tags", (200, {}, body))
        with pytest.raises(RegistryError, match="answers what it must not"):
            client.list_tags("a/b")
    ours.plan("GET tags", fail(404, "NAME_UNKNOWN", "repository name not known"))
    with pytest.raises(NotThereError):
        client.list_tags("a/b")


@pytest.mark.parametrize("form", ['</v2/a/b/tags/list?last={last}&n=2>; rel="next"', "<?last={last}&n=2>; rel=next"])
def test_tags_come_in_pages(ours: Registry, client: RegistryClient, form: str) -> None:
    names = [f"v{number}" for number in range(5)]

    def page(seen: Seen) -> Answer:
        start = names.index(seen.query["last"][0]) + 1 if "last" in seen.query else 0
        part = names[start : start + 2]
        more = {"Link": form.format(last=part[-1])} if start + 2 < len(names) else {}
        return 200, more, json.dumps({"tags": part}).encode()

    ours.plan("GET tags", page, page, page)
    assert client.list_tags("a/b") == names


def test_pages_end(ours: Registry, client: RegistryClient) -> None:
    same = {"Link": '</v2/a/b/tags/list?last=1>; rel="next"'}
    ours.plan("GET tags", *[(200, same, b'{"tags": ["1"]}')] * 50)
    assert client.list_tags("a/b") == ["1"]
    assert ours.calls["GET tags"] == 2


# --- blobs ----------------------------------------------------------------------------------------------------------


def test_a_blob_is_read_no_further_than_announced(ours: Registry, client: RegistryClient) -> None:
    got = bytearray()
    ours.plan("GET blob", (200, {}, DATA + b"more"))
    with pytest.raises(RegistryError, match="answers what it must not"):
        client.read_blob("a/b", BLOB, got.extend)
    assert len(got) <= len(DATA)


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("status", [202, 201, 204])
def test_uploads(
    ours: Registry, client: RegistryClient, registry: tuple[Registry, Server], relative: bool, status: int
) -> None:
    """ECR answers 201 to PATCH; addresses are whole ones or none, and keep the query that they come with."""
    ours.relative, ours.patch_status = relative, status
    assert not client.has_blob("a/b", BLOB.digest)
    client.send_blob("a/b", BLOB, lambda: iter((DATA[:3000], DATA[3000:])))
    assert client.has_blob("a/b", BLOB.digest)
    assert ours.blobs["a/b", str(BLOB.digest)] == DATA
    put = next(seen for seen in registry[1].seen if seen.method == "PUT")
    assert put.query == {"_state": ["a/b"], "digest": [str(BLOB.digest)]}
    patch = next(seen for seen in registry[1].seen if seen.method == "PATCH")
    assert patch.headers["content-length"] == str(len(DATA))
    assert "transfer-encoding" not in patch.headers


def test_an_upload_that_breaks_begins_anew(ours: Registry, client: RegistryClient) -> None:
    opened = []

    def body() -> Iterator[bytes]:
        opened.append(1)
        yield DATA

    ours.plan("PATCH upload", (500, {}, b""), None)
    ours.plan("PUT upload", (502, {}, b""))
    client.send_blob("a/b", BLOB, body)
    assert len(opened) == 4
    assert ours.blobs["a/b", str(BLOB.digest)] == DATA


def test_uploads_that_a_registry_does_not_take(ours: Registry, client: RegistryClient) -> None:
    ours.plan("POST upload", (202, {}, b""))
    with pytest.raises(RegistryError) as caught:
        client.send_blob("a/b", BLOB, lambda: (DATA,))
    assert "no address for an upload" in caught.value.details
    ours.plan("POST upload", fail(403, "DENIED", "read only"))
    with pytest.raises(RegistryError, match="refuses access"):
        client.send_blob("a/b", BLOB, lambda: (DATA,))
    other = Descriptor(media_type="t", digest=Digest.of(b"x"), size=len(DATA))
    with pytest.raises(RegistryError) as caught:
        client.send_blob("a/b", other, lambda: (DATA,))
    assert "DIGEST_INVALID" in caught.value.details


def test_mounts(ours: Registry, client: RegistryClient, registry: tuple[Registry, Server]) -> None:
    digest = Digest.parse(ours.put_blob("c/d", DATA))
    assert client.mount_blob("a/b", digest, source="c/d")
    assert ours.blobs["a/b", str(digest)] == DATA
    ours.mount = False
    assert not client.mount_blob("x", digest, source="c/d")
    assert ours.uploads == {}  # what the refused one began is ended
    assert registry[1].seen[-1].method == "DELETE"
    ours.plan("DELETE upload", (500, {}, b""))
    assert not client.mount_blob("x", digest, source="c/d")
    ours.plan("DELETE upload", None)
    assert not client.mount_blob("x", digest, source="c/d")
    for status in (405, 401, 403, 404):
        ours.plan("POST upload", (status, {}, b""), (status, {}, b""))
        assert not client.mount_blob("x", digest, source="c/d")


def test_a_page_in_the_place_of_a_registry() -> None:
    page = (200, {"Content-Type": "text/html"}, b"<html>welcome</html>")
    with serve(lambda _: page) as server:
        endpoint = Endpoint(registry=server.host, host=server.host, insecure=True)
        client = RegistryClient(Transport(endpoint, web=WebSettings(), sleep=lambda _: None))
        with pytest.raises(RegistryError):
            client.fetch_manifest("a/b", "1")
        client.close()
