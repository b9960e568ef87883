"""The three files below /etc that say where a container is in the network; placed over the image's, never into it."""

from __future__ import annotations

from carboy.runtime.spec import FileMount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_LOCAL = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


def plan_host_files(
    *, network: str, hostname: str, host_hosts: bytes, host_resolv: bytes, name_servers: Sequence[str] = ()
) -> tuple[FileMount, ...]:
    """Return the mounts for /etc/hostname, /etc/hosts and, where a network leads to name servers, /etc/resolv.conf. Pure.

    Beside ``name_servers`` stands what ``host_resolv`` says of how names are looked up.
    """
    if "\n" in hostname or "\t" in hostname:
        raise ValueError("a host name has no line breaks")
    hosts = f"{_LOCAL}127.0.1.1\t{hostname}\n".encode()
    files = [FileMount(target="/etc/hostname", content=f"{hostname}\n".encode(), optional=True)]
    if network == "host":
        files.append(FileMount(target="/etc/hosts", content=host_hosts or hosts, optional=True))
        files.append(FileMount(target="/etc/resolv.conf", content=host_resolv, optional=True))
    else:
        files.append(FileMount(target="/etc/hosts", content=hosts, optional=True))
        if name_servers:
            resolv = plan_resolv_conf(name_servers, host_resolv=host_resolv)
            files.append(FileMount(target="/etc/resolv.conf", content=resolv, optional=True))
    return tuple(files)


def plan_resolv_conf(name_servers: Sequence[str], *, host_resolv: bytes) -> bytes:
    """Return a resolv.conf with these name servers, and the host's search list and options: resolv.conf(5). Pure."""
    kept = [line for line in host_resolv.splitlines() if line.split()[:1] in ([b"search"], [b"domain"], [b"options"])]
    return b"".join(line + b"\n" for line in (*(f"nameserver {address}".encode() for address in name_servers), *kept))


def read_host_files(
    *, network: str, hostname: str, name_servers: Sequence[str] = (), has_search: bool = False
) -> tuple[FileMount, ...]:
    """Return the mounts, with the host's files read when its network is used, else with these name servers.

    ``has_search``: names are looked up there as they are on the host.
    """
    shared = network == "host"
    return plan_host_files(
        network=network,
        hostname=hostname,
        name_servers=name_servers,
        host_hosts=_read("/etc/hosts") if shared else b"",
        host_resolv=_read("/etc/resolv.conf") if shared or has_search else b"",
    )


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(65_536)
    except OSError:
        return b""
