"""The three files below /etc that say where a container is in the network; placed over the image's, never into it."""

from __future__ import annotations

from carboy.runtime.spec import FileMount

_LOCAL = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


def plan_host_files(*, network: str, hostname: str, host_hosts: bytes, host_resolv: bytes) -> tuple[FileMount, ...]:
    """Return the mounts for /etc/hostname, /etc/hosts and, with the host's network, /etc/resolv.conf. Pure."""
    if "\n" in hostname or "\t" in hostname:
        raise ValueError("a host name has no line breaks")
    hosts = f"{_LOCAL}127.0.1.1\t{hostname}\n".encode()
    files = [FileMount(target="/etc/hostname", content=f"{hostname}\n".encode(), optional=True)]
    if network == "host":
        files.append(FileMount(target="/etc/hosts", content=host_hosts or hosts, optional=True))
        files.append(FileMount(target="/etc/resolv.conf", content=host_resolv, optional=True))
    else:
        files.append(FileMount(target="/etc/hosts", content=hosts, optional=True))
    return tuple(files)


def read_host_files(*, network: str, hostname: str) -> tuple[FileMount, ...]:
    """Return the mounts, with the host's files read when its network is used."""
    shared = network == "host"
    return plan_host_files(
        network=network,
        hostname=hostname,
        host_hosts=_read("/etc/hosts") if shared else b"",
        host_resolv=_read("/etc/resolv.conf") if shared else b"",
    )


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(65_536)
    except OSError:
        return b""
