"""``--output`` as text to values: what buildx takes, and what is refused."""

from __future__ import annotations

import pytest

from carboy.errors import CarboyError
from carboy.images.output.request import Compression, Output, parse_output, parse_outputs
from carboy.oci.reference import Reference


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("out", Output(kind="local", dest="out")),
        ("./a=b", Output(kind="local", dest="./a=b")),  # one field that is no type: a path, as buildx has it
        ("-", Output(kind="tar", dest="-")),
        ("type=local,dest=out", Output(kind="local", dest="out")),
        ("type=tar", Output(kind="tar", dest="-")),
        ("type=tar,dest=f.tar", Output(kind="tar", dest="f.tar")),
        ("type=oci", Output(kind="oci", dest="-")),
        ("type=oci,dest=f", Output(kind="oci", dest="f")),
        ("type=docker", Output(kind="docker")),
        (" TYPE =docker,name=", Output(kind="docker")),
        ("type=docker,dest=-", Output(kind="docker", dest="-")),
        ("type=oci,tar=false,dest=d", Output(kind="oci", dest="d", packed=False)),
        ("type=image", Output(kind="image")),
        ("type=image,push=false", Output(kind="image")),
        ("type=registry", Output(kind="image", push=True)),
        (
            "type=image,name=a:1,push=true,push-by-digest=true,name-canonical=true,registry.insecure=true",
            Output(kind="image", names=(Reference.parse("a:1"),), push=True, by_digest=True, insecure=True),
        ),
        ("type=cacheonly", Output(kind="cacheonly")),
        ('type=tar,"dest=a,b ""c"""', Output(kind="tar", dest='a,b "c"')),
        ("type=oci,dest=f,oci-mediatypes=true,rewrite-timestamp=true", Output(kind="oci", dest="f")),
        (
            'type=image,"name=a:1, team/b"',
            Output(kind="image", names=(Reference.parse("a:1"), Reference.parse("team/b"))),
        ),
        (
            "type=oci,dest=f,compression=zstd,compression-level=19,force-compression=true",
            Output(kind="oci", dest="f", compression=Compression(kind="zstd", level=19, force=True)),
        ),
        (
            "type=oci,compression=gzip,compression-level=0",
            Output(kind="oci", dest="-", compression=Compression(kind="gzip", level=0)),
        ),
    ],
)
def test_what_is_taken(text: str, expected: Output) -> None:
    assert parse_output(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("dest=a,name=b", "type is required"),
        ("type=", "type is required"),
        ("type=rootfs", "no type 'rootfs'"),
        ("type=tar,dest", "'dest' is not KEY=VALUE"),
        ("type=local", "dest is required"),
        ("type=local,dest=-", "cannot be standard output"),
        ("type=oci,tar=false", "dest is required"),
        ("type=docker,tar=false,dest=-", "cannot be standard output"),
        ("type=image,dest=f", "has no dest"),
        ("type=tar,compression=gzip", "knows no 'compression'"),
        ("type=oci,compress=gzip", "knows no 'compress'"),
        ("type=oci,compression=estargz", "no compression 'estargz'"),
        ("type=oci,compression=gzip,compression-level=10", "none of 0 to 9"),
        ("type=oci,compression=zstd,compression-level=-1", "none of 1 to 22"),
        ("type=oci,compression-level=3", "needs compression"),
        ("type=oci,tar=perhaps", "neither true nor false"),
        ('type=oci,dest=a"b', "bare"),
        ('type=oci,"dest=a', "end of data"),
        ('type=oci,"dest=a"b', "expected after"),
        ("type=image,name=UPPER", "not the name of an image"),
        ("type=image,name=a@sha256:" + "0" * 64, "holds a digest"),
        ("type=image,push=perhaps", "neither true nor false"),
        ("type=oci,push=true", "knows no 'push'"),
        ("type=registry,dest=f", "has no dest"),
    ],
)
def test_what_is_refused(text: str, said: str) -> None:
    with pytest.raises(CarboyError) as caught:
        parse_output(text)
    assert said in f"{caught.value.brief}\n{caught.value.details}"
    assert caught.value.hint


def test_several() -> None:
    assert [one.kind for one in parse_outputs(["out", "type=oci,dest=f"], load=True)] == ["local", "oci", "docker"]
    for items in (["-", "type=oci"], ["out", "type=oci,tar=false,dest=out"]):
        with pytest.raises(CarboyError, match="two outputs go to"):
            parse_outputs(items)
    assert parse_outputs([], push=True) == (Output(kind="image", push=True),)
