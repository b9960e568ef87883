"""System call profiles in Docker's form (that of the OCI runtime specification is a part of it), to carboy's own.

The rules of one call are read in their order, and the first that fits decides. What libseccomp could compare and this cannot
(greater, less; values wider than the kernel's own arguments are compared whole) is refused, never approximated. Sources:
moby profiles/seccomp; OCI runtime-spec, config-linux.md ("Seccomp"); seccomp_rule_add(3).
"""

from __future__ import annotations

import errno
import json
import os
from typing import Any

from carboy.errors import CarboyError
from carboy.linux.seccomp import Profile, read_profile

MAX_BYTES = 2**20
_ACTIONS = {
    "SCMP_ACT_ALLOW": "ALLOW",
    "SCMP_ACT_KILL": "KILL",
    "SCMP_ACT_KILL_PROCESS": "KILL",
    "SCMP_ACT_KILL_THREAD": "KILL",
    "SCMP_ACT_LOG": "LOG",
    "SCMP_ACT_TRAP": "TRAP",
}
_ARCHES = {"x86_64": "amd64", "aarch64": "arm64"}
_KEYS = {"name", "names", "action", "errnoRet", "args", "comment", "includes", "excludes"}
_CONDITIONS = {"caps", "arches", "minKernel"}


def parse_docker_profile(
    data: bytes, *, caps: frozenset[str], emulate_root: bool, arch: str | None = None, release: str | None = None
) -> Profile:
    """Return the profile for a container with these capabilities (without prefix) on this machine.

    ``emulate_root`` puts carboy's own rules for containers with one id in front, without which changes of owner would fail.
    Raises ``CarboyError`` (125) for what is not understood.
    """
    arch = _ARCHES.get(arch or os.uname().machine, "")
    release = release or os.uname().release
    if len(data) > MAX_BYTES:
        raise _wrong("it is larger than 1 MiB")
    try:
        document = json.loads(data)
        rules = list(_own_rules()) if emulate_root else []
        for rule in document.get("syscalls") or []:
            if _applies(rule, caps=caps, arch=arch, release=release):
                rules.append(_convert(rule))
        default = _action(document["defaultAction"], document.get("defaultErrnoRet"))
        return Profile(json.dumps({"default": default, "rules": rules}).encode())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _wrong(str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}") from error


def _own_rules() -> list[dict[str, Any]]:
    return [rule for rule in read_profile().rules if rule.get("only_when") == "emulate_root"]


def make_open_profile() -> Profile:
    """Return the profile of ``seccomp=unconfined`` for containers with one id: everything but what must only seem to happen."""
    return Profile(json.dumps({"default": "ALLOW", "rules": _own_rules()}).encode())


def _applies(rule: dict[str, Any], *, caps: frozenset[str], arch: str, release: str) -> bool:
    if not _KEYS.issuperset(rule):
        raise ValueError(f"a rule has {', '.join(sorted(set(rule) - _KEYS))}")
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    if not _CONDITIONS.issuperset(includes) or not _CONDITIONS.issuperset(excludes):
        raise ValueError("a rule has conditions that are not known")
    wanted = {name.removeprefix("CAP_") for name in includes.get("caps") or ()}
    hindering = {name.removeprefix("CAP_") for name in excludes.get("caps") or ()}
    return (
        wanted <= caps
        and not hindering & caps
        and (not includes.get("arches") or arch in includes["arches"])
        and arch not in (excludes.get("arches") or ())
        and ("minKernel" not in includes or _version(release) >= _version(includes["minKernel"]))
        and ("minKernel" not in excludes or _version(release) < _version(excludes["minKernel"]))
    )


def _version(text: str) -> tuple[int, int]:
    major, _, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    return int(major), int(digits or 0)


def _action(name: str, code: int | None) -> str:
    if name == "SCMP_ACT_ERRNO":
        number = errno.EPERM if code is None else code
        if number == 0:
            return "SUCCEED"
        if number not in errno.errorcode:
            raise ValueError(f"there is no error {number}")
        return errno.errorcode[number]
    if name not in _ACTIONS:
        raise ValueError(f"the action {name} needs somebody who answers for the container; there is nobody")
    return _ACTIONS[name]


def _convert(rule: dict[str, Any]) -> dict[str, Any]:
    names = rule.get("names") or [rule["name"]]
    if not all(isinstance(name, str) for name in names):
        raise ValueError("the name of a call is no text")
    converted: dict[str, Any] = {
        "why": "of a profile that was asked for",
        "action": _action(rule["action"], rule.get("errnoRet")),
        "names": names,
    }
    arguments = [_convert_argument(argument) for argument in rule.get("args") or ()]
    if arguments:
        converted["arguments"] = arguments
    return converted


def _convert_argument(argument: dict[str, Any]) -> dict[str, Any]:
    index, value, second = argument["index"], argument.get("value", 0), argument.get("valueTwo", 0)
    if not (0 <= index <= 5 and 0 <= value < 2**64 and 0 <= second < 2**64):
        raise ValueError("the argument of a rule is out of range")
    match argument["op"]:
        case "SCMP_CMP_EQ":
            mask, wanted = (0xFFFFFFFF if value < 2**32 else 2**64 - 1), value
        case "SCMP_CMP_NE":
            if value >= 2**32:
                raise ValueError("SCMP_CMP_NE with a value of more than 32 bits is not supported")
            return {"index": index, "none_of": [hex(value)]}
        case "SCMP_CMP_MASKED_EQ":
            mask, wanted = value, second
        case other:
            raise ValueError(f"the comparison {other} is not supported; there are SCMP_CMP_EQ, _NE and _MASKED_EQ")
    return {"index": index, "mask": hex(mask), "any_of": [hex(wanted & mask)]}


def _wrong(reason: str) -> CarboyError:
    return CarboyError(
        f"the system call profile cannot be used: {reason}",
        hint="leave --security-opt seccomp=... out: carboy's own profile is an allow list",
        code=125,
    )
