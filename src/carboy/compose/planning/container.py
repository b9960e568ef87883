"""What one container of a service is, in the words of ``docker run``; and the hash that says whether it still is that."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from carboy.base.canonical import digest_json
from carboy.compose.model import Grant, Healthcheck, Material, Mount, Pairs, Project, Service

# Docker Compose's own labels, so that its tools and carboy's see the same projects.
PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
NUMBER_LABEL = "com.docker.compose.container-number"
HASH_LABEL = "com.docker.compose.config-hash"
ONEOFF_LABEL = "com.docker.compose.oneoff"
DIRECTORY_LABEL = "com.docker.compose.project.working_dir"
FILES_LABEL = "com.docker.compose.project.config_files"
DEPENDS_LABEL = "com.docker.compose.depends_on"
NETWORK_LABEL = "com.docker.compose.network"
VOLUME_LABEL = "com.docker.compose.volume"
# A short hash of each field, so that a recreation can say what changed.
FIELDS_LABEL = "carboy.compose.fields"
SEPARATOR = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkJoin:
    """``network`` is the engine's name; the container answers to ``aliases`` on it."""

    network: str
    aliases: tuple[str, ...] = ()
    ip: str = ""
    ip6: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileGrant:
    """A read-only file in the container: a secret or config.

    The content is that of the host's ``file``; or of the variable ``environment``, held in ``value`` (None: it was not set);
    or ``content``. ``uid``, ``gid`` and ``mode`` are those in the container (None: the container's user, 0444).
    """

    kind: str
    target: str
    file: str = ""
    environment: str = ""
    content: str | None = None
    value: str | None = field(default=None, repr=False)
    uid: int | None = None
    gid: int | None = None
    mode: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceContainer:
    """A container to be made. Fields are ``docker run``'s options, each value as the option takes it.

    ``command`` and ``entrypoint``: None is the image's own, empty is none. ``network`` is ``none``, ``host`` or ``private``, and
    empty when ``networks`` are joined. Memory is in bytes, -1 without limit. ``create_host_paths`` are folders that the binds
    want to be made when they do not exist. ``label`` holds the project's labels as well.
    """

    project: str
    service: str
    number: int
    name: str
    image: str
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    publish: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    mount: tuple[str, ...] = ()
    create_host_paths: tuple[str, ...] = ()
    tmpfs: tuple[str, ...] = ()
    files: tuple[FileGrant, ...] = ()
    network: str = ""
    networks: tuple[NetworkJoin, ...] = ()
    restart: str = ""
    healthcheck: Healthcheck | None = None
    hostname: str = ""
    user: str = ""
    workdir: str = ""
    stop_signal: str = ""
    stop_timeout_s: float | None = None
    read_only: bool = False
    init: bool = False
    tty: bool = False
    interactive: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()
    sysctl: tuple[str, ...] = ()
    ulimit: tuple[str, ...] = ()
    add_host: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    device: tuple[str, ...] = ()
    gpus: str = ""
    cpus: str = ""
    cpuset_cpus: str = ""
    memory: int | None = None
    memory_swap: int | None = None
    shm_size: int | None = None
    pids_limit: int | None = None
    oom_score_adj: int | None = None
    platform: str = ""
    runtime: str = ""
    log_driver: str = ""
    log_opt: tuple[str, ...] = ()
    config_hash: str = ""


# Which container it is, and what is derived from the rest, are not what it is.
_NOT_CONFIGURATION = {"project", "service", "number", "name", "config_hash"}
# What people call a field in a compose file.
_WORDS = {
    "env": "environment", "label": "labels", "publish": "ports", "mount": "volumes", "create_host_paths": "volumes",
    "files": "secrets", "network": "networks", "workdir": "working_dir", "stop_timeout_s": "stop_grace_period",
    "interactive": "stdin_open", "sysctl": "sysctls", "ulimit": "ulimits", "add_host": "extra_hosts", "device": "devices",
    "memory": "mem_limit", "memory_swap": "memswap_limit", "cpuset_cpus": "cpuset", "log_driver": "logging", "log_opt": "logging",
}  # fmt: skip


def image_name(project: Project, service: Service) -> str:
    """Return the image that a service runs: its own name, or the one that its build gets."""
    return service.image or f"{project.name}{SEPARATOR}{service.name}"


def container_name(project: Project, service: Service, number: int) -> str:
    """Return the name of a container."""
    return service.container_name or SEPARATOR.join((project.name, service.name, str(number)))


def service_container(project: Project, service: Service, number: int) -> ServiceContainer:
    """Return what container ``number`` (from 1) of a service is."""
    names = {network.key: network.name for network in project.networks}
    bare = ServiceContainer(
        project=project.name,
        service=service.name,
        number=number,
        name=container_name(project, service, number),
        image=image_name(project, service),
        command=service.command,
        entrypoint=service.entrypoint,
        env=_texts(service.environment),
        label=_texts(service.labels),
        publish=tuple(port.text for port in service.ports),
        expose=service.expose,
        mount=tuple(mount_text(mount, _volume_name(project, mount)) for mount in service.mounts),
        create_host_paths=tuple(mount.source for mount in service.mounts if mount.create_host_path),
        tmpfs=service.tmpfs,
        files=(
            *_files("secret", service.secrets, project.secrets),
            *_files("config", service.configs, project.configs),
        ),
        network=service.network_mode,
        networks=tuple(
            NetworkJoin(
                network=names[item.network],
                aliases=tuple(dict.fromkeys((service.name, *item.aliases))),
                ip=item.ipv4_address,
                ip6=item.ipv6_address,
            )
            for item in service.networks
        ),
        restart=service.restart,
        healthcheck=service.healthcheck,
        hostname=service.hostname,
        user=service.user,
        workdir=service.working_dir,
        stop_signal=service.stop_signal,
        stop_timeout_s=service.stop_grace_period_s,
        read_only=service.read_only,
        init=service.init,
        tty=service.tty,
        interactive=service.stdin_open,
        cap_add=service.cap_add,
        cap_drop=service.cap_drop,
        security_opt=service.security_opt,
        sysctl=_texts(service.sysctls),
        ulimit=tuple(f"{item.name}={item.soft}:{item.hard}" for item in service.ulimits),
        add_host=tuple(text.replace("=", ":", 1) for text in service.extra_hosts),
        dns=service.dns,
        device=service.devices,
        gpus=service.gpus,
        **_limits(service),
    )
    configured = replace(bare, config_hash=config_hash(bare))
    return replace(configured, label=(*configured.label, *_texts(_own_labels(project, service, configured))))


def _limits(service: Service) -> dict[str, Any]:
    return {
        "cpus": service.cpus,
        "cpuset_cpus": service.cpuset,
        "memory": service.memory_bytes,
        "memory_swap": service.memory_swap_bytes,
        "shm_size": service.shm_size_bytes,
        "pids_limit": service.pids_limit,
        "oom_score_adj": service.oom_score_adj,
        "platform": service.platform,
        "runtime": service.runtime,
        "log_driver": service.log_driver,
        "log_opt": _texts(service.log_options),
    }


def _texts(pairs: Pairs) -> tuple[str, ...]:
    return tuple(f"{name}={value}" for name, value in pairs)


def _own_labels(project: Project, service: Service, container: ServiceContainer) -> Pairs:
    depends = ",".join(f"{item.service}:{item.condition}:{str(item.restart).lower()}" for item in service.depends_on)
    return (
        (PROJECT_LABEL, project.name),
        (SERVICE_LABEL, service.name),
        (NUMBER_LABEL, str(container.number)),
        (ONEOFF_LABEL, "False"),
        (HASH_LABEL, container.config_hash),
        (FIELDS_LABEL, _field_hashes(container)),
        (DIRECTORY_LABEL, project.directory),
        (FILES_LABEL, ",".join(project.files)),
        (DEPENDS_LABEL, depends),
    )


def _volume_name(project: Project, mount: Mount) -> str:
    if mount.kind != "volume" or not mount.source:
        return mount.source
    return next(volume.name for volume in project.volumes if volume.key == mount.source)


def mount_text(mount: Mount, source: str) -> str:
    """Return a mount as ``--mount`` takes it: comma-separated, items with a comma or a quote in double quotes."""
    items = [f"type={mount.kind}"]
    items += [f"source={source}"] if source else []
    items += [f"target={mount.target}"]
    items += ["readonly"] if mount.read_only else []
    items += [f"bind-propagation={mount.propagation}"] if mount.propagation else []
    items += ["volume-nocopy"] if mount.nocopy else []
    items += [f"volume-subpath={mount.subpath}"] if mount.subpath else []
    items += [f"tmpfs-size={mount.tmpfs_size_bytes}"] if mount.tmpfs_size_bytes is not None else []
    items += [f"tmpfs-mode={mount.tmpfs_mode:04o}"] if mount.tmpfs_mode is not None else []
    return ",".join('"' + item.replace('"', '""') + '"' if set(item) & set(',"\n') else item for item in items)


def _files(kind: str, grants: tuple[Grant, ...], materials: tuple[Material, ...]) -> tuple[FileGrant, ...]:
    by_key = {material.key: material for material in materials}
    return tuple(
        FileGrant(
            kind=kind,
            target=grant.target,
            file=by_key[grant.source].file,
            environment=by_key[grant.source].environment,
            content=by_key[grant.source].content,
            value=by_key[grant.source].value,
            uid=grant.uid,
            gid=grant.gid,
            mode=grant.mode,
        )
        for grant in grants
    )


def _configuration(container: ServiceContainer) -> dict[str, object]:
    """Return the fields that make a container what it is, where they are not the default.

    A secret's value is left out: a label must not hold what could be found out by trying. Environment, labels and the like
    have no order.
    """
    default = {item.name: item.default for item in fields(ServiceContainer)}
    found = {
        name: value
        for name, value in asdict(container).items()
        if name not in _NOT_CONFIGURATION and value != default[name]
    }
    for name in ("env", "label", "sysctl", "expose", "cap_add", "cap_drop"):
        if name in found:
            found[name] = sorted(found[name])
    if "files" in found:
        found["files"] = [{key: item[key] for key in item if key != "value"} for item in found["files"]]
    return found


def config_hash(container: ServiceContainer) -> str:
    """Return the SHA-256 of what a container is, the same for every number, whatever order a file lists things in."""
    return digest_json(_configuration(replace(container, label=_foreign_labels(container))))


def _foreign_labels(container: ServiceContainer) -> tuple[str, ...]:
    return tuple(text for text in container.label if not text.startswith(("com.docker.compose.", "carboy.compose.")))


def _field_hashes(container: ServiceContainer) -> str:
    configuration = _configuration(replace(container, label=_foreign_labels(container)))
    return " ".join(f"{name}={digest_json(value)[:8]}" for name, value in sorted(configuration.items()))


def changed_fields(before: str, container: ServiceContainer) -> tuple[str, ...]:
    """Return what differs, in the words of compose files; ``before`` is an older container's ``FIELDS_LABEL``.

    Empty when the label is missing or nothing is known to differ.
    """
    if not before:
        return ()
    old = dict(item.partition("=")[::2] for item in before.split())
    new = dict(item.partition("=")[::2] for item in _field_hashes(container).split())
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    return tuple(dict.fromkeys(_WORDS.get(name, name) for name in names))
