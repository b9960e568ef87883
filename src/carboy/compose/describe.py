"""A project as it is understood, in the long forms of the Compose specification: what ``config`` prints. Pure.

No value of a secret is in it: a secret is known by where it comes from.
"""

from __future__ import annotations

from typing import Any

from carboy.compose.model import (
    Attachment,
    Build,
    Grant,
    Healthcheck,
    Material,
    Mount,
    Network,
    Port,
    Project,
    Service,
    Volume,
)
from carboy.compose.planning.container import container_name, image_name


def describe_project(project: Project, services: tuple[Service, ...]) -> dict[str, Any]:
    """Return the project with these services, as a compose file that means the same, of plain values.

    A dollar sign is written twice, as in every compose file.
    """
    used = {
        "networks": {item.network for service in services for item in service.networks},
        "volumes": {item.source for service in services for item in service.mounts if item.kind == "volume"},
        "secrets": {item.source for service in services for item in service.secrets}
        | {item.source for service in services if service.build for item in service.build.secrets},
        "configs": {item.source for service in services for item in service.configs},
    }
    described = _filled(
        {
            "name": project.name,
            "services": {service.name: describe_service(project, service) for service in services},
            "networks": {x.key: _network(x) for x in project.networks if x.key in used["networks"]},
            "volumes": {x.key: _volume(x) for x in project.volumes if x.key in used["volumes"]},
            "secrets": {x.key: _material(x) for x in project.secrets if x.key in used["secrets"]},
            "configs": {x.key: _material(x) for x in project.configs if x.key in used["configs"]},
        }
    )
    return {key: _escape(value) for key, value in described.items()}


def _escape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _escape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escape(item) for item in value]
    return value.replace("$", "$$") if isinstance(value, str) else value


def _filled(value: dict[str, Any]) -> dict[str, Any]:
    """Return a mapping without what says nothing; an emptied command or entry point says something."""
    kept = {"command", "entrypoint"}
    return {
        key: item
        for key, item in value.items()
        if item is not None and (key in kept or not (item in ("", False) or item in ([], {})))
    }


def describe_service(project: Project, service: Service) -> dict[str, Any]:
    """Return one service in long forms."""
    return _filled(
        {
            "image": image_name(project, service),
            "build": _build(service.build) if service.build else None,
            "container_name": container_name(project, service, 1) if service.container_name else None,
            "command": _words(service.command),
            "entrypoint": _words(service.entrypoint),
            "environment": dict(service.environment),
            "ports": [_port(port) for port in service.ports],
            "expose": list(service.expose),
            "volumes": [_mount(mount) for mount in service.mounts],
            "tmpfs": list(service.tmpfs),
            "networks": {item.network: _attachment(item) for item in service.networks},
            "network_mode": service.network_mode,
            "depends_on": {
                item.service: {"condition": item.condition, "restart": item.restart, "required": item.required}
                for item in service.depends_on
            },
            "healthcheck": _health(service.healthcheck) if service.healthcheck else None,
            "restart": service.restart,
            "profiles": list(service.profiles),
            "secrets": [_grant(grant) for grant in service.secrets],
            "configs": [_grant(grant) for grant in service.configs],
            "labels": dict(service.labels),
            "hostname": service.hostname,
            "user": service.user,
            "working_dir": service.working_dir,
            "stop_signal": service.stop_signal,
            "stop_grace_period": _seconds(service.stop_grace_period_s),
            **_describe_machine(service),
        }
    )


def _describe_machine(service: Service) -> dict[str, Any]:
    """Return a service's share of the machine, and what it may do there."""
    return {
        "scale": service.replicas if service.replicas != 1 else None,
        "cpus": service.cpus,
        "cpuset": service.cpuset,
        "mem_limit": _text(service.memory_bytes),
        "memswap_limit": _text(service.memory_swap_bytes),
        "shm_size": _text(service.shm_size_bytes),
        "pids_limit": service.pids_limit,
        "oom_score_adj": service.oom_score_adj,
        "ulimits": {item.name: {"soft": item.soft, "hard": item.hard} for item in service.ulimits},
        "read_only": service.read_only,
        "init": service.init,
        "tty": service.tty,
        "stdin_open": service.stdin_open,
        "cap_add": list(service.cap_add),
        "cap_drop": list(service.cap_drop),
        "security_opt": list(service.security_opt),
        "sysctls": dict(service.sysctls),
        "extra_hosts": list(service.extra_hosts),
        "dns": list(service.dns),
        "devices": list(service.devices),
        "gpus": _gpus(service.gpus),
        "platform": service.platform,
        "runtime": service.runtime,
        "pull_policy": service.pull_policy,
        "logging": _filled({"driver": service.log_driver, "options": dict(service.log_options)}),
    }


def _gpus(text: str) -> str | list[dict[str, Any]]:
    if text in {"", "all"}:
        return text
    if text.startswith("device="):
        return [{"device_ids": text.removeprefix("device=").split(",")}]
    return [{"count": int(text)}]


def _words(words: tuple[str, ...] | None) -> list[str] | None:
    return None if words is None else list(words)


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


def _seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:g}s"


def _build(build: Build) -> dict[str, Any]:
    return _filled(
        {
            "context": build.context,
            "dockerfile": build.dockerfile,
            "dockerfile_inline": build.dockerfile_inline,
            "args": {name: value for name, value in build.args if value is not None},
            "target": build.target,
            "labels": dict(build.labels),
            "tags": list(build.tags),
            "network": build.network,
            "no_cache": build.no_cache,
            "pull": build.pull,
            "platforms": list(build.platforms),
            "no_cache_filter": list(build.no_cache_filter),
            "secrets": [{"source": secret.source, "target": secret.id} for secret in build.secrets],
            "ssh": [f"{name}={path}" if path else name for name, path in build.ssh],
            "additional_contexts": dict(build.additional_contexts),
            "entitlements": list(build.entitlements),
            "extra_hosts": list(build.extra_hosts),
            "shm_size": build.shm_size_bytes,
            "ulimits": {item.name: {"soft": item.soft, "hard": item.hard} for item in build.ulimits},
            "cache_from": list(build.cache_from),
            "cache_to": list(build.cache_to),
        }
    )


def _port(port: Port) -> dict[str, Any]:
    return _filled(
        {"target": port.target, "published": port.published, "host_ip": port.host_ip, "protocol": port.protocol}
    )


def _mount(mount: Mount) -> dict[str, Any]:
    inner = {
        "bind": _filled({"propagation": mount.propagation}) | {"create_host_path": mount.create_host_path},
        "volume": _filled({"nocopy": mount.nocopy, "subpath": mount.subpath}),
        "tmpfs": _filled({"size": mount.tmpfs_size_bytes, "mode": mount.tmpfs_mode}),
    }
    common = {"type": mount.kind, "source": mount.source, "target": mount.target, "read_only": mount.read_only}
    return _filled({**common, mount.kind: inner[mount.kind]})


def _attachment(item: Attachment) -> dict[str, Any]:
    described = {
        "aliases": list(item.aliases),
        "ipv4_address": item.ipv4_address,
        "ipv6_address": item.ipv6_address,
    }
    return _filled(described)


def _health(check: Healthcheck) -> dict[str, Any]:
    return _filled(
        {
            "test": list(check.test),
            "interval": _seconds(check.interval_s),
            "timeout": _seconds(check.timeout_s),
            "start_period": _seconds(check.start_period_s),
            "start_interval": _seconds(check.start_interval_s),
            "retries": check.retries,
        }
    )


def _grant(grant: Grant) -> dict[str, Any]:
    return _filled(
        {
            "source": grant.source,
            "target": grant.target,
            "uid": _text(grant.uid),
            "gid": _text(grant.gid),
            "mode": None if grant.mode is None else f"0{grant.mode:o}",
        }
    )


def _network(network: Network) -> dict[str, Any]:
    gateways = (*network.gateways, *("" for _ in network.subnets))
    ranges = [
        _filled({"subnet": subnet, "gateway": gateway})
        for subnet, gateway in zip(network.subnets, gateways, strict=False)
    ]
    return _filled(
        {
            "name": network.name,
            "external": network.external,
            "driver": network.driver,
            "internal": network.internal,
            "driver_opts": dict(network.driver_options),
            "ipam": {"config": ranges} if ranges else None,
            "labels": dict(network.labels),
        }
    ) | ({} if network.enable_ipv6 is None else {"enable_ipv6": network.enable_ipv6})


def _volume(volume: Volume) -> dict[str, Any]:
    return _filled(
        {
            "name": volume.name,
            "external": volume.external,
            "driver": volume.driver,
            "labels": dict(volume.labels),
        }
    )


def _material(material: Material) -> dict[str, Any]:
    described = {"file": material.file, "environment": material.environment}
    # The content of a config may be empty, and says something then.
    return _filled(described) | ({} if material.content is None else {"content": material.content})
