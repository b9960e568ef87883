"""The options that confine a container otherwise, as a person of each tier writes them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from small_image import SMALL

if TYPE_CHECKING:
    from conftest import Carboy

pytestmark = [pytest.mark.slow, pytest.mark.root]
CANARY = "canary-7f3a91"


def test_names_hosts_groups_and_settings(small_carboy: Carboy):
    script = "cat /etc/hosts /etc/resolv.conf; hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; id -G"
    groups = () if small_carboy.person.tier == "single" else ("--group-add", "docs")
    out = small_carboy(
        "run", "--rm", "--network", "none", "--add-host", "db:192.0.2.7", "--dns", "192.0.2.53", "--hostname", "web.example",
        "--sysctl", "net.ipv4.ip_unprivileged_port_start=81", "--security-opt", "no-new-privileges", "--init",
        *groups, SMALL, "sh", "-c", script,
    ).stdout  # fmt: skip
    assert "192.0.2.7\tdb\n" in out
    assert "nameserver 192.0.2.53\n" in out
    assert "\nweb.example\n81\n" in out
    if groups:
        assert "2000" in out.splitlines()[-1].split()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--privileged",), "--cap-add"),
        (("--pid", "host"), "namespace"),
        (("--userns=host",), "namespace"),
        (("--security-opt", "no-new-privileges=false"), "privileges"),
        (("--security-opt", "systempaths=unconfined"), "hidden"),
        (("--security-opt", "apparmor=mine"), "AppArmor"),
        (("--security-opt", "label=type:x"), "SELinux"),
        (("--sysctl", "kernel.core_pattern=x"), "core_pattern"),
        (("--network", "host", "--sysctl", "net.core.somaxconn=1"), "host"),
        (("--hostname", "a\nb"), "host's name"),
        (("--add-host", "a:1.2.3.4\n1.1.1.1 evil"), "no address"),
        (("--secret", "/nowhere"), "/nowhere"),
        (("--gpus", "all"), "nvidia"),
    ],
)
def test_what_would_weaken_or_is_not_there_is_refused(small_root_carboy: Carboy, options: tuple[str, ...], reason: str):
    for verb in ("run", "create"):
        done = small_root_carboy(verb, *(("--rm",) if verb == "run" else ()), *options, SMALL, "true", expect=125)
        assert reason in done.stderr
    assert small_root_carboy("ps", "-aq").stdout == ""


def test_a_secret_is_read_and_never_kept(small_carboy: Carboy):
    source = small_carboy.temporary / "secret"
    source.write_text(CANARY)
    os.chown(source, small_carboy.person.uid, small_carboy.person.gid)
    source.chmod(0o400)
    user = () if small_carboy.person.tier == "single" else ("--user", "ana")
    small_carboy("rm", "-f", "keeper")
    small_carboy(
        "run",
        "-d",
        "--name",
        "keeper",
        *user,
        "--secret",
        "secret:token",
        SMALL,
        "sleep",
        "1000",
        cwd=small_carboy.temporary,
    )
    try:
        out = small_carboy(
            "exec", "keeper", "sh", "-c", "cat /run/secrets/token; stat -c ' %a' /run/secrets/token"
        ).stdout
        assert out == f"{CANARY} 400\n"
        assert CANARY not in small_carboy("inspect", "keeper").stdout
        small_carboy("restart", "-t", "0", "keeper")
        assert small_carboy("exec", "keeper", "cat", "/run/secrets/token").stdout == CANARY
        container_id = small_carboy("inspect", "-f", "{{.Id}}", "keeper").stdout.strip()
        for folder, _, names in os.walk(small_carboy.home / "containers" / container_id):
            for name in names:
                path = Path(folder, name)
                if path.is_file():
                    assert CANARY.encode() not in path.read_bytes(), path
        source.unlink()
        assert "secret" in small_carboy("restart", "-t", "0", "keeper", expect=1).stderr
    finally:
        small_carboy("rm", "-f", "keeper")


def test_a_filter_of_ones_own_and_none(small_carboy: Carboy, tmp_path: Path):
    profile = small_carboy.temporary / "profile.json"
    rules = [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}))
    option = ("--security-opt", f"seccomp={profile}")
    assert "not permitted" in small_carboy("run", "--rm", *option, SMALL, "mkdir", "/tmp/x", expect=1).stderr
    done = small_carboy("run", "--rm", "--security-opt", "seccomp=unconfined", SMALL, "true")
    assert "warning" in done.stderr


@pytest.fixture
def specification() -> Iterator[str]:
    """A device of a made-up vendor, which is the null device."""
    folder = Path("/etc/cdi")
    made = not folder.exists()
    folder.mkdir(exist_ok=True)
    path = folder / f"carboy-test-{os.getpid()}.json"
    kind = f"carboy-test.example/p{os.getpid()}"
    device = {
        "name": "all",
        "containerEdits": {
            "deviceNodes": [{"path": "/dev/accelerator0", "hostPath": "/dev/null"}],
            "mounts": [
                {"hostPath": "/etc/os-release", "containerPath": "/opt/driver/release", "options": ["ro", "bind"]}
            ],
            "env": ["ACCELERATOR=1"],
        },
    }
    hooked = {"name": "hooked", "containerEdits": {"hooks": [{"hookName": "createRuntime", "path": "/bin/true"}]}}
    path.write_text(json.dumps({"cdiVersion": "0.6.0", "kind": kind, "devices": [device, hooked]}))
    yield kind
    path.unlink()
    if made:
        folder.rmdir()


def test_devices_by_name(small_carboy: Carboy, specification: str):
    script = (
        "test -c /dev/accelerator0 && echo x > /dev/accelerator0 && echo $ACCELERATOR && head -c 6 /opt/driver/release"
    )
    out = small_carboy("run", "--rm", "--gpus", f"{specification}=all", SMALL, "sh", "-c", script).stdout
    assert out.startswith("1\n")
    assert len(out) == 8
    out = small_carboy(
        "run", "--rm", "--device", f"{specification}=all", SMALL, "sh", "-c", "echo > /opt/driver/release", expect=1
    )
    done = small_carboy("run", "--rm", "--device", f"{specification}=hooked", SMALL, "true", expect=125)
    assert "/bin/true" in done.stderr
    assert (
        f"{specification}=all"
        in small_carboy("run", "--rm", "--device", f"{specification}=no", SMALL, expect=125).stderr
    )
