import json
from pathlib import Path
from typing import Any

import pytest

from carboy.containers.record import ContainerConfig
from carboy.engine.containers.options.additions import (
    add_to_spec,
    check_address,
    check_groups,
    check_host_name,
    parse_hosts,
    settle_request,
)
from carboy.engine.containers.options.security import (
    check_apparmor,
    check_namespace,
    find_warnings,
    parse_security,
    read_security,
)
from carboy.engine.containers.request import RunRequest, asks_more
from carboy.errors import CarboyError
from carboy.runtime.hostfiles import plan_host_files
from carboy.runtime.spec import DirectoryRoot, FileMount, SandboxSpec


def config(**changes: Any) -> ContainerConfig:
    return ContainerConfig(id="a" * 64, image="x", manifest="m", layers=(), created_at_s=0.0, args=("x",), **changes)


def spec(tier: str = "root") -> SandboxSpec:
    files = plan_host_files(network="none", hostname="me", host_hosts=b"", host_resolv=b"")
    return SandboxSpec(id="a", root=DirectoryRoot(path="/"), args=("x",), tier=tier, env=("A=1", "B=2"), mounts=files)


def settle(**fields: Any) -> RunRequest:
    return settle_request(RunRequest(**fields), tier="root", id_count=65_536, cwd="/here")


def file_of(found: SandboxSpec, target: str) -> FileMount:
    (mount,) = [mount for mount in found.mounts if mount.target == target]
    assert isinstance(mount, FileMount)
    return mount


def test_usual_containers_ask_for_none_of_it():
    assert not asks_more(RunRequest(env=("A=1",), mounts=(("volume", "/a:/b"),)))
    assert asks_more(RunRequest(mounts=(("secret", "/a"),)))


def test_row37_names_and_addresses_bring_no_line_into_a_file():
    for name in ("", "a b", "a\nb", "a\tb", "-a", "a-", "a..b", "a" * 65, "é", "a/b", "a#"):
        with pytest.raises(CarboyError):
            check_host_name(name, option="--hostname")
    for name in ("a", "web-1", "a.example.com", "my_host"):
        check_host_name(name, option="--hostname")
    for address in ("", "x", "1.2.3", "1.2.3.4\n5.6.7.8", "::1\nx", "1.2.3.4 x", "01.2.3.4", "fe80::1%eth0"):
        with pytest.raises(CarboyError):
            check_address(address, option="--dns")
    for text in ("a", "a:", ":1.2.3.4", "a b:1.2.3.4", "a:1.2.3.4\n1.1.1.1 b", "a:host-gateway"):
        with pytest.raises(CarboyError):
            parse_hosts([text])


def test_hosts_and_name_servers_reach_the_files():
    hosts = ("db:192.0.2.1", "six:[2001:db8::1]", "eq=2001:db8::2")
    found = add_to_spec(spec(), config(add_hosts=hosts, dns=("192.0.2.53", "2001:db8::53")))
    lines = file_of(found, "/etc/hosts").content.decode().splitlines()
    assert lines[-3:] == ["192.0.2.1\tdb", "2001:db8::1\tsix", "2001:db8::2\teq"]
    assert file_of(found, "/etc/resolv.conf").content == b"nameserver 192.0.2.53\nnameserver 2001:db8::53\n"


def test_a_secret_is_known_by_its_path_only(tmp_path: Path):
    source = tmp_path / "key"
    source.write_text("canary-1234")
    request = settle(mounts=(("volume", "/a:/b"), ("secret", f"{source}:token"), ("secret", f"id=two,src={source}")))
    assert "canary" not in repr(request)
    assert request.mounts[0] == ("volume", "/a:/b")
    assert request.mounts[1] == ("secret", f"src={source},target=/run/secrets/token,mode=0400")
    found = add_to_spec(spec(), config(mounts=request.mounts))
    secret = file_of(found, "/run/secrets/token")
    assert (secret.content, secret.mode, secret.private) == (b"canary-1234", 0o400, True)
    assert file_of(found, "/run/secrets/two").content == b"canary-1234"


def test_secrets_that_cannot_be_are_refused_when_they_are_asked_for(tmp_path: Path):
    (tmp_path / "large").write_bytes(bytes(500_001))
    (tmp_path / "ok").write_text("x")
    wrong = ("/nowhere/at/all", f"{tmp_path}", f"{tmp_path}/large", "", f"{tmp_path}/ok:../x", f"{tmp_path}/ok:a/b",
             f"id=x,src={tmp_path}/ok,mode=4755", "type=env,id=HOME", "id=x", "/dev/null",
             f"id=x,src={tmp_path}/ok,id=y")  # fmt: skip
    for text in wrong:
        with pytest.raises(CarboyError) as caught:
            settle(mounts=(("secret", text),))
        assert caught.value.code == 125, text
    with pytest.raises(CarboyError):
        settle(mounts=(("secret", f"{tmp_path}/ok:x"), ("secret", f"{tmp_path}/ok:x")))


def test_groups_by_tier():
    check_groups(["docs", "5"], tier="root", id_count=65_536)
    for group in ("", "a:b", "70000", "a\nb"):
        with pytest.raises(CarboyError):
            check_groups([group], tier="root", id_count=65_536)
    with pytest.raises(CarboyError):
        check_groups(["docs"], tier="single", id_count=1)


def test_what_is_so_anyway_is_accepted_and_what_weakens_refused():
    parsed = parse_security(["no-new-privileges", "no-new-privileges:true", "label=disable", "apparmor=unconfined"])
    assert (parsed.seccomp, parsed.apparmor) == ("", "")
    for option in ("no-new-privileges=false", "no-new-privileges:false", "label=type:x", "label:level:s0", "seccomp=", "mask=/x",
                   "systempaths=unconfined", "unmask=ALL", "nonsense", "apparmor=a b", "apparmor=x\nexec y"):  # fmt: skip
        with pytest.raises(CarboyError) as caught:
            parse_security([option])
        assert caught.value.code == 125, option
    with pytest.raises(CarboyError) as caught:
        parse_security(["systempaths=unconfined", "no-new-privileges=false"])
    assert len(caught.value.details.splitlines()) == 2


def test_a_profile_is_kept_as_its_content(tmp_path: Path):
    profile = {"defaultAction": "SCMP_ACT_ALLOW"}
    (tmp_path / "p.json").write_text(json.dumps(profile))
    (kept,) = read_security(["seccomp=p.json"], cwd=str(tmp_path))
    (tmp_path / "p.json").unlink()
    assert json.loads(parse_security([kept]).seccomp) == profile
    assert read_security(["seccomp=unconfined", "seccomp=builtin"], cwd="/") == ("seccomp=unconfined",)
    assert find_warnings(["seccomp=unconfined"])
    assert not find_warnings([kept])
    for content in ("", "[]", "{}", '{"defaultAction": "SCMP_ACT_TRACE"}'):
        (tmp_path / "bad").write_text(content)
        with pytest.raises(CarboyError):
            read_security(["seccomp=bad"], cwd=str(tmp_path))
    with pytest.raises(CarboyError) as caught:
        read_security(["seccomp=gone"], cwd=str(tmp_path))
    assert "gone" in caught.value.brief


def test_row51_apparmor_that_is_absent_stops_the_start(tmp_path: Path):
    (tmp_path / "enabled").write_text("Y\n")
    check_apparmor(str(tmp_path / "enabled"))
    (tmp_path / "enabled").write_text("N\n")
    for path in (tmp_path / "enabled", tmp_path / "gone"):
        with pytest.raises(CarboyError):
            check_apparmor(str(path))


def test_namespaces_are_the_containers_own():
    for kind in ("pid", "ipc", "uts", "userns", "cgroupns"):
        check_namespace(kind, "private")
        for value in ("host", "container:x"):
            with pytest.raises(CarboyError) as caught:
                check_namespace(kind, value)
            assert caught.value.hint
