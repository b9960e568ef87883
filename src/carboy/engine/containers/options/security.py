"""``--security-opt`` and the options that would share the host's namespaces: what is done, and what is refused with its reason.

Nothing here makes a container weaker without a word: what weakens it is refused, or (``seccomp=unconfined``) said.
"""

from __future__ import annotations

import os

from carboy.errors import CarboyError
from carboy.runtime.spec import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_PROFILE_BYTES = 2**20
APPARMOR = "/sys/module/apparmor/parameters/enabled"
_NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-/:")
_FIXED = "what is hidden and read-only in a container is fixed"
_REFUSED = {
    "no-new-privileges": "no program of a container can gain privileges; --cap-add gives capabilities from the start",
    "label": "carboy does not label files for SELinux, so a label would keep the container from its own files",
    "systempaths": "what /proc and /sys show of the host stays hidden",
    "mask": _FIXED,
    "unmask": _FIXED,
    "proc-opts": _FIXED,
    "writable-cgroups": _FIXED,
    "seccomp": "it needs a value",
    "apparmor": "it needs a value",
}
_INSTEAD = {
    "pid": "`carboy top` and `carboy exec` look into a container from outside",
    "ipc": "share a folder (-v), or run the programs in one container",
    "uts": "--hostname sets the container's own name",
    "userns": "--user names who it runs as; --mount ...,idmap=owner makes its files the caller's",
    "cgroupns": "limits are options of their own: --memory, --cpus",
}


class Security(Value):
    """What was asked for: ``seccomp`` is "" (carboy's filter), "unconfined" or a profile as JSON; ``apparmor`` a name."""

    __slots__ = ("apparmor", "seccomp")
    apparmor: str
    seccomp: str

    def __init__(self, *, seccomp: str = "", apparmor: str = "") -> None:
        self._set(seccomp=seccomp, apparmor=apparmor)


def parse_security(options: Iterable[str]) -> Security:
    """Return what ``--security-opt`` options ask for, each as "name=value" or "name:value". Pure.

    Raises ``CarboyError`` (125) that lists everything that is refused.
    """
    fields: dict[str, str] = {}
    issues = []
    for option in options:
        name, value = _split(option)
        if name in {"seccomp", "apparmor"} and value:
            fields[name] = value
        else:
            reason = _find_issue(name, value)
            if reason:
                issues.append(f"{option.partition(chr(10))[0][:60]}: {reason}")
    apparmor = fields.get("apparmor", "")
    if not _NAME.issuperset(apparmor) or len(apparmor) > 200:
        issues.append("apparmor: the profile's name holds characters that no name has")
    if issues:
        raise CarboyError("a security option cannot be used", details="\n".join(issues), hint="leave it out", code=125)
    return Security(seccomp=fields.get("seccomp", ""), apparmor="" if apparmor == "unconfined" else apparmor)


def _split(option: str) -> tuple[str, str]:
    """Return name and value; Docker's old form has a colon, which values of the new one hold, too."""
    equals, colon = option.find("="), option.find(":")
    at = min((place for place in (equals, colon) if place >= 0), default=len(option))
    return option[:at], option[at + 1 :]


def _find_issue(name: str, value: str) -> str:
    """Return why an option is refused, "" when it asks for what is so anyway."""
    if (name, value) in {("no-new-privileges", ""), ("no-new-privileges", "true"), ("label", "disable")}:
        return ""
    return _REFUSED.get(
        name, "there is no such option; there are seccomp=, apparmor=, no-new-privileges and label=disable"
    )


def read_security(options: Sequence[str], *, cwd: str) -> tuple[str, ...]:
    """Return the options as a container keeps them: a profile that is named by its file is replaced by what stands in it.

    So a container starts with the profile that it was made with. Raises ``CarboyError`` (125), also when AppArmor is asked
    for and this machine has none.
    """
    security = parse_security(options)
    if security.apparmor:
        check_apparmor()
    kept = []
    for option in options:
        name, value = _split(option)
        if name == "seccomp" and value not in {"unconfined", "default", "builtin"}:
            value = _read_profile(os.path.join(cwd, value))
        kept.append(f"{name}={value}" if value else name)
    return tuple(option for option in kept if option not in {"seccomp=default", "seccomp=builtin"})


def check_apparmor(path: str = APPARMOR) -> None:
    """Raise ``CarboyError`` (125) unless AppArmor is on: a profile that was asked for is never left out (row 51)."""
    try:
        with open(path, "rb") as file:
            if file.read(1) == b"Y":
                return
    except OSError:
        pass
    raise CarboyError(
        "this machine has no AppArmor, so that the container cannot be confined by a profile of it",
        hint="leave --security-opt apparmor=... out, or boot a kernel with apparmor=1",
        code=125,
    )


def _read_profile(path: str) -> str:
    from carboy.linux.profiles import parse_docker_profile

    try:
        with open(path, "rb") as file:
            data = file.read(MAX_PROFILE_BYTES + 1)
    except OSError as error:
        raise CarboyError(
            f"the system call profile {path} cannot be read", details=error.strerror or "", code=125
        ) from error
    parse_docker_profile(data, caps=frozenset(), emulate_root=False)
    return data.decode()


def check_namespace(kind: str, value: str) -> None:
    """Raise ``CarboyError`` (125) for ``--pid``, ``--ipc``, ``--uts``, ``--userns`` or ``--cgroupns`` that asks to share one."""
    if value in {"", "private"}:
        return
    raise CarboyError(
        f"a container always has its own {kind.removesuffix('ns')} namespace: --{kind} {value} would take a protection away",
        hint=_INSTEAD[kind],
        code=125,
    )


def refuse_privileged() -> CarboyError:
    """Return the error for ``--privileged``."""
    return CarboyError(
        "there are no privileged containers",
        details="--privileged would give the whole machine to whatever runs in the container",
        hint="give what it needs: --cap-add NAME, --device /dev/NAME, --gpus all, -v FOLDER:FOLDER, --sysctl NAME=VALUE",
        code=125,
    )


def find_warnings(options: Iterable[str]) -> list[str]:
    """Return what must be said about options that make a container weaker."""
    if parse_security(options).seccomp == "unconfined":
        return [
            "the container runs without a system call filter (seccomp=unconfined): more of the kernel is open to it"
        ]
    return []
