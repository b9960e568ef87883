"""A container as JSON, in the shapes that Docker's users know. Pure."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from carboy.engine.containers.limits import parse_limits
from carboy.errors import CarboyError
from carboy.network.ports import PortMapping, parse_publish
from carboy.runtime.limits import parse_device

if TYPE_CHECKING:
    from collections.abc import Iterable

    from carboy.containers.record import ContainerConfig, ContainerState
    from carboy.engine.containers.manage import ContainerView

NEVER = "0001-01-01T00:00:00Z"
_STATES = ("running", "paused", "restarting")


def render_time(moment_s: float) -> str:
    """Return a moment (seconds since 1970) as RFC 3339 in UTC; Docker's "never" for 0."""
    if not moment_s:
        return NEVER
    return datetime.fromtimestamp(moment_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def describe_row(view: ContainerView) -> dict[str, Any]:
    """Return what ``ps --json`` shows of a container."""
    config, state = view.config, view.state
    return {
        "Id": view.id,
        "Name": view.name,
        "Image": config.image,
        "Command": list(config.args),
        "Created": render_time(config.created_at_s),
        "State": state.status,
        "ExitCode": state.exit_code,
        "Health": state.health,
        "Ports": list(state.ports),
        "Labels": dict(config.labels),
        "Networks": [name for name, *_ in config.networks],
    }


def describe_container(view: ContainerView) -> dict[str, Any]:
    """Return what ``inspect`` shows of a container: the shape of Docker's, with the fields that carboy has.

    No secret is in it: a secret is known by its path only.
    """
    config, state = view.config, view.state
    return {
        "Id": view.id,
        "Created": render_time(config.created_at_s),
        "Path": config.args[0],
        "Args": list(config.args[1:]),
        "State": _describe_state(state, has_health=bool(config.health_test)),
        "Image": config.manifest,
        "LogPath": f"{view.folder}/log" if config.log_bytes else "",
        "Name": f"/{view.name}",
        "RestartCount": state.restarts,
        "Driver": "overlay",
        "Platform": "linux",
        "Runtime": config.runtime,
        "Mounts": describe_mounts(config),
        "Config": _describe_config(config),
        "HostConfig": _describe_host_config(config),
        "NetworkSettings": {
            "Ports": describe_ports(config, state),
            "Networks": describe_networks(config, state),
        },
    }


def describe_networks(config: ContainerConfig, state: ContainerState) -> dict[str, Any]:
    """Return a container's networks by name. Addresses stand in their order in the state: one IPv4 each, IPv6 behind it."""
    found: dict[str, Any] = {}
    addresses = list(state.addresses)
    for name, *aliases in config.networks:
        own = [addresses.pop(0)] if addresses else []
        while addresses and ":" in addresses[0]:
            own.append(addresses.pop(0))
        found[name] = {
            "Aliases": aliases,
            "IPAddress": next((item for item in own if ":" not in item), ""),
            "GlobalIPv6Address": next((item for item in own if ":" in item), ""),
        }
    return found


def _describe_state(state: ContainerState, *, has_health: bool) -> dict[str, Any]:
    described: dict[str, Any] = {
        "Status": state.status,
        "Running": state.status in _STATES,
        "Paused": state.status == "paused",
        "Restarting": state.status == "restarting",
        "OOMKilled": state.oom_killed,
        "Dead": False,
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": render_time(state.started_at_s),
        "FinishedAt": render_time(state.finished_at_s),
    }
    if has_health:
        described["Health"] = {
            "Status": state.health or "none",
            "FailingStreak": state.health_failures,
            "Log": [
                {"Start": render_time(begin), "End": render_time(end), "ExitCode": code, "Output": output}
                for begin, end, code, output in state.health_log
            ],
        }
    return described


def _describe_config(config: ContainerConfig) -> dict[str, Any]:
    described = {
        "Hostname": config.hostname,
        "User": config.user,
        "Tty": config.tty,
        "OpenStdin": config.interactive,
        "Env": list(config.env),
        "Cmd": list(config.args[len(config.entrypoint) :]),
        "Entrypoint": list(config.entrypoint) or None,
        "Image": config.image,
        "Volumes": {path: {} for path in config.volumes},
        "WorkingDir": config.workdir,
        "Labels": dict(config.labels),
        "StopSignal": config.stop_signal,
        "StopTimeout": config.stop_timeout_s,
    }
    if config.health_test:
        described["Healthcheck"] = {
            "Test": ["CMD", *config.health_test],
            "Interval": int(config.health_interval_s * 1e9),
            "Timeout": int(config.health_timeout_s * 1e9),
            "StartPeriod": int(config.health_start_s * 1e9),
            "StartInterval": int(config.health_start_interval_s * 1e9),
            "Retries": config.health_retries,
        }
    return described


def _describe_host_config(config: ContainerConfig) -> dict[str, Any]:
    policy, _, count = config.restart.partition(":")
    devices = [device for text in config.devices if (device := _parse_device(text)) is not None]
    return {
        "Binds": [text for kind, text in config.mounts if kind == "volume"],
        "NetworkMode": config.network,
        "PortBindings": _group_ports(_parse_ports(config.publish)),
        "RestartPolicy": {"Name": policy, "MaximumRetryCount": int(count or 0)},
        "AutoRemove": config.auto_remove,
        "Init": config.init,
        "CapAdd": list(config.cap_add),
        "CapDrop": list(config.cap_drop),
        "Dns": list(config.dns),
        "ExtraHosts": list(config.add_hosts),
        "GroupAdd": list(config.groups),
        "ReadonlyRootfs": config.read_only,
        "Privileged": False,
        "SecurityOpt": list(config.security),
        "Sysctls": dict(config.sysctls),
        "Tmpfs": {text.partition(":")[0]: text.partition(":")[2] for kind, text in config.mounts if kind == "tmpfs"},
        "Devices": devices,
        "Runtime": config.runtime,
        "LogConfig": {
            "Type": "k8s-file" if config.log_bytes else "none",
            "Config": {"max-size": str(config.log_bytes), "max-file": str(config.log_files)},
        },
        **_describe_limits(config),
    }


def _describe_limits(config: ContainerConfig) -> dict[str, Any]:
    limits = parse_limits(config.limits)
    return {
        "Memory": limits.memory_bytes,
        "MemorySwap": limits.memory_swap_bytes,
        "MemoryReservation": limits.memory_reservation_bytes,
        "NanoCpus": round(limits.cpus * 1e9),
        "CpuShares": limits.cpu_shares,
        "CpusetCpus": limits.cpuset_cpus,
        "CpusetMems": limits.cpuset_mems,
        "PidsLimit": limits.pids,
        "BlkioWeight": limits.blkio_weight,
        "OomScoreAdj": limits.oom_score_adj or 0,
        "ShmSize": limits.shm_bytes,
        "Ulimits": [{"Name": name, "Soft": soft, "Hard": hard} for name, soft, hard in limits.ulimits],
    }


def _parse_device(text: str) -> dict[str, str] | None:
    try:
        device = parse_device(text)
    except ValueError:
        return None
    return {
        "PathOnHost": device.source,
        "PathInContainer": device.target,
        "CgroupPermissions": device.permissions,
    }


def describe_ports(config: ContainerConfig, state: ContainerState) -> dict[str, list[dict[str, str]] | None]:
    """Return the published ports as they are bound while it runs ("80/tcp": [{HostIp, HostPort}]), None for unbound ones."""
    bound: dict[str, list[dict[str, str]] | None] = dict.fromkeys(_group_ports(_parse_ports(config.publish)))
    bound.update(_group_ports(_parse_ports(state.ports)))
    return bound


def _parse_ports(texts: Iterable[str]) -> list[PortMapping]:
    found: list[PortMapping] = []
    for text in texts:
        try:
            found += parse_publish(text)
        except CarboyError:  # of a version that knew another form
            continue
    return found


def _group_ports(mappings: Iterable[PortMapping]) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for mapping in mappings:
        name = f"{mapping.container_port}/{mapping.protocol}"
        found.setdefault(name, []).append({"HostIp": mapping.host_ip, "HostPort": str(mapping.host_port or "")})
    return found


def describe_mounts(config: ContainerConfig) -> list[dict[str, Any]]:
    """Return the mounts that were asked for, as Docker lists them; a secret by its name in the container."""
    described = []
    for kind, text in config.mounts:
        if kind == "volume":
            described.append(_describe_volume(text))
        elif kind == "tmpfs":
            described.append(_describe_mount("tmpfs", "", text.partition(":")[0], writable=True))
        elif kind == "mount":
            fields = {
                name: value or "true" for name, _, value in (item.partition("=") for item in next(csv.reader([text])))
            }
            source = fields.get("source") or fields.get("src") or ""
            target = fields.get("target") or fields.get("dst") or fields.get("destination") or ""
            writable = not any(fields.get(name, "false") != "false" for name in ("readonly", "ro"))
            described.append(_describe_mount(fields.get("type", "volume"), source, target, writable=writable))
    return described


def _describe_volume(text: str) -> dict[str, Any]:
    parts = text.split(":")
    source, target = (parts[0], parts[1]) if len(parts) > 1 else ("", parts[0])
    options = parts[2].split(",") if len(parts) > 2 else []
    kind = "bind" if source.startswith(("/", ".", "~")) else "volume"
    return _describe_mount(kind, source, target, writable="ro" not in options)


def _describe_mount(kind: str, source: str, target: str, *, writable: bool) -> dict[str, Any]:
    described: dict[str, Any] = {"Type": kind, "Source": source, "Destination": target, "RW": writable}
    if kind == "volume":
        described["Name"] = source
    return described
