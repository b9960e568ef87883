"""``carboy doctor``: what this machine can do, what is missing, what that costs, and the command that gets it.

Nothing is changed: what is tried is tried in child processes, on folders that they remove.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from carboy.base.home import find_home
from carboy.errors import CarboyError
from carboy.linux import identity, probes
from carboy.runtime.native.cgroups.hierarchy import read_hierarchy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carboy.linux.identity import Facts, TierReport

OVERLAY_IN_USER_NAMESPACE = (5, 11)
OVERLAY_ON_ID_MAPPED_MOUNTS = (5, 19)
LOW_BYTES = 2 * 10**9
TOO_LOW_BYTES = 200 * 10**6
_COST_OF_TIER = {
    "root": "containers have ids of their own",
    "subuid": "containers have as many ids as /etc/subuid gives",
    "single": "everything in a container belongs to one id; changing owners there succeeds without effect",
    "none": "no container can be started",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at: ``status`` is ok, note (works, at a cost) or missing; ``hint`` is what to do about it."""

    name: str
    status: str
    detail: str
    hint: str = ""


def examine(environ: Mapping[str, str]) -> list[Finding]:
    """Look at this machine with the eyes of this user and return everything found. Takes about 0.1 s.

    For processes without threads that are not in a tier yet.
    """
    facts = identity.read_facts("all")
    wanted = environ.get("CARBOY_TIER", "")
    report = identity.plan_tier(facts, wanted)
    home = find_home(environ, os.getuid())
    folder = _find_existing(home)
    return [
        _check_kernel(os.uname().release, report.tier),
        _check_tier(report, wanted),
        _check_user_namespaces(facts),
        *_check_ranges(facts),
        _check_overlay(folder, report.tier),
        _check_id_mapped_mounts(folder, report.tier),
        *_check_calls(report.tier),
        _check_cgroups(report.tier),
        _check_runtimes(environ, home),
        _check_network(environ, home, report.tier),
        _check_build_network(environ, report.tier),
        _check_certificates(environ),
        _check_proxy(environ),
        _check_disk(home, folder),
        _check_uv(),
    ]


def _find_existing(path: str) -> str:
    """Return ``path`` or its nearest parent that is there."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


# --- kernel and tier ----------------------------------------------------------------------------------------------


def parse_release(release: str) -> tuple[int, int]:
    """Return (major, minor) of a kernel release such as "6.1.0-18-amd64"."""
    numbers = []
    for part in release.replace("-", ".").split(".")[:2]:
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        numbers.append(int(digits or 0))
    return numbers[0], (numbers[1] if len(numbers) > 1 else 0)


def _check_kernel(release: str, tier: str) -> Finding:
    needed = OVERLAY_ON_ID_MAPPED_MOUNTS if tier == "root" else OVERLAY_IN_USER_NAMESPACE
    detail = f"Linux {release}"
    if parse_release(release) >= needed:
        return Finding(name="kernel", status="ok", detail=detail)
    what = "id-mapped layers" if tier == "root" else "overlay mounts of users"
    need = f"{needed[0]}.{needed[1]}"
    return Finding(
        name="kernel",
        status="missing",
        detail=f"{detail}; {what} came with {need}",
        hint=f"boot a kernel of {need} or newer (Debian 12 has 6.1)",
    )


def _check_tier(report: TierReport, wanted: str) -> Finding:
    why = "; ".join(report.reasons)
    detail = f"{report.tier}: {_COST_OF_TIER[report.tier]} ({why})"
    if report.tier == "none" or (wanted and wanted != report.tier):
        hint = report.missing[0][1] if report.missing else "unset CARBOY_TIER"
        asked = f"CARBOY_TIER asks for {wanted}; " if wanted and wanted != report.tier else ""
        return Finding(name="tier", status="missing", detail=asked + detail, hint=hint)
    problem = identity.try_tier(wanted or None)
    if problem:
        return Finding(
            name="tier",
            status="missing",
            detail=f"{report.tier} should be possible, but entering it failed: {problem}",
            hint="an outer container or a security module may forbid it; see `user namespaces` below",
        )
    hint = report.missing[0][1] if report.missing else ""
    return Finding(name="tier", status="note" if report.missing else "ok", detail=detail, hint=hint)


def _check_user_namespaces(facts: Facts) -> Finding:
    name = "user namespaces"
    if not facts.uid_map:
        return Finding(
            name=name, status="missing", detail="the kernel has none", hint="use a kernel with CONFIG_USER_NS=y"
        )
    if facts.limit <= 0:
        hint = "sudo sysctl user.max_user_namespaces=15000"
        return Finding(name=name, status="missing", detail="user.max_user_namespaces is 0", hint=hint)
    if facts.restricted:
        setting, _, value = facts.restricted.partition("=")
        status = "note" if facts.is_root else "missing"
        hint = f"sudo sysctl {setting}={1 - int(value)}"
        return Finding(name=name, status=status, detail=f"{setting} is {value}: users have none", hint=hint)
    problem = identity.try_tier("single")
    if problem:
        hint = "an outer container may forbid them (Docker: --security-opt seccomp=unconfined)"
        return Finding(name=name, status="missing", detail=problem, hint=hint)
    return Finding(name=name, status="ok", detail=f"up to {facts.limit}")


def _check_ranges(facts: Facts) -> list[Finding]:
    if facts.is_root or facts.is_inside:
        who = "root" if facts.is_root else "uid 0 of a user namespace"
        detail = f"not needed by {who}"
        return [Finding(name=name, status="ok", detail=detail) for name in ("newuidmap", "id ranges")]
    helpers = [path for path in (facts.newuidmap, facts.newgidmap) if path]
    if len(helpers) == 2:
        first = Finding(name="newuidmap", status="ok", detail=" and ".join(helpers))
    else:
        first = Finding(
            name="newuidmap",
            status="note",
            detail="newuidmap or newgidmap is missing, or has no privilege: one id only",
            hint="sudo apt-get install --reinstall uidmap",
        )
    counts = [sum(count for _, count in ranges) for ranges in (facts.uid_ranges, facts.gid_ranges)]
    shown = f"{counts[0]} uids and {counts[1]} gids for {facts.name} in /etc/subuid and /etc/subgid"
    if min(counts) >= identity.CONTAINER_IDS:
        return [first, Finding(name="id ranges", status="ok", detail=shown)]
    hints = [how for what, how in identity.plan_tier(facts).missing if "usermod" in how]
    cost = "one id only" if not min(counts) else "images may use up to 65536"
    hint = hints[0] if hints else "ask for a range of 65536 in /etc/subuid and /etc/subgid"
    return [first, Finding(name="id ranges", status="note", detail=f"{shown}: {cost}", hint=hint)]


# --- what the sandbox needs ---------------------------------------------------------------------------------------


def _check_overlay(folder: str, tier: str) -> Finding:
    if tier == "none":
        return Finding(name="overlay", status="missing", detail="not tried: there is no tier to try it in")
    if not os.access(folder, os.W_OK):
        return Finding(name="overlay", status="missing", detail=f"{folder} is not writable", hint="set CARBOY_HOME")
    problem = probes.try_overlay(folder, tier)
    if not problem:
        return Finding(name="overlay", status="ok", detail=f"mounted below {folder}")
    return Finding(
        name="overlay",
        status="missing",
        detail=f"cannot be mounted below {folder}: {problem}",
        hint="set CARBOY_HOME to a folder on ext4, xfs, btrfs or tmpfs (an overlay cannot lie on nfs or on an overlay)",
    )


def _check_id_mapped_mounts(folder: str, tier: str) -> Finding:
    name = "id-mapped mounts"
    if tier != "root":
        return Finding(name=name, status="ok", detail="needed by root only")
    problem = probes.try_id_mapped_mount(folder)
    if not problem:
        return Finding(name=name, status="ok", detail=f"work on the file system of {folder}")
    return Finding(
        name=name,
        status="missing",
        detail=f"the file system of {folder} does not take them: {problem}",
        hint="set CARBOY_HOME to a folder on ext4, xfs, btrfs or tmpfs, or run carboy as a user that is not root",
    )


def _check_calls(tier: str) -> list[Finding]:
    checks = (
        ("openat2", probes.try_openat2(), "note", "paths are walked one step at a time instead"),
        ("mount_setattr", "" if tier == "none" else probes.try_mount_setattr(tier), "missing", "came with Linux 5.12"),
        ("seccomp", probes.try_seccomp(), "missing", "no container is started without its system call filter"),
    )
    return [
        Finding(name=name, status="ok", detail="works")
        if not problem
        else Finding(name=name, status=status, detail=f"{problem}: {cost}", hint="use a newer kernel")
        for name, problem, status, cost in checks
    ]


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(65_536)
    except OSError:
        return ""


def _check_cgroups(tier: str, root: str = "/sys/fs/cgroup") -> Finding:
    found = read_hierarchy(as_root=tier == "root", root=root)
    options = {"memory": "memory", "cpu": "cpus", "cpuset": "cpuset", "pids": "processes", "blkio": "disks"}
    limits = [word for name, word in options.items() if found.has(name)]
    if limits:
        missing = sorted(set(options.values()) - set(limits))
        rest = f"; not for {', '.join(missing)}" if missing else ""
        detail = f"{found.version}; limits for {', '.join(limits)}{rest}"
        return Finding(name="cgroups", status="note" if missing else "ok", detail=detail)
    return Finding(
        name="cgroups",
        status="note",
        detail=f"{found.version}, {found.reason}; processes are limited by RLIMIT_NPROC, memory and cpus cannot be",
        hint="systemd-run --user --scope -p Delegate=yes carboy run ..." if "delegated" in found.reason else "",
    )


def _check_runtimes(environ: Mapping[str, str], home: str) -> Finding:
    """Say which other runtimes are here, and which is used unless one is named."""
    from carboy.base.config import read_default
    from carboy.runtime.oci.program import KINDS, find_program

    here, missing = ["native"], []
    for kind in KINDS:
        try:
            here.append(f"{kind} ({find_program(kind)})")
        except CarboyError as error:
            missing.append(error.details or kind)
    try:
        default = read_default("runtime", home=home, environ=environ) or "native"
    except CarboyError as error:
        return Finding(name="runtimes", status="missing", detail=error.brief, hint=error.hint)
    detail = f"{', '.join(here)}; {default} is used unless --runtime names another"
    if default != "native" and not any(item.startswith(f"{default} ") for item in here):
        hint = f"sudo apt-get install {default}" if default in KINDS else "set CARBOY_RUNTIME or config.toml to another"
        return Finding(name="runtimes", status="missing", detail=detail + ", but is not here", hint=hint)
    if missing:
        detail += f"; not here: {', '.join(missing)}"
    return Finding(name="runtimes", status="ok", detail=detail)


def _check_network(environ: Mapping[str, str], home: str, tier: str) -> Finding:
    """Say which network `run` gives a container that asks for none, and why."""
    from carboy.base.config import read_default
    from carboy.network import private

    name = "network"
    try:
        asked = read_default("network", home=home, environ=environ)
    except CarboyError as error:
        return Finding(name=name, status="missing", detail=error.brief, hint=error.hint)
    missing = private.explain_private_means(tier)
    means = private.find_private_means(tier)
    by = {"bridge": "a bridge and the packet filter"}.get(means or "", means)
    if asked:
        return Finding(
            name=name, status="ok", detail=f"{asked} is the default of run, as CARBOY_NETWORK or config.toml has it"
        )
    if means is not None:
        return Finding(name=name, status="ok", detail=f"private is the default of run, by {by}")
    return Finding(
        name=name,
        status="note",
        detail=f"none is the default of run, because there is no private network: {'; '.join(missing)}",
        hint=_hint_network(tier),
    )


def _check_build_network(environ: Mapping[str, str], tier: str) -> Finding:
    """Say which network a RUN has that asks for none, and why."""
    from carboy.build.running.host import read_host_settings
    from carboy.build.running.networks import find_default_network

    name = "network of builds"
    try:
        reach = find_default_network(tier, dict(read_host_settings(environ).env))
    except CarboyError as error:
        return Finding(name=name, status="missing", detail=error.brief, hint=error.hint)
    if reach.network == "host":
        detail = f"the host's, for every RUN without --network: {reach.reason}"
        return Finding(name=name, status="note", detail=detail, hint="--network none where a step needs none")
    return Finding(name=name, status="ok", detail=f"one of its own for every RUN: {reach.reason}")


def _hint_network(tier: str) -> str:
    if tier == "root":
        return "sudo modprobe -a bridge veth nf_tables, or set network in config.toml when the firewall is fine with it"
    return "sudo apt-get install passt; sudo modprobe tun && sudo chmod 666 /dev/net/tun"


# --- what installing needs ----------------------------------------------------------------------------------------


def _check_certificates(environ: Mapping[str, str]) -> Finding:
    from carboy.environments.host import read_index_config

    try:
        bundle = read_index_config(environ).ca_bundle
    except CarboyError as error:
        return Finding(name="certificates", status="missing", detail=error.brief, hint=error.hint)
    if bundle and os.access(bundle, os.R_OK):
        return Finding(name="certificates", status="ok", detail=bundle)
    return Finding(
        name="certificates",
        status="missing",
        detail=f"{bundle} cannot be read" if bundle else "no bundle of certificates was found",
        hint="sudo apt-get install ca-certificates, or set SSL_CERT_FILE",
    )


def _check_proxy(environ: Mapping[str, str]) -> Finding:
    shown = []
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        value = environ.get(name)
        if value:
            shown.append(f"{name}={_without_secret(value)}")
    return Finding(name="proxy", status="ok", detail=", ".join(shown) or "none set")


def _without_secret(url: str) -> str:
    """Return scheme, host and port of a proxy's address; names and passwords in it stay out of what is printed."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(not an address)"
    return f"{parts.scheme}://{parts.hostname or ''}{port}"


def _check_disk(home: str, folder: str) -> Finding:
    name = "disk space"
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    detail = f"{free / 10**9:.1f} GB free for {home}"
    if free >= LOW_BYTES:
        return Finding(name=name, status="ok", detail=detail)
    status = "note" if free >= TOO_LOW_BYTES else "missing"
    hint = "`carboy system prune --all` removes what nothing needs now; or set CARBOY_HOME to a larger disk"
    return Finding(name=name, status=status, detail=detail, hint=hint)


def _check_uv() -> Finding:
    from importlib.metadata import PackageNotFoundError, version

    try:
        import uv

        return Finding(name="uv", status="ok", detail=f"{version('uv')} at {uv.find_uv_bin()}")
    except (ImportError, FileNotFoundError, PackageNotFoundError) as error:
        return Finding(
            name="uv",
            status="missing",
            detail=f"Python environments cannot be installed: {error}",
            hint="python3 -m pip install uv",
        )
