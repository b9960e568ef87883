"""What a container is (``ContainerConfig``, frozen when it is made) and what became of it (``ContainerState``).

::

    containers/<id>/
        config.json   ContainerConfig           name      the name in use, one line
        state.json    ContainerState, replaced as a whole; missing: never started
        control       socket of the process that keeps it (0600; see ``control``)
        log, log.1    what it wrote (see ``log``)
        ...           lock, claim, kept, rw/, mnt/: see ``snapshots``
    names/<name>      a link whose text is the id; made with O_EXCL, so a name has one owner

Texts that people wrote (mounts, limits, ports) stay texts here: they are checked when the container is made, and read again
when it starts, on a machine that may have changed since.
"""

from __future__ import annotations

import os

from carboy.base.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

DEFAULT_STOP_SIGNAL = "SIGTERM"
DEFAULT_STOP_TIMEOUT_S = 10
DEFAULT_LOG_BYTES = 10 * 2**20
DEFAULT_LOG_FILES = 3


class ContainerConfig(Record):
    """A container as it was asked for, over its image's defaults.

    ``manifest`` is the image's digest; ``layers`` the diff ids it stands on, lowest first. ``mounts`` are pairs of the option
    ("volume", "mount", "tmpfs", "secret") and its text, ``limits`` pairs of the option ("memory") and its text; ``publish`` are
    texts of Docker's form. ``more_networks`` are those beyond ``network``: (network, further name there ...); ``network_ips``
    pairs of a network and the address that was asked for there.
    ``restart`` is "no", "always", "unless-stopped" or "on-failure[:N]". ``log_bytes`` is
    the size at which a log file is put aside, ``log_files`` how many are kept; 0 bytes: nothing is logged.
    """

    id: str
    image: str
    manifest: str
    layers: tuple[str, ...]
    created_at_s: float
    args: tuple[str, ...]
    entrypoint: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    workdir: str = "/"
    user: str = ""
    groups: tuple[str, ...] = ()
    hostname: str = ""
    tty: bool = False
    interactive: bool = False
    auto_remove: bool = False
    read_only: bool = False
    init: bool = True
    network: str = "none"
    network_aliases: tuple[str, ...] = ()
    more_networks: tuple[tuple[str, ...], ...] = ()
    network_ips: tuple[tuple[str, str], ...] = ()
    publish: tuple[str, ...] = ()
    add_hosts: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    mounts: tuple[tuple[str, str], ...] = ()
    volumes: tuple[str, ...] = ()
    limits: tuple[tuple[str, str], ...] = ()
    devices: tuple[str, ...] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security: tuple[str, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    restart: str = "no"
    stop_signal: str = DEFAULT_STOP_SIGNAL
    stop_timeout_s: int = DEFAULT_STOP_TIMEOUT_S
    health_test: tuple[str, ...] = ()
    health_interval_s: float = 30
    health_timeout_s: float = 30
    health_start_s: float = 0
    health_start_interval_s: float = 5
    health_retries: int = 3
    log_bytes: int = DEFAULT_LOG_BYTES
    log_files: int = DEFAULT_LOG_FILES
    runtime: str = "native"

    @property
    def networks(self) -> tuple[tuple[str, ...], ...]:
        """All networks in the order in which it joins them: (network, further name there ...)."""
        return ((self.network, *self.network_aliases), *self.more_networks)


class ContainerState(Record):
    """What a container is doing, as the process that keeps it wrote it down.

    ``status`` is "running", "paused", "restarting" or "exited"; times are seconds since 1970, 0 for never. ``pid`` is its first
    process and ``supervisor`` the process that keeps it, as the machine sees them. ``stopped`` says that a person ended
    it, which a restart policy respects. ``boot`` names the boot of the machine all this was true in.
    """

    status: str
    pid: int = 0
    supervisor: int = 0
    started_at_s: float = 0.0
    finished_at_s: float = 0.0
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    restarts: int = 0
    stopped: bool = False
    health: str = ""
    health_log: tuple[tuple[float, float, int, str], ...] = ()
    health_failures: int = 0
    ports: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    boot: str = ""


def write_record(folder: str, name: str, record: Record) -> None:
    """Replace a record's file as a whole. Raises ``OSError``.

    Not fsynced: after a power cut the container is not running, whatever its last state said, and readers know that.
    """
    replace_file(f"{folder}/{name}.json", record.encode().encode() + b"\n")


def replace_file(path: str, data: bytes) -> None:
    """Write a small file as a whole: readers see what was there before, or all of ``data``. Raises ``OSError``."""
    fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:  # a disk that becomes full takes a part, and fails with the next
            view = view[os.write(fd, view) :]
    finally:
        os.close(fd)
    os.rename(f"{path}.new", path)


def read_json(path: str) -> dict[str, Any] | None:
    """Return the JSON object in a file; None when there is none, or a power cut left it empty."""
    import json

    try:
        with open(path, "rb") as file:
            value = json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def iter_configs(containers: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the folder and the config, as JSON, of every container in the folder ``containers``; build steps have none."""
    for name in sorted(os.listdir(containers)):
        folder = f"{containers}/{name}"
        value = None if "~" in name else read_json(f"{folder}/config.json")
        if value is not None:
            yield folder, value


def read_boot() -> str:
    """Return the name of this boot of the machine."""
    with open("/proc/sys/kernel/random/boot_id", "rb") as file:
        return file.read().strip().decode()
