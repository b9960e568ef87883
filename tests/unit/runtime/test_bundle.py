"""The bundle's configuration, by what it says."""

from __future__ import annotations

import json
import marshal
from typing import Any

from carboy.linux.seccomp import read_profile
from carboy.runtime.oci.bundle import complete, plan_bundle, plan_limits, plan_process
from carboy.runtime.spec import (
    NO_LIMITS,
    ROOT_TIER_COUNT,
    ROOT_TIER_FIRST_ID,
    BindMount,
    DirectoryRoot,
    FileMount,
    Limits,
    SandboxSpec,
    TmpfsMount,
)

PROCESS = {
    "args": ["sh"], "env": ["PATH=/bin"], "cwd": "/", "terminal": False, "capabilities": ["KILL", "SETUID"], "rlimits": [],
    "pids_limit": 0, "oom_score_adj": None, "apparmor": "",
}  # fmt: skip


def plan(*, gvisor: bool = False, **options: Any) -> dict[str, Any]:
    fields = {"id": "abc", "root": DirectoryRoot(path="/x"), "args": ("sh",), "tier": "root", **options}
    spec = SandboxSpec(**fields)
    return plan_bundle(
        spec, rootfs="/run/root", staged="/run", process=PROCESS, profile=read_profile(), arch="x86_64", gvisor=gvisor
    )


def find_mount(config: dict[str, Any], target: str) -> dict[str, Any]:
    (found,) = [mount for mount in config["mounts"] if mount["destination"] == target]
    return found


def test_it_is_data() -> None:
    config = plan(mounts=(TmpfsMount(target="/tmp"), FileMount(target="/etc/x", content=b"x")))
    assert marshal.loads(marshal.dumps(config)) == config
    assert json.loads(json.dumps(config)) == config


def test_root_has_the_ids_of_the_range() -> None:
    linux = plan()["linux"]
    assert linux["uidMappings"] == linux["gidMappings"]
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": ROOT_TIER_FIRST_ID, "size": ROOT_TIER_COUNT}]
    assert linux["cgroupsPath"] == "/carboy/abc"


def test_a_user_has_no_control_group() -> None:
    linux = plan(tier="subuid")["linux"]
    assert "cgroupsPath" not in linux
    assert linux["resources"] == {}


def test_namespaces() -> None:
    kinds = {"user", "mount", "pid", "ipc", "uts", "cgroup", "network"}
    assert {space["type"] for space in plan()["linux"]["namespaces"]} == kinds
    assert {space["type"] for space in plan(network="host")["linux"]["namespaces"]} == kinds - {"network"}


def test_sys_of_the_hosts_network_is_the_hosts_read_only() -> None:
    mount = find_mount(plan(network="host"), "/sys")
    assert mount["source"] == "/sys"
    assert {"rbind", "ro", "rro", "nosuid", "nodev", "noexec"} <= set(mount["options"])


def test_process_of_root() -> None:
    process = plan()["process"]
    assert process["noNewPrivileges"] is True
    assert process["capabilities"] == {
        "bounding": ["CAP_KILL", "CAP_SETUID"], "effective": ["CAP_KILL", "CAP_SETUID"],
        "permitted": ["CAP_KILL", "CAP_SETUID"], "inheritable": [], "ambient": [],
    }  # fmt: skip
    assert process["rlimits"] == [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]


def test_process_of_another_user() -> None:
    process = plan_process(PROCESS, uid=1000, gid=1, groups=(5, 6), deny_setgroups=False)
    assert process["user"] == {"uid": 1000, "gid": 1, "umask": 0o022, "additionalGids": [5, 6]}
    assert process["capabilities"]["effective"] == process["capabilities"]["permitted"] == []
    assert process["capabilities"]["bounding"] == ["CAP_KILL", "CAP_SETUID"]
    assert "additionalGids" not in plan_process(PROCESS, uid=0, gid=0, groups=(5,), deny_setgroups=True)["user"]


def test_limits_of_the_process() -> None:
    process = {**PROCESS, "rlimits": [(7, 10, -1)], "pids_limit": 9, "oom_score_adj": 100}
    found = plan_process(process, uid=0, gid=0, groups=(), deny_setgroups=False)
    assert found["oomScoreAdj"] == 100
    assert {limit["type"]: (limit["soft"], limit["hard"]) for limit in found["rlimits"]} == {
        "RLIMIT_CORE": (0, 0), "RLIMIT_NPROC": (9, 9), "RLIMIT_NOFILE": (10, 2**64 - 1),
    }  # fmt: skip


def test_limits_of_the_group() -> None:
    limits = Limits(
        cpus=1.5, cpu_shares=512, cpuset_cpus="0-1", cpuset_mems="0", memory_bytes=2**26, memory_reservation_bytes=2**25,
        pids=50, blkio_weight=100,
    )  # fmt: skip
    assert plan_limits(limits, own=True) == {
        "devices": [{"allow": False, "access": "rwm"}],
        "pids": {"limit": 50},
        "cpu": {"quota": 150_000, "period": 100_000, "shares": 512, "cpus": "0-1", "mems": "0"},
        "memory": {"limit": 2**26, "swap": 2**27, "reservation": 2**25},
        "blockIO": {"weight": 100},
    }
    assert plan_limits(Limits(memory_bytes=2**26, memory_swap_bytes=-1), own=True)["memory"]["swap"] == -1
    assert plan_limits(Limits(pids=0), own=True) == {"devices": [{"allow": False, "access": "rwm"}]}
    assert set(plan_limits(NO_LIMITS, own=True)) == {"devices", "pids"}


def test_mounts_are_staged_and_restricted() -> None:
    config = plan(
        mounts=(
            FileMount(target="/data/in/file", content=b"x"),
            BindMount(source="/srv/data", target="/data"),
            BindMount(source="/srv/out", target="/out", read_only=False, recursive=False),
            TmpfsMount(target="/scratch", size_bytes=2**20, noexec=True),
        )
    )
    data, out, scratch, file = (find_mount(config, path) for path in ("/data", "/out", "/scratch", "/data/in/file"))
    assert (data["source"], set(data["options"])) == ("/run/binds/0", {"rbind", "ro", "nosuid", "nodev"})
    assert (out["source"], set(out["options"])) == ("/run/binds/1", {"bind", "rw", "nosuid", "nodev"})
    assert {"size=1048576", "mode=1777", "nr_inodes=1024", "noexec", "nosuid", "nodev", "rw"} == set(scratch["options"])
    assert set(file["options"]) == {"bind", "ro", "nosuid", "nodev", "noexec"}
    order = [mount["destination"] for mount in config["mounts"]]
    assert order.index("/data") < order.index("/data/in/file")
    assert "/srv" not in json.dumps(config), "a runtime sees what was opened and checked, never the path"


def test_gvisor_is_asked_for_what_it_knows() -> None:
    config = plan(gvisor=True, network="host", mounts=(TmpfsMount(target="/scratch"),))
    assert "/dev/mqueue" not in {mount["destination"] for mount in config["mounts"]}
    assert find_mount(config, "/sys")["type"] == "sysfs"
    assert not any(option.startswith("nr_inodes") for option in find_mount(config, "/scratch")["options"])


def test_the_last_moment() -> None:
    config = plan(mounts=(FileMount(target="/data/x", content=b"", optional=True),))
    source = find_mount(config, "/data/x")["source"]
    found = complete(
        config,
        process={"args": ["other"]},
        uid_map=[(0, 5, 1)],
        gid_map=[(0, 6, 1)],
        devices=[("/run/nodes/0", "/dev/fuse", 10, 229, "rw")],
        left_out=frozenset({source}),
    )
    assert found["process"] == {"args": ["other"]}
    assert found["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 5, "size": 1}]
    assert found["linux"]["gidMappings"] == [{"containerID": 0, "hostID": 6, "size": 1}]
    assert "/data/x" not in {mount["destination"] for mount in found["mounts"]}
    assert find_mount(found, "/dev/fuse")["options"] == ["bind", "nosuid", "noexec", "rw"]
    assert found["linux"]["resources"]["devices"][-1] == {
        "allow": True, "type": "a", "major": 10, "minor": 229, "access": "rw",
    }  # fmt: skip
    assert config["linux"]["resources"]["devices"] == [{"allow": False, "access": "rwm"}]


def test_what_is_asked_for_beyond() -> None:
    config = plan(sysctls=(("net.core.somaxconn", "7"),))
    assert config["linux"]["sysctl"] == {"net.core.somaxconn": "7"}
    process = plan_process({**PROCESS, "apparmor": "docker-default"}, uid=0, gid=0, groups=(), deny_setgroups=False)
    assert process["apparmorProfile"] == "docker-default"
    assert "apparmorProfile" not in config["process"]
    assert "sysctl" not in plan()["linux"]
