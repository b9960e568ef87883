"""The system call filter as the OCI runtime specification writes it, for runtimes that make their own program of it. Pure.

Our profile is a list whose first fitting rule decides. The OCI form has no order: all rules of a call are handed to
libseccomp, and what two overlapping ones come to is not defined. So the rules of each call are made disjoint here: each is a
*cube* (of every argument some bits are fixed, the others free), and what an earlier rule has decided is cut out of the later
ones. That a call ends with the profile's default is said by naming no rule for it.

Sources: runtime-spec config-linux.md (Seccomp), seccomp_rule_add(3): SCMP_CMP_MASKED_EQ, one comparison for each argument.
"""

from __future__ import annotations

from carboy.linux.seccomp import RET_ERRNO, group_rules, parse_action

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from carboy.linux.seccomp import Profile, Rule

    Cube = tuple[
        tuple[int, int, int], ...
    ]  # (argument, mask, value), by argument; no entry: the argument does not matter

ARCHITECTURES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
ALL_BITS = 64
_ACTIONS = {
    "ALLOW": "SCMP_ACT_ALLOW", "LOG": "SCMP_ACT_LOG", "KILL": "SCMP_ACT_KILL_PROCESS", "TRAP": "SCMP_ACT_TRAP",
}  # fmt: skip


def plan_seccomp(
    profile: Profile, *, caps: frozenset[str], emulate_root: bool, arch: str, gvisor: bool = False
) -> dict[str, Any]:
    """Return ``linux.seccomp`` of a runtime configuration that decides every call as ``profile`` does.

    ``caps`` and ``emulate_root`` as for ``linux.seccomp.compile_profile``. ``gvisor``: a filter there answers EPERM, whatever
    error it is asked for, and C libraries take that for a refusal (no thread could be started: clone3). So what shall look
    as if the kernel had no such call is left to gVisor's kernel, which has few calls and says so by itself.
    Raises ``ValueError`` for an unknown machine.
    """
    if arch not in ARCHITECTURES:
        raise ValueError(f"there is no OCI name for the machine {arch}")
    default = _translate(profile.default, gvisor=gvisor)
    entries: dict[tuple[str, Cube], list[str]] = {}
    for name, rules in group_rules(profile, caps=caps, emulate_root=emulate_root).items():
        for action, cube in decide(rules):
            translated = _translate(action, gvisor=gvisor)
            if translated != default:
                entries.setdefault((translated, cube), []).append(name)
    return {
        **_write_action("defaultAction", "defaultErrnoRet", default),
        "architectures": [ARCHITECTURES[arch]],
        "syscalls": [
            {"names": sorted(names), **_write_action("action", "errnoRet", action), **_write_arguments(cube)}
            for (action, cube), names in entries.items()
        ],
    }


def _translate(action: str, *, gvisor: bool) -> str:
    return "ALLOW" if gvisor and action in {"ENOSYS", "SUCCEED"} else action


def decide(rules: Iterable[Rule]) -> list[tuple[str, Cube]]:
    """Return (action, cube) of a call's ordered rules; no two of the cubes overlap."""
    taken: list[Cube] = []
    decided = []
    for rule in rules:
        for cube in _read_cubes(rule):
            decided += [(rule["action"], piece) for piece in _cut_all([cube], taken)]
            taken.append(cube)
    return decided


def _read_cubes(rule: Rule) -> list[Cube]:
    """Return the cubes of one rule: those where every one of its tests holds."""
    cubes: list[Cube] = [()]
    for argument in rule.get("arguments", ()):
        choices = _read_choices(argument)
        if "none_of" in argument:
            cubes = _cut_all(cubes, choices)
        else:
            joined = (_join(cube, choice) for cube in cubes for choice in choices)
            cubes = [cube for cube in joined if cube is not None]
    return cubes


def _read_choices(argument: dict[str, Any]) -> list[Cube]:
    """Return the values of one test. Without a mask 32 bits count, as in the kernel: the upper half changes no answer."""
    mask = int(argument.get("mask", "0xFFFFFFFF"), 0)
    values = argument.get("any_of") or argument["none_of"]
    return [((argument["index"], mask, int(value, 0) & mask),) for value in values]


def _join(cube: Cube, other: Cube) -> Cube | None:
    """Return what two cubes have in common, None when that is nothing."""
    found = {index: (mask, value) for index, mask, value in cube}
    for index, mask, value in other:
        own_mask, own_value = found.get(index, (0, 0))
        if (own_value ^ value) & own_mask & mask:
            return None
        found[index] = own_mask | mask, own_value | value
    return _make_cube(found)


def _cut_all(pieces: list[Cube], taken: list[Cube]) -> list[Cube]:
    for other in taken:
        pieces = [part for piece in pieces for part in cut(piece, other)]
    return pieces


def cut(cube: Cube, other: Cube) -> list[Cube]:
    """Return disjoint cubes that together are ``cube`` without ``other``."""
    mine = {index: (mask, value) for index, mask, value in cube}
    wanted = {index: (mask, value) for index, mask, value in other}
    for index, (mask, value) in wanted.items():
        own_mask, own_value = mine.get(index, (0, 0))
        if (own_value ^ value) & own_mask & mask:
            return [cube]
    pieces = []
    for index, (mask, value) in wanted.items():
        own_mask, own_value = mine.get(index, (0, 0))
        for position in reversed(range(ALL_BITS)):
            bit = 1 << position
            if not mask & bit or own_mask & bit:
                continue
            # All that agrees with the other in the bits before this one, and differs in this one.
            pieces.append(_make_cube({**mine, index: (own_mask | bit, own_value | (~value & bit))}))
            own_mask, own_value = own_mask | bit, own_value | (value & bit)
            mine[index] = own_mask, own_value
    return pieces


def _make_cube(arguments: dict[int, tuple[int, int]]) -> Cube:
    return tuple(sorted((index, mask, value) for index, (mask, value) in arguments.items()))


def _write_action(name: str, number_name: str, action: str) -> dict[str, Any]:
    if action in _ACTIONS:
        return {name: _ACTIONS[action]}
    return {name: "SCMP_ACT_ERRNO", number_name: parse_action(action) & ~RET_ERRNO}


def _write_arguments(cube: Cube) -> dict[str, Any]:
    if not cube:
        return {}
    return {
        "args": [
            {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
            for index, mask, value in cube
        ]
    }
