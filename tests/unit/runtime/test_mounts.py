"""The notations of -v, --mount and --tmpfs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.errors import CarboyError
from carboy.runtime.mounts import (
    KINDS,
    MountRequest,
    format_mount,
    parse_mount,
    parse_tmpfs,
    parse_volume,
    plan_requests,
)

CWD = "/home/ana/work"


def bind(source: str, target: str, **options: Any) -> MountRequest:
    return MountRequest(kind="bind", source=source, target=target, **options)


def volume(source: str, target: str, **options: Any) -> MountRequest:
    return MountRequest(kind="volume", source=source, target=target, **options)


def tmpfs(target: str, **options: Any) -> MountRequest:
    return MountRequest(kind="tmpfs", target=target, **{"noexec": True, **options})


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("/srv:/data", bind("/srv", "/data")),
        ("/srv/:/data/", bind("/srv", "/data")),
        ("//srv//a/../b:/data/./x/../y//", bind("/srv/b", "/data/y")),
        ("/srv:/data:ro", bind("/srv", "/data", read_only=True)),
        ("/srv:/data:rw", bind("/srv", "/data")),
        ("/srv:/data:ro,noexec,nosuid,nodev,Z", bind("/srv", "/data", read_only=True, noexec=True)),
        ("/srv:/data:z,rprivate,cached", bind("/srv", "/data")),
        ("/srv:/data:bind", bind("/srv", "/data", recursive=False)),
        ("/srv:/data:idmap", bind("/srv", "/data", idmap="owner")),
        ("/srv:/data:idmap=none,ro", bind("/srv", "/data", idmap="none", read_only=True)),
        (".:/data", bind(CWD, "/data")),
        ("..:/data", bind("/home/ana", "/data")),
        ("./data:/data", bind(f"{CWD}/data", "/data")),
        ("../data:/data", bind("/home/ana/data", "/data")),
        ("/a b/ü:/data", bind("/a b/ü", "/data")),
        ("cache:/data", volume("cache", "/data")),
        ("my_vol.1-x:/data:ro,nocopy", volume("my_vol.1-x", "/data", read_only=True, copy_up=False)),
        ("/data", volume("", "/data")),
        ("/procession:/processes", bind("/procession", "/processes")),
        ("/srv:/dev/shm", bind("/srv", "/dev/shm")),
        ("/srv:/../data", bind("/srv", "/data")),
    ],
)
def test_volume(text: str, request_: MountRequest) -> None:
    assert parse_volume(text, cwd=CWD) == request_


@pytest.mark.parametrize(
    ("text", "brief", "hint"),
    [
        ("", "must be absolute", "begins with /"),
        (":", "invalid volume specification: ':'", "SOURCE:TARGET"),
        ("data", "invalid mount path: 'data' mount path must be absolute", "write /data"),
        ("/srv:", "invalid volume specification", "SOURCE:TARGET"),
        (":/data", "invalid volume specification", "SOURCE:TARGET"),
        ("/a:/b:ro:x", "invalid volume specification", "SOURCE:TARGET"),
        ("/data:ro", "invalid volume specification: '/data:ro'", "--mount type=volume,dst=/data,ro"),
        ("/srv:data", "invalid mount path: 'data'", "write /data"),
        ("/srv:/", "destination can't be '/'", "below it"),
        ("/srv:/..", "destination can't be '/'", "below it"),
        ("/srv:/proc", "cannot be mounted over", "--device"),
        ("/srv:/x/../proc/sys", "cannot be mounted over", ""),
        ("/srv:/sys/fs/cgroup", "cannot be mounted over", ""),
        ("/srv:/dev/", "cannot be mounted over", "--device"),
        ("~/data:/data", "the shell left the ~", "write $HOME/data"),
        ("~ana/data:/data", "the shell left the ~", "write the path out"),
        ("data/sub:/data", "If you intended to pass a host directory, use absolute path", "write $PWD/data/sub"),
        ("a:/data", "too short", ""),
        ("x" * 129 + ":/data", "too long", ""),
        ("/srv:/data:rx", "invalid mode: rx", "the options are"),
        ("/srv:/data:ro,rw", "invalid mode: ro,rw", "once"),
        ("/srv:/data:ro,ro", "invalid mode", "once"),
        ("/srv:/data:shared", "would let mounts out", "leave it out"),
        ("/srv:/data:rslave", "would let mounts out", ""),
        ("/srv:/data:dev", "nosuid and nodev", "--device"),
        ("/srv:/data:U", "would change the owners", "idmap=owner"),
        ("/srv:/data:nocopy", "does not go with a bind mount", ""),
        ("vol:/data:idmap", "does not go with a volume mount", ""),
        ("/srv:/data:idmap=me", "idmap=me is unknown", "owner"),
        ("/s\0rv:/data", "zero byte", ""),
        ("/srv:/da\0ta", "zero byte", ""),
    ],
)
def test_wrong_volume(text: str, brief: str, hint: str) -> None:
    with pytest.raises(CarboyError) as info:
        parse_volume(text, cwd=CWD)
    assert brief in info.value.brief
    assert hint in info.value.hint
    assert info.value.code == 125


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("type=bind,src=/srv,dst=/data", bind("/srv", "/data")),
        ("type=bind,source=/srv,target=/data,readonly", bind("/srv", "/data", read_only=True)),
        ("type=BIND,source=/srv,destination=/data,ro=true", bind("/srv", "/data", read_only=True)),
        ("type=bind,src=/srv,dst=/data,ro=0", bind("/srv", "/data")),
        ("type=bind,src=./x,dst=/data,bind-nonrecursive", bind(f"{CWD}/x", "/data", recursive=False)),
        ("type=bind,src=/srv,dst=/data,bind-recursive=disabled", bind("/srv", "/data", recursive=False)),
        ("type=bind,src=/srv,dst=/data,bind-recursive=readonly,ro", bind("/srv", "/data", read_only=True)),
        ("type=bind,src=/srv,dst=/data,bind-propagation=rprivate,consistency=cached", bind("/srv", "/data")),
        ("type=bind,src=/srv,dst=/data,idmap=owner,noexec", bind("/srv", "/data", idmap="owner", noexec=True)),
        ('type=bind,"src=/a,b",dst=/data', bind("/a,b", "/data")),
        ('type=bind,"src=/a""b",dst=/data', bind('/a"b', "/data")),
        ("type=volume,src=cache,dst=/data", volume("cache", "/data")),
        ("src=cache,dst=/data,volume-nocopy,volume-driver=local", volume("cache", "/data", copy_up=False)),
        ("dst=/data,ro", volume("", "/data", read_only=True)),
        ("type=tmpfs,dst=/data", tmpfs("/data")),
        (
            "type=tmpfs,dst=/data,tmpfs-size=64m,tmpfs-mode=0700,noexec=false",
            tmpfs("/data", size_bytes=64 * 2**20, mode=0o700, noexec=False),
        ),
    ],
)
def test_mount(text: str, request_: MountRequest) -> None:
    assert parse_mount(text, cwd=CWD) == request_


@pytest.mark.parametrize(
    ("text", "brief"),
    [
        ("", "value is empty"),
        ("type=bind", "target is required"),
        ("type=bind,dst=/x", "field Source must not be empty"),
        ("type=bind,src=vol,dst=/x", "mount path must be absolute"),
        ("type=volume,src=/srv,dst=/x", "is a path"),
        ("type=npipe,src=/srv,dst=/x", "invalid mount type: npipe"),
        ("type=tmpfs,src=/srv,dst=/x", "no source"),
        ("type=tmpfs,dst=/x,tmpfs-size=lots", "invalid value for size"),
        ("type=tmpfs,dst=/x,tmpfs-mode=0888", "invalid value for mode"),
        ("type=tmpfs,dst=/x,bind-nonrecursive", "cannot mix 'bind-*' options with mount type 'tmpfs'"),
        ("type=bind,src=/srv,dst=/x,volume-nocopy", "cannot mix 'volume-*' options"),
        ("type=bind,src=/srv,dst=/x,bind-propagation=rshared", "would let mounts out"),
        ("type=bind,src=/srv,dst=/x,bind-propagation=huh", "invalid value for bind-propagation"),
        ("type=bind,src=/srv,dst=/x,bind-recursive=writable", "invalid value for bind-recursive"),
        ("type=bind,src=/srv,dst=/x,readonly=perhaps", "invalid value for readonly: perhaps"),
        ("type=bind,src=/srv,dst=/x,nosuid=false", "invalid value for nosuid"),
        ("type=bind,src=/srv,dst=/x,colour=red", "unexpected key 'colour' in 'colour=red'"),
        ("type=bind,src=/srv,dst=/x,word", "invalid field 'word' must be a key=value pair"),
        ("type=bind,src=/srv,src=/etc,dst=/x", "given twice"),
        ("type=bind,src=/srv,dst=/x,target=/y", "given twice"),
        ("type=volume,src=vol,dst=/x,volume-driver=nfs", "volume-driver is not supported"),
        ("type=volume,src=vol,dst=/x,volume-subpath=a", "volume-subpath is not supported"),
        ("type=volume,src=vol,dst=/x,idmap=owner", "does not go with"),
        ('type=bind,"src=/srv,dst=/x', "no record of CSV"),
        ('type=bind,"src=/srv"x,dst=/x', "no record of CSV"),
    ],
)
def test_wrong_mount(text: str, brief: str) -> None:
    with pytest.raises(CarboyError) as info:
        parse_mount(text, cwd=CWD)
    assert brief in info.value.brief
    assert info.value.code == 125


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("/x", tmpfs("/x")),
        ("/x:size=1g,mode=755", tmpfs("/x", size_bytes=2**30, mode=0o755)),
        ("/x:exec,ro,nosuid", tmpfs("/x", noexec=False, read_only=True)),
        ("/x:rw,noexec,nosuid,nodev,size=65536k", tmpfs("/x", size_bytes=2**26)),
    ],
)
def test_tmpfs(text: str, request_: MountRequest) -> None:
    assert parse_tmpfs(text) == request_


@pytest.mark.parametrize(
    "text", ["", "x", "/", "/x:size", "/x:size=0", "/x:mode=7777", "/x:suid", "/x:shared", "/x:uid=3"]
)
def test_wrong_tmpfs(text: str) -> None:
    with pytest.raises(CarboyError):
        parse_tmpfs(text)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(CarboyError) as info:
        plan_requests(
            volumes=["/srv:/a", "~/x:/b", "vol:/a/", "/c"], mounts=["type=bind,dst=/d"], tmpfs=["/c/../c", "e"], cwd=CWD
        )
    lines = info.value.details.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        "-v ~/x:/b", "-v vol:/a/", "--mount type=bind,dst=/d", "--tmpfs /c/../c", "--tmpfs e",
    ]  # fmt: skip
    assert "Duplicate mount point: /a" in lines[1]
    assert info.value.code == 125


def test_volumes_of_the_image() -> None:
    found = plan_requests(volumes=["/srv:/data"], image_volumes=["/data/", "/var/lib/x", "/", "nonsense", "/proc/x"])
    assert found == (bind("/srv", "/data"), volume("", "/var/lib/x"))


WORDS = st.text(st.sampled_from("/.:,=~\"'\0 \nabro") | st.characters(), max_size=40)


@given(text=WORDS)
@pytest.mark.parametrize("parse", [parse_volume, parse_mount, parse_tmpfs])
def test_any_text_is_a_request_or_an_error(parse: Any, text: str) -> None:
    try:
        request = parse(text)
    except CarboyError:
        return
    check(request)


@given(
    kind=st.sampled_from(KINDS),
    source=st.text(st.sampled_from("/.ab~"), max_size=8),
    target=st.text(st.sampled_from("/.ab"), max_size=12),
    read_only=st.booleans(),
)
def test_both_notations_mean_the_same(kind: str, source: str, target: str, read_only: bool) -> None:
    long = f"type={kind},dst={target}" + (f",src={source}" if source else "") + (",ro" if read_only else "")
    try:
        request = parse_mount(long, cwd=CWD)
    except CarboyError:
        return
    check(request)
    if kind != "tmpfs" and source:
        assert parse_volume(f"{source}:{target}" + (":ro" if read_only else ""), cwd=CWD) == request


def check(request: MountRequest) -> None:
    assert parse_mount(format_mount(request)) == request
    parts = request.target.split("/")
    assert parts[0] == ""
    assert len(parts) > 1
    assert not set(parts[1:]) & {"", ".", ".."}
    assert parts[1] not in {"proc", "sys"}
    assert request.kind in KINDS
    if request.kind == "bind":
        assert request.source.startswith("/")
        assert ".." not in request.source.split("/")
    else:
        assert "/" not in request.source
