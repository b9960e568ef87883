"""The filter in the OCI form decides as the native one does, whatever the order that a runtime takes its rules in."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from carboy.linux.profiles import parse_docker_profile
from carboy.linux.seccomp import (
    RET_ALLOW,
    RET_ERRNO,
    RET_KILL_PROCESS,
    RET_LOG,
    RET_TRAP,
    Profile,
    group_rules,
    parse_action,
    read_profile,
)
from carboy.runtime.oci.filter import cut, plan_seccomp
from carboy.runtime.spec import RUN_CAPABILITIES

ALL_BITS = 2**64 - 1


def decide_native(rules: list[dict[str, Any]], default: str, arguments: list[int]) -> int:
    for rule in rules:
        for argument in rule.get("arguments", ()):
            mask = int(argument.get("mask", "0xFFFFFFFF"), 0)
            values = argument.get("any_of") or argument["none_of"]
            fits = arguments[argument["index"]] & mask in {int(value, 0) & mask for value in values}
            if fits == ("none_of" in argument):
                break
        else:
            return parse_action(rule["action"])
    return parse_action(default)


def decide_oci(document: dict[str, Any], name: str, arguments: list[int]) -> int:
    fitting = [
        rule
        for rule in document["syscalls"]
        if name in rule["names"]
        and all(arguments[test["index"]] & test["value"] == test["valueTwo"] for test in rule.get("args", ()))
    ]
    assert len(fitting) <= 1, "two rules that overlap are decided by their order, which the form does not have"
    if fitting:
        return _number(fitting[0]["action"], fitting[0].get("errnoRet"))
    return _number(document["defaultAction"], document.get("defaultErrnoRet"))


_FIXED = {
    "SCMP_ACT_ALLOW": RET_ALLOW, "SCMP_ACT_KILL_PROCESS": RET_KILL_PROCESS, "SCMP_ACT_LOG": RET_LOG,
    "SCMP_ACT_TRAP": RET_TRAP,
}  # fmt: skip


def _number(action: str, error: int | None) -> int:
    if action in _FIXED:
        return _FIXED[action]
    assert action == "SCMP_ACT_ERRNO"
    assert error is not None
    return RET_ERRNO | error


def sample_arguments(rules: list[dict[str, Any]], chance: random.Random) -> list[list[int]]:
    """Return values near those that the rules name, and any others."""
    named: dict[int, list[int]] = {}
    for rule in rules:
        for argument in rule.get("arguments", ()):
            values = argument.get("any_of") or argument["none_of"]
            named.setdefault(argument["index"], []).extend(int(value, 0) for value in values)
            named[argument["index"]].append(int(argument.get("mask", "0"), 0))
    samples = []
    for _ in range(150):
        arguments = [chance.getrandbits(64) for _ in range(6)]
        for index, values in named.items():
            near = chance.choice(values) ^ chance.choice([0, 0, 0, 1 << chance.randrange(64)])
            arguments[index] = chance.choice([near, near, near | 1 << 40, chance.getrandbits(32)]) & ALL_BITS
        samples.append(arguments)
    return samples


@pytest.mark.slow
@pytest.mark.parametrize("emulate_root", [False, True])
@pytest.mark.parametrize("caps", [RUN_CAPABILITIES, frozenset({"SYS_ADMIN", "NET_RAW", "NET_ADMIN"}), frozenset()])
def test_same_decisions(caps: frozenset[str], emulate_root: bool) -> None:
    profile = read_profile()
    document = plan_seccomp(profile, caps=caps, emulate_root=emulate_root, arch="x86_64")
    chance = random.Random(7)
    for name, rules in group_rules(profile, caps=caps, emulate_root=emulate_root).items():
        for arguments in sample_arguments(rules, chance) if any("arguments" in rule for rule in rules) else [[0] * 6]:
            expected = decide_native(rules, profile.default, arguments)
            assert decide_oci(document, name, arguments) == expected, (name, [hex(value) for value in arguments])


PROFILE = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [
        {"names": ["ioctl"], "action": "SCMP_ACT_LOG", "args": [
            {"index": 1, "value": 5, "op": "SCMP_CMP_NE"},
            {"index": 1, "value": 0xF0, "valueTwo": 0x10, "op": "SCMP_CMP_MASKED_EQ"},
        ]},
        {"names": ["ioctl"], "action": "SCMP_ACT_TRAP", "args": [{"index": 1, "value": 5, "op": "SCMP_CMP_EQ"}]},
        {"names": ["ioctl", "read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
        {"names": ["write"], "action": "SCMP_ACT_KILL", "args": [
            {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"},
        ]},
    ],
}  # fmt: skip


def test_a_profile_that_was_asked_for() -> None:
    caps: frozenset[str] = frozenset()
    profile = parse_docker_profile(json.dumps(PROFILE).encode(), caps=caps, emulate_root=False, arch="x86_64")
    document = plan_seccomp(profile, caps=caps, emulate_root=False, arch="x86_64")
    chance = random.Random(10)
    for name, rules in group_rules(profile, caps=caps, emulate_root=False).items():
        for arguments in sample_arguments(rules, chance):
            assert decide_oci(document, name, arguments) == decide_native(rules, profile.default, arguments)


def test_gvisor_is_left_what_it_does_not_know() -> None:
    """What is refused stays refused; "no such call" becomes gVisor's own answer, as a filter there says EPERM to all."""
    profile = read_profile()
    document = plan_seccomp(profile, caps=RUN_CAPABILITIES, emulate_root=False, arch="x86_64", gvisor=True)
    assert document["defaultAction"] == "SCMP_ACT_ALLOW"
    unknown = parse_action("ENOSYS")
    chance = random.Random(8)
    for name, rules in group_rules(profile, caps=RUN_CAPABILITIES, emulate_root=False).items():
        for arguments in sample_arguments(rules, chance)[:40]:
            expected = decide_native(rules, profile.default, arguments)
            assert decide_oci(document, name, arguments) == (RET_ALLOW if expected == unknown else expected), name


def test_calls_that_no_rule_names() -> None:
    document = plan_seccomp(read_profile(), caps=frozenset(), emulate_root=False, arch="aarch64")
    assert document["architectures"] == ["SCMP_ARCH_AARCH64"]
    assert (document["defaultAction"], document["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 38)


def test_unknown_machine() -> None:
    with pytest.raises(ValueError, match="riscv64"):
        plan_seccomp(read_profile(), caps=frozenset(), emulate_root=False, arch="riscv64")


def test_success_without_effect() -> None:
    profile = Profile(b'{"default": "ENOSYS", "rules": [{"action": "SUCCEED", "names": ["chown"], "why": ""}]}')
    document = plan_seccomp(profile, caps=frozenset(), emulate_root=True, arch="x86_64")
    assert document["syscalls"] == [{"names": ["chown"], "action": "SCMP_ACT_ERRNO", "errnoRet": 0}]


def test_pieces_are_disjoint_and_complete() -> None:
    chance = random.Random(9)
    for _ in range(200):
        cube, other = (_draw_cube(chance) for _ in range(2))
        pieces = cut(cube, other)
        for _ in range(30):
            point = [chance.getrandbits(4) for _ in range(2)]
            inside = _holds(cube, point) and not _holds(other, point)
            assert sum(_holds(piece, point) for piece in pieces) == inside


def _draw_cube(chance: random.Random) -> tuple[tuple[int, int, int], ...]:
    arguments = []
    for index in range(2):
        mask = chance.getrandbits(4)
        if mask:
            arguments.append((index, mask, chance.getrandbits(4) & mask))
    return tuple(arguments)


def _holds(cube: tuple[tuple[int, int, int], ...], point: list[int]) -> bool:
    return all(point[index] & mask == value for index, mask, value in cube)
