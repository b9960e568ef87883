"""How a service's container is asked for: from the words of compose to the engine's ``RunRequest``; and what is refused. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from carboy.compose.errors import ComposeError, Issue
from carboy.compose.model import Healthcheck
from carboy.compose.planning.container import FileGrant, ServiceContainer
from carboy.engine.containers.request import RunRequest
from carboy.engine.launch import LaunchRecord
from carboy.errors import CarboyError
from carboy.runtime.cdi import parse_gpus
from carboy.runtime.limits import parse_bytes
from carboy.runtime.mounts import MountRequest, format_mount, parse_mount

# The specification's mode of a secret or config that names none.
ALL_MAY_READ = 0o444
_HEALTH_DEFAULTS = ("30.0", "30.0", "0.0", "5.0", "3")


def check_supported(container: ServiceContainer, *, platform: str) -> None:
    """Raise ``ComposeError`` with all that a container asks for and the engine cannot do; ``platform`` is this machine's."""
    found = [
        *_find_network_refusals(container),
        *(_find_file_refusals(container)),
    ]
    if container.platform and container.platform not in {platform, platform.partition("/")[0]}:
        found.append(("platform", f"this machine runs {platform} only"))
    if found:
        path = f"services.{container.service}"
        issues = tuple(Issue(text=text, path=f"{path}.{key}") for key, text in found)
        raise ComposeError(
            f"the service {container.service} asks for what carboy cannot do", issues=issues, hint="leave these out"
        )


def _find_network_refusals(container: ServiceContainer) -> list[tuple[str, str]]:
    found = []
    for item in container.networks:
        if item.ip6:
            found.append((f"networks.{item.network}", "carboy chooses IPv6 addresses: reach the service by its name"))
    for text in container.add_host:
        if text.endswith(":host-gateway"):
            found.append(("extra_hosts", f"{text}: a container has no way to the host's own services"))
    return found


def _find_file_refusals(container: ServiceContainer) -> list[tuple[str, str]]:
    found = []
    for grant in container.files:
        key = f"{grant.kind}s"
        if grant.environment and grant.value is None:
            found.append((key, f"the variable {grant.environment}, which holds it, is not set"))
        for name, wanted in (("uid", grant.uid), ("gid", grant.gid)):
            if wanted is not None:
                text = (
                    f"{grant.target}: it belongs to the container's user; leave {name} out, or set mode to 0444 for all"
                )
                found.append((key, text))
    return found


def plan_request(
    container: ServiceContainer,
    record: LaunchRecord,
    *,
    name: str,
    sources: Mapping[FileGrant, str],
    anonymous: Mapping[str, str] = MappingProxyType({}),
) -> RunRequest:
    """Return how the engine is asked for a container of the image of ``record``, under ``name``.

    ``sources`` are the files on this machine that hold secrets and configs; ``anonymous`` the volumes without a name of the
    container that this one replaces, by where they are mounted: it has them again. Raises ``CarboyError`` for what cannot be
    read.
    """
    joined = container.networks[0] if container.networks else None
    more = tuple((item.network, *item.aliases) for item in container.networks[1:])
    arguments = container.command or ()
    if container.entrypoint is not None and not container.entrypoint and not arguments:
        # Docker keeps the image's command when the entry point is emptied, and drops it when another takes its place.
        arguments = record.cmd
    return RunRequest(
        name=name,
        arguments=tuple(arguments),
        entrypoint=container.entrypoint,
        env=container.env,
        hostname=container.hostname or None,
        interactive=container.interactive,
        terminal=container.tty,
        user=container.user or None,
        workdir=container.workdir or None,
        read_only=container.read_only,
        network=joined.network if joined else container.network or "none",
        network_aliases=joined.aliases if joined else (),
        more_networks=more,
        network_ips=tuple((item.network, item.ip) for item in container.networks if item.ip),
        publish=container.publish,
        add_hosts=container.add_host,
        dns=container.dns,
        mounts=(
            *carry_volumes(container.mount, anonymous, image_volumes=record.volumes),
            *(("tmpfs", text) for text in container.tmpfs),
            *(("secret", _grant_text(grant, sources[grant])) for grant in container.files),
        ),
        limits=_limits(container),
        devices=(*container.device, *(parse_gpus(container.gpus) if container.gpus else ())),
        cap_add=container.cap_add,
        cap_drop=container.cap_drop,
        security=container.security_opt,
        sysctls=_pairs(container.sysctl),
        labels=_pairs(container.label),
        restart=container.restart or "no",
        stop_signal=container.stop_signal or None,
        stop_timeout_s=None if container.stop_timeout_s is None else math.ceil(container.stop_timeout_s),
        health=_health(container.healthcheck, record.health),
        runtime=container.runtime,
        **_log(container),
    )


def carry_volumes(
    mounts: tuple[str, ...], anonymous: Mapping[str, str], *, image_volumes: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """Return mounts as pairs for the engine, with the volumes of ``anonymous`` (by target) where new ones would be made."""
    found: list[MountRequest] = []
    for text in mounts:
        asked = parse_mount(text)
        if asked.kind == "volume" and not asked.source:
            asked = asked.replace(source=anonymous.get(asked.target, ""))
        found.append(asked)
    taken = {asked.target for asked in found}
    for target in image_volumes:
        if target in anonymous and target not in taken:
            found.append(MountRequest(kind="volume", source=anonymous[target], target=target))
    return tuple(("mount", format_mount(asked)) for asked in found)


def find_anonymous(mounts: tuple[tuple[str, str], ...], names: frozenset[str]) -> dict[str, str]:
    """Return the volumes of a container's record that have no name of their own, which ``names`` are, by where they are."""
    asked = (parse_mount(text) for kind, text in mounts if kind == "mount")
    return {item.target: item.source for item in asked if item.kind == "volume" and item.source in names}


def _pairs(texts: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, _, value in (text.partition("=") for text in texts))


def _grant_text(grant: FileGrant, source: str) -> str:
    """Return a secret or config as ``--secret`` takes it: read at each start, and in memory from there on."""
    mode = ALL_MAY_READ if grant.mode is None else grant.mode
    return f"src={source},target={grant.target},mode={mode:04o}"


def _limits(container: ServiceContainer) -> tuple[tuple[str, str], ...]:
    values = {
        "cpus": container.cpus,
        "cpuset-cpus": container.cpuset_cpus,
        "memory": container.memory,
        "memory-swap": container.memory_swap,
        "shm-size": container.shm_size,
        "pids-limit": container.pids_limit,
        "oom-score-adj": container.oom_score_adj,
    }
    found = [(name, str(value)) for name, value in values.items() if value not in {None, ""}]
    return (*found, *(("ulimit", text) for text in container.ulimit))


def _health(check: Healthcheck | None, own: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the health check in the engine's form; ``own`` is the image's, which counts where the file says nothing."""
    if check is None:
        return None
    if check.test[:1] == ("NONE",):
        return ()
    words = own[5:]
    if check.test:
        words = ("/bin/sh", "-c", *check.test[1:]) if check.test[0] == "CMD-SHELL" else check.test[1:]
    if not words:
        return None
    given = (check.interval_s, check.timeout_s, check.start_period_s, check.start_interval_s, check.retries)
    before = own[:5] or _HEALTH_DEFAULTS
    return (*(old if new is None else str(new) for old, new in zip(before, given, strict=True)), *words)


def _log(container: ServiceContainer) -> dict[str, Any]:
    if container.log_driver == "none":
        return {"log_bytes": 0}
    found: dict[str, Any] = {}
    for name, text in _pairs(container.log_opt):
        try:
            if name == "max-size":
                found["log_bytes"] = parse_bytes(text)
            elif name == "max-file":
                found["log_files"] = int(text)
        except ValueError as error:
            brief = f"services.{container.service}.logging.options.{name}: {text!r} cannot be read"
            raise CarboyError(brief, details=str(error), hint="write 10m, or a whole number") from error
    return found
