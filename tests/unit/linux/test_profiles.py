import json
from typing import Any

import pytest

from carboy.errors import CarboyError
from carboy.linux.profiles import make_open_profile, parse_docker_profile
from carboy.linux.seccomp import Profile, compile_profile


def parse(syscalls: list[dict[str, Any]], *, caps: frozenset[str] = frozenset(), **top: Any) -> Profile:
    document = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": syscalls, **top}
    return parse_docker_profile(
        json.dumps(document).encode(), caps=caps, emulate_root=False, arch="x86_64", release="6.1.0-x"
    )


def rule(name: str, action: str = "SCMP_ACT_ALLOW", **fields: Any) -> dict[str, Any]:
    return {"names": [name], "action": action, **fields}


def names(profile: Profile) -> list[str]:
    return [name for rule in profile.rules for name in rule["names"]]


def test_actions_and_errors():
    assert parse([]).default == "EPERM"
    assert parse([], defaultErrnoRet=38).default == "ENOSYS"
    profile = parse(
        [rule("a", "SCMP_ACT_ERRNO", errnoRet=0), rule("b", "SCMP_ACT_KILL_PROCESS"), rule("c", "SCMP_ACT_LOG")]
    )
    assert [item["action"] for item in profile.rules] == ["SUCCEED", "KILL", "LOG"]


def test_conditions_are_of_this_container_and_machine():
    rules = [
        rule("a", includes={"caps": ["CAP_SYS_ADMIN"]}),
        rule("b", excludes={"caps": ["CAP_SYS_ADMIN"]}),
        rule("c", includes={"arches": ["amd64", "x32"]}),
        rule("d", includes={"arches": ["arm64"]}),
        rule("e", includes={"minKernel": "4.8"}),
        rule("f", includes={"minKernel": "6.9"}),
        {"name": "g", "action": "SCMP_ACT_ALLOW"},
    ]
    assert names(parse(rules)) == ["b", "c", "e", "g"]
    assert names(parse(rules, caps=frozenset({"SYS_ADMIN"}))) == ["a", "c", "e", "g"]


def test_comparisons():
    def argument(**fields: Any) -> dict[str, Any]:
        converted: dict[str, Any] = parse([rule("a", args=[{"index": 1, **fields}])]).rules[0]["arguments"][0]
        return converted

    assert argument(op="SCMP_CMP_EQ", value=5) == {"index": 1, "mask": "0xffffffff", "any_of": ["0x5"]}
    assert argument(op="SCMP_CMP_NE", value=40) == {"index": 1, "none_of": ["0x28"]}
    assert argument(op="SCMP_CMP_MASKED_EQ", value=2114060288, valueTwo=0) == {
        "index": 1, "mask": "0x7e020000", "any_of": ["0x0"],
    }  # fmt: skip


def test_programs_are_made_of_it():
    profile = parse(
        [
            rule("read"),
            rule("socket", args=[{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]),
            rule("clone", args=[{"index": 0, "value": 2114060288, "op": "SCMP_CMP_MASKED_EQ"}]),
        ]
    )
    assert len(compile_profile(profile, emulate_root=False, arch="x86_64")) % 8 == 0
    assert make_open_profile().default == "ALLOW"


@pytest.mark.parametrize(
    "wrong",
    [
        rule("a", "SCMP_ACT_NOTIFY"), rule("a", surprise=1), rule("a", includes={"what": []}), {"action": "SCMP_ACT_ALLOW"},
        rule("a", args=[{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]),
        rule("a", args=[{"index": 0, "value": 1, "op": "SCMP_CMP_GT"}]),
        rule("a", args=[{"index": 0, "value": 2**40, "op": "SCMP_CMP_NE"}]), {"names": [1], "action": "SCMP_ACT_ALLOW"},
        rule("a", "SCMP_ACT_ERRNO", errnoRet=100_000), [], "x",
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused(wrong: Any):
    with pytest.raises(CarboyError) as caught:
        parse([wrong])
    assert caught.value.code == 125
