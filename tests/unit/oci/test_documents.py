import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.oci import mediatypes
from carboy.oci.config import History, RunConfig, make_config, parse_config
from carboy.oci.descriptor import Descriptor
from carboy.oci.digest import Digest
from carboy.oci.document import MAX_DOCUMENT_BYTES
from carboy.oci.errors import InvalidDigestError, InvalidDocumentError
from carboy.oci.index import make_index, parse_index
from carboy.oci.manifest import make_manifest, parse_manifest
from carboy.oci.platform import Platform

BLOB = Descriptor(media_type=mediatypes.LAYER_TAR, digest=Digest.of(b"layer"), size=5)
MANIFEST = make_manifest(config=BLOB, layers=(BLOB, BLOB))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def change(**fields: object) -> bytes:
    return json.dumps(json.loads(MANIFEST.raw) | fields).encode()


def test_a_manifest_is_read_as_it_was_written() -> None:
    assert parse_manifest(MANIFEST.raw) == MANIFEST


def test_raw_bytes_are_kept_whatever_their_form() -> None:
    spaced = json.dumps(json.loads(MANIFEST.raw), indent=3).encode()
    assert parse_manifest(spaced).raw == spaced


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"null", b"{", b"\xff\xfe", b'{"a": NaN}', b'{"schemaVersion":2,"schemaVersion":2}',
        b"[" * 100_000, b'{"a":' * 40 + b"1" + b"}" * 40, b" " * (MAX_DOCUMENT_BYTES + 1),
        change(schemaVersion=1), change(manifests=[]), change(fsLayers=[]), change(mediaType=mediatypes.INDEX),
        change(layers=[{"mediaType": "x", "digest": "sha256:../../x", "size": 1}]),
        change(layers=[{"mediaType": "x", "digest": str(BLOB.digest), "size": -1}]), change(layers=[{}] * 3),
    ],
)  # fmt: skip
def test_hostile_manifests_are_refused(data: bytes) -> None:
    with pytest.raises((InvalidDocumentError, InvalidDigestError)):
        parse_manifest(data)


def test_a_manifest_must_be_what_it_was_announced_as() -> None:
    with pytest.raises(InvalidDocumentError):
        parse_manifest(MANIFEST.raw, media_type=mediatypes.DOCKER_MANIFEST)


def test_an_index_is_not_a_manifest() -> None:
    index = make_index((BLOB,))
    assert parse_index(index.raw) == index
    with pytest.raises(InvalidDocumentError):
        parse_index(MANIFEST.raw)


@given(
    env=st.lists(
        st.tuples(st.from_regex(r"[A-Z_]{1,8}", fullmatch=True), texts.filter(lambda t: "\0" not in t)), max_size=4
    ),
    cmd=st.lists(texts, min_size=1, max_size=4),
    comment=texts,
)
def test_configurations_survive_writing(env: list[tuple[str, str]], cmd: list[str], comment: str) -> None:
    config = make_config(
        platform=Platform(os="linux", architecture="amd64"),
        diff_ids=(BLOB.digest,),
        config=RunConfig(Env=[f"{name}={value}" for name, value in env] or None, Cmd=cmd, WorkingDir="/app"),
        created="2026-01-01T00:00:00Z",
        history=(History(created_by="x", comment=comment),),
    )
    assert parse_config(config.raw) == config


@pytest.mark.parametrize("item", ["novalue", "=x", "A=\0"])
def test_an_environment_that_is_none_is_refused(item: str) -> None:
    document = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": []},
        "config": {"Env": [item]},
    }
    with pytest.raises(InvalidDocumentError):
        parse_config(json.dumps(document).encode())


def test_dockers_nulls_are_read() -> None:
    document = {
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}, "history": None,
        "config": {"Env": None, "Cmd": None, "Labels": None, "Volumes": None, "Healthcheck": None, "Unknown": 1},
    }  # fmt: skip
    assert parse_config(json.dumps(document).encode()).config.Env is None
