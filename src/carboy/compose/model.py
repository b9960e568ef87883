"""A project as frozen values: what compose files say, with every short form made long and every path absolute.

Names are those of the Compose specification; units stand in names. ``None`` and empty mean that the file says nothing, and
the image's own value or the engine's default holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from carboy.compose.errors import Issue

Pairs = tuple[tuple[str, str], ...]

STARTED = "service_started"
HEALTHY = "service_healthy"
COMPLETED = "service_completed_successfully"
CONDITIONS = (STARTED, HEALTHY, COMPLETED)
DEFAULT_NETWORK = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSecret:
    """A secret that steps of a build can mount under ``id``; ``source`` is its key in the project."""

    source: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """How an image is built: ``context`` is an absolute folder or an address, ``dockerfile`` relative to it.

    ``ssh`` are ids of agents and the paths of their sockets ("": SSH_AUTH_SOCK's), ``additional_contexts`` names and what
    they stand for: an absolute folder, an address, or "service:" and the name of one. ``extra_hosts`` are "name=address".
    ``cache_from`` and ``cache_to`` are as the options of a build take them.
    """

    context: str
    dockerfile: str = ""
    dockerfile_inline: str = ""
    args: tuple[tuple[str, str | None], ...] = ()
    target: str = ""
    labels: Pairs = ()
    tags: tuple[str, ...] = ()
    network: str = ""
    no_cache: bool = False
    no_cache_filter: tuple[str, ...] = ()
    pull: bool = False
    platforms: tuple[str, ...] = ()
    secrets: tuple[BuildSecret, ...] = ()
    ssh: Pairs = ()
    additional_contexts: Pairs = ()
    entitlements: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()
    shm_size_bytes: int | None = None
    ulimits: tuple[Ulimit, ...] = ()
    cache_from: tuple[str, ...] = ()
    cache_to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One published port; ``published`` is empty for any free one, or ``8000-8010`` for one of a range."""

    target: int
    published: str = ""
    host_ip: str = ""
    protocol: str = "tcp"

    @property
    def text(self) -> str:
        """The port as ``--publish`` takes it."""
        host = f"[{self.host_ip}]" if ":" in self.host_ip else self.host_ip
        front = f"{host}:{self.published}:" if host else (f"{self.published}:" if self.published else "")
        return f"{front}{self.target}/{self.protocol}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """Files of a container. ``kind``: ``bind`` (``source`` is an absolute path), ``volume`` (``source`` is a key of the
    project's volumes, empty for an anonymous one), ``tmpfs``.
    """

    kind: str
    target: str
    source: str = ""
    read_only: bool = False
    propagation: str = ""
    create_host_path: bool = False
    nocopy: bool = False
    subpath: str = ""
    tmpfs_size_bytes: int | None = None
    tmpfs_mode: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A service on a network; ``network`` is a key of the project's networks."""

    network: str
    aliases: tuple[str, ...] = ()
    ipv4_address: str = ""
    ipv6_address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """What must be so before a service starts; not ``required``: its failure is a warning."""

    service: str
    condition: str = STARTED
    required: bool = True
    restart: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck:
    """``test`` begins with CMD, CMD-SHELL or NONE, and is empty when the image's own is kept."""

    test: tuple[str, ...] = ()
    interval_s: float | None = None
    timeout_s: float | None = None
    start_period_s: float | None = None
    start_interval_s: float | None = None
    retries: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A secret or config that a service sees as the file ``target``; ``source`` is its key in the project."""

    source: str
    target: str
    uid: int | None = None
    gid: int | None = None
    mode: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ulimit:
    """A resource limit; -1 is no limit."""

    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service; ``environment`` holds what ``env_file`` and ``environment`` come to.

    ``problems`` are reasons why it cannot be started that do not concern the rest of the project: a missing env_file.
    """

    name: str
    image: str = ""
    build: Build | None = None
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: Pairs = ()
    ports: tuple[Port, ...] = ()
    expose: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    tmpfs: tuple[str, ...] = ()
    networks: tuple[Attachment, ...] = ()
    network_mode: str = ""
    depends_on: tuple[Dependency, ...] = ()
    healthcheck: Healthcheck | None = None
    restart: str = ""
    replicas: int = 1
    cpus: str = ""
    cpuset: str = ""
    memory_bytes: int | None = None
    memory_swap_bytes: int | None = None
    shm_size_bytes: int | None = None
    pids_limit: int | None = None
    oom_score_adj: int | None = None
    ulimits: tuple[Ulimit, ...] = ()
    profiles: tuple[str, ...] = ()
    secrets: tuple[Grant, ...] = ()
    configs: tuple[Grant, ...] = ()
    labels: Pairs = ()
    user: str = ""
    working_dir: str = ""
    hostname: str = ""
    container_name: str = ""
    stop_signal: str = ""
    stop_grace_period_s: float | None = None
    read_only: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()
    sysctls: Pairs = ()
    extra_hosts: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    gpus: str = ""
    init: bool = False
    tty: bool = False
    stdin_open: bool = False
    platform: str = ""
    runtime: str = ""
    pull_policy: str = ""
    log_driver: str = ""
    log_options: Pairs = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network of the project; ``name`` is the one that the engine knows it by."""

    key: str
    name: str
    external: bool = False
    internal: bool = False
    driver: str = ""
    driver_options: Pairs = ()
    subnets: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    enable_ipv6: bool | None = None
    labels: Pairs = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A named volume of the project; ``name`` is the one that the engine knows it by."""

    key: str
    name: str
    external: bool = False
    driver: str = ""
    driver_options: Pairs = ()
    labels: Pairs = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Where a secret or config comes from: one of ``file`` (absolute), ``environment`` (a variable's name) and ``content``.

    ``value`` is what the variable held when the project was read.
    """

    key: str
    file: str = ""
    environment: str = ""
    content: str | None = None
    value: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project: all services, those of inactive profiles too; ``profiles`` are the active ones (``*``: all)."""

    name: str
    directory: str
    files: tuple[str, ...]
    services: tuple[Service, ...]
    networks: tuple[Network, ...] = ()
    volumes: tuple[Volume, ...] = ()
    secrets: tuple[Material, ...] = ()
    configs: tuple[Material, ...] = ()
    profiles: tuple[str, ...] = ()
    warnings: tuple[Issue, ...] = ()

    def service(self, name: str) -> Service:
        """Return a service. Raises ``KeyError``."""
        for service in self.services:
            if service.name == name:
                return service
        raise KeyError(name)

    def is_active(self, service: Service) -> bool:
        """Return whether the active profiles have a service."""
        return not service.profiles or "*" in self.profiles or bool(set(service.profiles) & set(self.profiles))
