"""Options that change how a container is confined: sysctls (row 31), profiles (rows 50 and 51), groups, secrets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import older_kernel
import pytest

from carboy.errors import CarboyError
from carboy.runtime.native.start import set_apparmor
from carboy.runtime.sysctls import check_sysctls

if TYPE_CHECKING:
    from pathlib import Path

    from sandboxes import Sandboxes

pytestmark = [pytest.mark.slow, pytest.mark.root]


def file_mount(target: str, content: str, **fields: Any) -> list[object]:
    return ["FileMount", {"target": target, "content": content, **fields}]


def test_row31_a_setting_is_set_before_the_tree_is_read_only(sandboxes: Sandboxes):
    settings = [("net.ipv4.ip_unprivileged_port_start", "80"), ("kernel.msgmax", "9000")]
    script = (
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/msgmax; echo 1 > /proc/sys/kernel/msgmax"
    )
    result = sandboxes.run("sh", "-c", script, sysctls=settings)
    assert result.stdout == "80\n9000\n", result.stderr
    assert "Read-only" in result.stderr
    with open("/proc/sys/kernel/msgmax") as file:
        assert file.read() != "9000\n"


def test_row31_what_the_kernel_does_not_take_stops_the_start(sandboxes: Sandboxes):
    for setting in (("net.ipv4.ip_unprivileged_port_start", "70000"), ("net.ipv4.nope", "1"), ("net.ipv4.conf", "1")):
        result = sandboxes.run("true", sysctls=[setting])
        assert result.status == 125, setting
        assert f"set {setting[0]}" in result.error


@pytest.mark.parametrize(
    ("name", "value"),
    [("kernel.core_pattern", "|/x"), ("kernel.modprobe", "/x"), ("vm.swappiness", "1"), ("net/ipv4/ip_forward", "1"),
     ("net.ipv4..ip_forward", "1"), ("net.ipv4.../x", "1"), ("kernel.shm", "1"), ("kernel.sem.x", "1"), ("", "1"),
     ("net.ipv4.ip_forward", "1\nkernel.x=1"), ("net.ipv4.ip_forward", ""), ("net.ipv4.ip_forward", "$(x)"),
     ("fs.mqueue.", "1"), ("net.core.somaxconn\n", "1")],
)  # fmt: skip
def test_row31_anything_else_is_refused(name: str, value: str):
    with pytest.raises(CarboyError) as caught:
        check_sysctls([(name, value)], network="none")
    assert caught.value.code == 125


def test_row31_the_hosts_network_keeps_its_settings():
    with pytest.raises(CarboyError):
        check_sysctls([("net.core.somaxconn", "1")], network="host")
    assert check_sysctls([("kernel.sem", "1  2\t3 4")], network="host") == (("kernel.sem", "1  2 3 4"),)


def test_groups_are_added_by_the_images_names(sandboxes: Sandboxes):
    result = sandboxes.run("id", "-G", user="ana", groups=["data", "7"])
    if sandboxes.tier != "single":
        assert result.stdout.split() == ["1000", "7", "2000", "2001"], result.stderr
    result = sandboxes.run("id", groups=["nobody-has-it"])
    assert result.status == 125
    assert "no group" in result.error


def test_a_secret_is_the_users_alone_and_leaves_nothing(sandboxes: Sandboxes):
    secret = file_mount("/run/secrets/key", "hush", mode=0o400, private=True)
    result = sandboxes.run(
        "sh", "-c", "stat -c %a:%u /run/secrets/key; cat /run/secrets/key", user="ana", mounts=[secret]
    )
    assert result.stdout == "400:1000\nhush", result.stderr
    result = sandboxes.run("sh", "-c", "echo x > /run/secrets/key", mounts=[secret])
    assert result.status == 1
    if sandboxes.tier != "single":
        result = sandboxes.run(
            "sh",
            "-c",
            "cat /run/secrets/key",
            user="daemon",
            mounts=[file_mount("/run/secrets/key", "hush", mode=0o400)],
        )
        assert "denied" in result.stderr


@pytest.mark.skipif(not older_kernel.has("openat2"), reason="what plays the older kernel is a filter")
def test_row50_without_a_filter_only_when_asked(sandboxes: Sandboxes):
    read = ("grep", "Seccomp:", "/proc/self/status")
    assert sandboxes.run(*read).stdout.split()[1] == "2"
    wanted = "2" if sandboxes.tier == "single" else "0"  # what one id cannot do must still seem to succeed
    assert sandboxes.run(*read, seccomp="unconfined").stdout.split()[1] == wanted
    assert "1" in sandboxes.run("grep", "NoNewPrivs", "/proc/self/status", seccomp="unconfined").stdout
    assert sandboxes.run("chown", "1:1", "/tmp", seccomp="unconfined").status == 0


def test_row50_a_profile_of_dockers_form(sandboxes: Sandboxes):
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
            {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "value": 0, "op": "SCMP_CMP_NE"}]},
        ],
    }
    result = sandboxes.run(
        "sh", "-c", "mkdir /tmp/x; kill -0 $$ && echo asked; kill -9 $$; echo alive", seccomp=json.dumps(profile)
    )
    assert "not supported" in result.stderr
    assert result.stdout == "asked\nalive\n"
    result = sandboxes.run("true", seccomp='{"defaultAction": "SCMP_ACT_NOTIFY"}')
    assert result.status == 125
    assert "cannot be used" in result.error


def test_row51_a_profile_is_read_back(tmp_path: Path):
    (tmp_path / "exec").write_text("")
    with pytest.raises(OSError, match="did not take"):
        set_apparmor("mine", str(tmp_path))  # the kernel would say "mine (enforce)"
    with pytest.raises(FileNotFoundError):
        set_apparmor("mine", str(tmp_path / "gone"))
