"""What the caller of ``run`` or ``create`` asks for, and the container that comes of it. Pure, and on the path of a start."""

from __future__ import annotations

from carboy.base.record import Record
from carboy.containers.record import (
    DEFAULT_LOG_BYTES,
    DEFAULT_LOG_FILES,
    DEFAULT_STOP_SIGNAL,
    DEFAULT_STOP_TIMEOUT_S,
    ContainerConfig,
)
from carboy.engine.containers.network import plan_networks
from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from carboy.engine.launch import LaunchRecord

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class RunRequest(Record):
    """A container over its image's own defaults; the names are those of Docker's options.

    ``arguments`` replace the image's command; ``entrypoint`` replaces its entry point (and drops its command, as Docker does);
    ``env`` items ("NAME=VALUE") are added last; None leaves a matter to the image or to the default. ``mounts``, ``limits``:
    see ``ContainerConfig``. ``health`` is (interval, timeout, start period, start interval in seconds, retries,
    words of the test) as in ``LaunchRecord``; an empty tuple switches the image's own off. ``more_networks`` are those
    beyond ``network``, each with the names that the container answers to there: (network, name ...); ``network_ips``
    pairs of a network and an address.
    """

    name: str | None = None
    arguments: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    hostname: str | None = None
    interactive: bool = False
    terminal: bool = False
    user: str | None = None
    groups: tuple[str, ...] = ()
    workdir: str | None = None
    read_only: bool = False
    auto_remove: bool = False
    network: str | None = None
    network_aliases: tuple[str, ...] = ()
    more_networks: tuple[tuple[str, ...], ...] = ()
    network_ips: tuple[tuple[str, str], ...] = ()
    publish: tuple[str, ...] = ()
    publish_all: bool = False
    add_hosts: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    mounts: tuple[tuple[str, str], ...] = ()
    limits: tuple[tuple[str, str], ...] = ()
    devices: tuple[str, ...] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security: tuple[str, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    restart: str = "no"
    stop_signal: str | None = None
    stop_timeout_s: int | None = None
    health: tuple[str, ...] | None = None
    log_bytes: int = DEFAULT_LOG_BYTES
    log_files: int = DEFAULT_LOG_FILES
    runtime: str = ""


def asks_more(wanted: RunRequest | ContainerConfig) -> bool:
    """Return whether something is asked for that ``options.additions`` has to do with: few containers do."""
    return bool(
        wanted.groups
        or wanted.security
        or wanted.sysctls
        or wanted.add_hosts
        or wanted.devices
        or wanted.dns
        or any(kind == "secret" for kind, _ in wanted.mounts)
    )


def plan_config(
    request: RunRequest,
    record: LaunchRecord,
    *,
    container_id: str,
    image: str,
    manifest: str,
    now_s: float,
    network: str = "none",
    term: str = "xterm",
) -> ContainerConfig:
    """Return the container that ``request`` makes of an image's record; ``network`` is the one it has.

    The environment is laid down in Docker's order: a default PATH, the image's, the caller's. Raises ``CarboyError`` (125).
    """
    hostname = request.hostname or container_id[:12]
    entrypoint, args = _command(record, request)
    health = record.health if request.health is None else request.health
    labels = {**dict(label.partition("=")[::2] for label in record.labels), **dict(request.labels)}
    return ContainerConfig(
        id=container_id,
        image=image,
        manifest=manifest,
        layers=tuple(record.layers),
        created_at_s=now_s,
        args=args,
        entrypoint=entrypoint,
        env=_environment(record, request, hostname=hostname, term=term),
        workdir=request.workdir or record.workdir or "/",
        user=record.user if request.user is None else request.user,
        groups=request.groups,
        hostname=hostname,
        tty=request.terminal,
        interactive=request.interactive,
        auto_remove=request.auto_remove,
        read_only=request.read_only,
        **_networks(request, network),
        publish=(*request.publish, *(record.exposed if request.publish_all else ())),
        add_hosts=request.add_hosts,
        dns=request.dns,
        mounts=request.mounts,
        volumes=tuple(record.volumes),
        limits=request.limits,
        devices=request.devices,
        cap_add=request.cap_add,
        cap_drop=request.cap_drop,
        security=request.security,
        sysctls=request.sysctls,
        labels=tuple(labels.items()),
        restart=request.restart,
        stop_signal=request.stop_signal or record.stop_signal or DEFAULT_STOP_SIGNAL,
        stop_timeout_s=DEFAULT_STOP_TIMEOUT_S if request.stop_timeout_s is None else request.stop_timeout_s,
        health_test=health[5:],
        # Docker's defaults stand in for zeros, too.
        health_interval_s=float(health[0] if health else 0) or 30.0,
        health_timeout_s=float(health[1] if health else 0) or 30.0,
        health_start_s=float(health[2] if health else 0),
        health_start_interval_s=float(health[3] if health else 0) or 5.0,
        health_retries=int(health[4] if health else 0) or 3,
        log_bytes=request.log_bytes,
        log_files=request.log_files,
        runtime=request.runtime or "native",
    )


def _networks(request: RunRequest, network: str) -> dict[str, Any]:
    (first, *aliases), *more = plan_networks((network, *request.network_aliases), request.more_networks)
    return {
        "network": first,
        "network_aliases": tuple(aliases),
        "more_networks": tuple(more),
        "network_ips": request.network_ips,
    }


def _environment(record: LaunchRecord, request: RunRequest, *, hostname: str, term: str) -> tuple[str, ...]:
    env = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    if request.terminal:
        env["TERM"] = term
    for item in (*record.env, *request.env):
        name, _, value = item.partition("=")
        env[name] = value
    return tuple(f"{name}={value}" for name, value in env.items())


def _command(record: LaunchRecord, request: RunRequest) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the entry point and the whole command."""
    if request.entrypoint is not None:
        entrypoint, command = tuple(word for word in request.entrypoint if word), request.arguments
    else:
        entrypoint, command = tuple(record.entrypoint), request.arguments or tuple(record.cmd)
    if not entrypoint + command:
        raise CarboyError(
            "the image has no command of its own",
            hint="say what to run: carboy run IMAGE COMMAND [ARGUMENTS]",
            code=125,
        )
    return entrypoint, entrypoint + command
