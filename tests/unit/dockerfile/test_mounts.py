"""``RUN --mount``: kinds, defaults, and what does not go together."""

from __future__ import annotations

import pytest

from carboy.dockerfile.errors import LanguageError
from carboy.dockerfile.instructions.mounts import Mount, parse_mount, parse_mount_origin
from carboy.dockerfile.words import process


def read(text: str) -> Mount:
    return parse_mount(text, lambda word: process(word, {"D": "/data"}).text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("target=/x", Mount(target="/x")),
        ("source=a,dst=/x,from=build,rw", Mount(source="a", target="/x", origin="build", read_only=False)),
        ("type=bind,src=a,destination=$D,ro=false", Mount(source="a", target="/data", read_only=False)),
        ("type=cache,target=$D", Mount(kind="cache", target="/data", read_only=False)),
        (
            "TYPE=Cache,id=x,target=/c,sharing=locked,mode=0700,uid=1,gid=2,ro",
            Mount(kind="cache", id="x", target="/c", sharing="locked", mode=0o700, uid=1, gid=2),
        ),
        ("type=tmpfs,target=/t,size=1.5g", Mount(kind="tmpfs", target="/t", read_only=False, size_bytes=1536 * 2**20)),
        ("type=secret,id=k,required", Mount(kind="secret", id="k", required=True)),
        ("type=secret,id=k,env=TOKEN", Mount(kind="secret", id="k", env="TOKEN")),
        ("type=ssh,required=true", Mount(kind="ssh", required=True)),
        ('type=bind,"source=a,b",target=/x', Mount(source="a,b", target="/x")),
    ],
)
def test_mounts(text: str, expected: Mount) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type=disk,target=/x", 'unsupported mount type "disk"'),
        ("target", "invalid field 'target' must be a key=value pair"),
        ("type=cache,sharing=mine", 'unsupported sharing value "mine"'),
        ("type=bind,target=/x,sharing=shared", "invalid cache sharing set for bind mount"),
        ("type=bind,target=/x,mode=0755", 'mode not allowed for "bind" type mounts'),
        ("type=tmpfs,target=/x,uid=1", 'uid not allowed for "tmpfs" type mounts'),
        ("type=cache,mode=9", "invalid value 9 for mode"),
        ("type=cache,uid=-1", "invalid value -1 for uid"),
        ("type=cache,size=1m", "unexpected key 'size' for mount type 'cache'"),
        ("type=tmpfs,target=/x,size=big", "invalid value for size: big"),
        ("type=bind,target=/x,required", "unexpected key 'required' for mount type 'bind'"),
        ("type=bind,target=/x,env=A", "unexpected key 'env'"),
        ("type=bind,target=/x,ro=perhaps", "invalid value for readonly: perhaps"),
        ("type=secret", "one of source, target required"),
        ("type=secret,id=a,source=b", "both source and id can't be set"),
        ("type=secret,id=a,from=b", "secret mount should not have a from"),
        ("type=ssh,source=a", "ssh mount should not have a source"),
        ('a"b=c', "bare"),
        ('"type=bind', "a quote is not closed"),
        ('"type=bind"x', "extraneous"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(LanguageError, match=message):
        read(text)


def test_the_origin_is_known_before_any_variable() -> None:
    assert parse_mount_origin("type=bind,from=build,target=$X") == "build"
    with pytest.raises(LanguageError, match="doesn't support variable expansion"):
        parse_mount_origin("from=$X,target=/y")
