"""Docker's notations for limits, the checks of values, and what needs a privilege."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.errors import CarboyError
from carboy.runtime import limits
from carboy.runtime.native import resources
from carboy.runtime.native.cgroups.hierarchy import Hierarchy
from carboy.runtime.spec import Device, Limits

# --- notations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("4096b", 4096),
        ("64k", 65_536),
        ("64K", 65_536),
        ("512m", 512 * 2**20),
        ("512MB", 512 * 2**20),
        ("1GiB", 2**30),
        ("1.5g", 3 * 2**29),
        (" 2 g ", 2**31),
        ("0.1k", 102),
        ("1t", 2**40),
        ("7p", 7 * 2**50),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert limits.parse_bytes(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "m", "-1", "1e3", "1..5g", "1.g", ".5g", "12x", "1gg", "1kib2", "٣m", "9" * 30, "1 2m", "8192p", "0x10"],
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"size|EiB"):
        limits.parse_bytes(text)


@given(st.text(max_size=20))
def test_any_text_is_a_size_or_a_value_error(text: str) -> None:
    try:
        size = limits.parse_bytes(text)
    except ValueError:
        return
    assert 0 <= size < 2**63


@given(st.integers(0, 2**30), st.sampled_from(["", "b", "k", "m", "g"]))
def test_whole_sizes_are_exact(number: int, unit: str) -> None:
    assert limits.parse_bytes(f"{number}{unit}") == number * 1024 ** ("bkmg".find(unit) if unit else 0)


def test_swap() -> None:
    assert limits.parse_swap("-1") == -1
    assert limits.parse_swap("1g") == 2**30


@pytest.mark.parametrize(("text", "cpus"), [("2", 2.0), ("1.5", 1.5), (".5", 0.5), ("0.01", 0.01)])
def test_cpus(text: str, cpus: float) -> None:
    assert limits.parse_cpus(text) == cpus


@pytest.mark.parametrize("text", ["", ".", "-1", "1.", "nan", "inf", "1e3", "two", "1_0"])
def test_what_is_no_number_of_cpus(text: str) -> None:
    with pytest.raises(ValueError, match="CPUs"):
        limits.parse_cpus(text)


@pytest.mark.parametrize(
    ("text", "numbers"), [("0", (0,)), ("0-3,5", (0, 1, 2, 3, 5)), ("5,0-1,1", (0, 1, 5)), ("7-7", (7,))]
)
def test_lists(text: str, numbers: tuple[int, ...]) -> None:
    assert limits.parse_list(text) == numbers


@pytest.mark.parametrize("text", ["", ",", "1,", "3-1", "a", "-1", "1-", "1-2-3", "0-9999999999", "99999"])
def test_what_is_no_list(text: str) -> None:
    with pytest.raises(ValueError, match="no list"):
        limits.parse_list(text)


@pytest.mark.parametrize(
    ("text", "ulimit"),
    [
        ("nofile=1024:2048", ("nofile", 1024, 2048)),
        ("nofile=1024", ("nofile", 1024, 1024)),
        ("memlock=-1", ("memlock", -1, -1)),
        ("core=0:unlimited", ("core", 0, -1)),
    ],
)
def test_ulimits(text: str, ulimit: tuple[str, int, int]) -> None:
    assert limits.parse_ulimit(text) == ulimit


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("files=1", "'files' is no limit"),
        ("as=1", "'as' is no limit"),
        ("nofile", "no value"),
        ("nofile=", "no value"),
        ("nofile=2:1", "above the hard one"),
        ("nofile=-1:5", "above the hard one"),
        ("nofile=x", "'x' is no number"),
        ("nofile=1:2:3", "'2:3' is no number"),
        ("nofile=-2", "'-2' is no number"),
    ],
)
def test_what_is_no_ulimit(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        limits.parse_ulimit(text)


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("/dev/fuse", ("/dev/fuse", "/dev/fuse", "rwm")),
        ("/dev/sda:r", ("/dev/sda", "/dev/sda", "r")),
        ("/dev/sda:/dev/xvdc", ("/dev/sda", "/dev/xvdc", "rwm")),
        ("/dev/sda:/dev/xvdc:rw", ("/dev/sda", "/dev/xvdc", "rw")),
    ],
)
def test_devices(text: str, device: tuple[str, str, str]) -> None:
    source, target, permissions = device
    assert limits.parse_device(text) == Device(source=source, target=target, permissions=permissions)


@pytest.mark.parametrize(
    "text",
    ["", "fuse", "/dev/a:b", "/dev/a:/dev/b:x", "/dev/a:/dev/b:rr", "/dev/a:m", "/dev/../etc/x", "/a:/b:r:w", "/a:/b:"],
)
def test_what_is_no_device(text: str) -> None:
    with pytest.raises(ValueError, match=r"device|absolute"):
        limits.parse_device(text)


# --- values -------------------------------------------------------------------------------------------------------


def test_defaults_are_fine() -> None:
    assert limits.find_issues(Limits()) == []
    assert Limits(pids=-1) == Limits(pids=0)


def test_all_issues_are_in_one_error() -> None:
    wrong = Limits(
        cpus=0.001, cpu_shares=1, cpuset_cpus="x", memory_bytes=1024, memory_swap_bytes=512, memory_reservation_bytes=2048,
        shm_bytes=0, oom_score_adj=1001, ulimits=(("nofile", 2, 1), ("nofile", 1, 1), ("as", 1, 1)), blkio_weight=5,
    )  # fmt: skip
    with pytest.raises(CarboyError) as caught:
        limits.check_values(wrong)
    text = f"{caught.value.brief}\n{caught.value.details}"
    assert caught.value.code == 125
    for words in (
        "--cpus is", "--cpu-shares", "--cpuset-cpus", "(6m)", "cannot be less than --memory", "--memory-reservation",
        "--shm-size", "--oom-score-adj", "nofile=2:1", "given twice", "no such limit", "--blkio-weight",
    ):  # fmt: skip
        assert words in text


def test_swap_needs_memory() -> None:
    assert "needs --memory" in limits.find_issues(Limits(memory_swap_bytes=2**30))[0]
    assert limits.find_issues(Limits(memory_swap_bytes=-1)) == []
    assert limits.find_issues(Limits(memory_bytes=2**30, memory_swap_bytes=2**30)) == []


# --- what needs a privilege ---------------------------------------------------------------------------------------


def test_hard_limits_that_cannot_be_raised_are_named() -> None:
    asked = Limits(ulimits=(("nofile", 1024, 65_536), ("core", 0, 0), ("memlock", 1, -1)), oom_score_adj=-500)
    now = {"nofile": 4096, "core": -1, "memlock": 8192}
    with pytest.raises(CarboyError) as caught:
        resources.check_privileges(asked, hard_limits=now, oom_score_adj=100, privileged=False)
    text = f"{caught.value.brief}\n{caught.value.details}"
    assert caught.value.code == 125
    assert "nofile: its hard limit here is 4096, which cannot be raised to 65536" in text
    assert "memlock: its hard limit here is 8192, which cannot be raised to unlimited" in text
    assert "less than carboy's own 100" in text
    assert "--ulimit core" not in text
    resources.check_privileges(asked, hard_limits=now, oom_score_adj=100, privileged=True)
    allowed = Limits(ulimits=(("nofile", 10, 4096),), oom_score_adj=100)
    resources.check_privileges(allowed, hard_limits=now, oom_score_adj=100, privileged=False)


# --- devices of this machine --------------------------------------------------------------------------------------


def test_a_device_must_be_there_and_be_one(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for source, message in (("/dev/no-such-device", "there is no device"), (str(file), "is not a device")):
        with pytest.raises(CarboyError, match=message) as caught:
            resources.read_devices((Device(source=source, target=source),), "root")
        assert caught.value.code == 125
    with pytest.raises(CarboyError, match="holds no device"):
        resources.read_devices((Device(source=str(tmp_path), target="/dev/x"),), "root")


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="device nodes are made by root only")
def test_a_folder_of_devices(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b", "a", "sub/c"):
        os.mknod(tmp_path / name, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    (tmp_path / "link").symlink_to("a")
    found = resources.read_devices((Device(source=str(tmp_path), target="/dev/snd/"),), "root")
    assert [item.target for item in found] == ["/dev/snd/a", "/dev/snd/b", "/dev/snd/sub/c"]
    os.chmod(tmp_path / "a", 0o666)


def test_a_user_gives_what_they_have() -> None:
    with pytest.raises(CarboyError, match="cannot be given with 'r' only"):
        resources.read_devices((Device(source="/dev/null", target="/dev/x", permissions="r"),), "single")
    device = Device(source="/dev/null", target="/dev/x", permissions="rw")
    assert resources.read_devices((device,), "single") == (device,)


def test_what_a_container_sees_of_its_limits(tmp_path: Path) -> None:
    for name in ("memory", "cpu,cpuacct", "pids"):
        (tmp_path / name).mkdir()
    (tmp_path / "cpu").symlink_to("cpu,cpuacct")
    limits = Limits(cpus=1, memory_bytes=2**28)
    v1 = Hierarchy(version="v1", v1=tuple((name, f"{tmp_path}/{name}") for name in ("cpu", "memory", "pids")))
    assert resources.list_shown(limits, v1, root=str(tmp_path)) == [
        ("cpu,cpuacct", "cgroup", ("cpu", "cpuacct")), ("memory", "cgroup", ("memory",)), ("pids", "cgroup", ("pids",)),
    ]  # fmt: skip
    v2 = Hierarchy(version="v2", unified=str(tmp_path), v2=("cpu", "memory", "pids"))
    assert resources.list_shown(limits, v2) == [("", "cgroup2", ())]
    mixed = v1.replace(v1=(("memory", f"{tmp_path}/memory"),), v2=("cpu",), unified=f"{tmp_path}/unified")
    assert resources.list_shown(limits, mixed, root=str(tmp_path)) == [
        ("unified", "cgroup2", ()), ("memory", "cgroup", ("memory",)),
    ]  # fmt: skip
