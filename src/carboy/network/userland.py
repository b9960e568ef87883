"""Private networks of users without privilege: pasta or slirp4netns, which carry packets between a tap device and sockets."""

from __future__ import annotations

import os
import select

from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.network.attachment import Attachment

TUN = "/dev/net/tun"
READY_TIMEOUT_S = 5.0
_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
# slirp4netns(1)
_SLIRP_ADDRESS, _SLIRP_GATEWAY, _SLIRP_DNS = "10.0.2.100", "10.0.2.2", "10.0.2.3"


def find_program(name: str, *, path: str = _PATH) -> str:
    """Return where the program lies in the system's folders, "" when it does not."""
    for folder in path.split(":"):
        candidate = f"{folder}/{name}"
        if os.access(candidate, os.X_OK):
            return candidate
    return ""


def probe_userland(*, tun: str = TUN, path: str = _PATH) -> tuple[str | None, list[str]]:
    """Return "pasta", "slirp4netns" or None, and what is missing."""
    missing = []
    means = next((name for name in ("pasta", "slirp4netns") if find_program(name, path=path)), None)
    if means is None:
        missing.append("neither pasta nor slirp4netns is installed (Debian's packages passt and slirp4netns)")
    try:
        os.close(os.open(tun, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        missing.append(
            f"{tun} cannot be opened: {os.strerror(error.errno or 0)} (root can open it to all: chmod 666 {tun})"
        )
    return (None, missing) if missing else (means, [])


def plan_command(means: str, program: str, *, pid: int, ready_fd: int) -> list[str]:
    """Return the command line. The machine's loopback is closed to the container in both (assertion H8)."""
    if means == "pasta":
        return [
            program, "--config-net", "--quiet", "--foreground", "--no-map-gw", "-t", "none", "-u", "none",
            "-T", "none", "-U", "none", "--ns-ifname", "eth0",
            "--userns", f"/proc/{pid}/ns/user", "--netns", f"/proc/{pid}/ns/net",
        ]  # fmt: skip
    return [
        program, "--configure", "--mtu=65520", "--disable-host-loopback", f"--ready-fd={ready_fd}",
        f"--userns-path=/proc/{pid}/ns/user", "--netns-type=path", f"/proc/{pid}/ns/net", "eth0",
    ]  # fmt: skip


def attach_userland(means: str, netns_fd: int, *, pid: int) -> Attachment:
    """Start the program, wait until the device is there, and return what the container has got. Raises ``CarboyError`` (125)."""
    from carboy.base.proc import spawn
    from carboy.network import netlink
    from carboy.network.attachment import RESOLVER_IP, Attachment, find_name_servers

    ready, say = os.pipe2(os.O_CLOEXEC)
    try:
        helper = spawn(plan_command(means, find_program(means), pid=pid, ready_fd=3), fds={3: say}, new_session=True)
        os.close(say)
        say = -1
        _wait_until_up(netns_fd, helper, means)
        with netlink.open_in_namespace(netns_fd) as inside:
            found = [
                prefix.address
                for prefix in netlink.list_addresses(inside)
                if not prefix.address.startswith(("127.", "fe80:")) and prefix.address != "::1"
            ]
    finally:
        os.close(ready)
        if say >= 0:
            os.close(say)
    dns = (_SLIRP_DNS,) if means == "slirp4netns" else find_name_servers()
    gateway = _SLIRP_GATEWAY if means == "slirp4netns" else ""
    return Attachment(addresses=found, gateway=gateway, dns=dns or (RESOLVER_IP,), helper=helper)


def _wait_until_up(netns_fd: int, helper: int, means: str) -> None:
    """Wait until the namespace has a default route; the kernel says when its routes change."""
    import time

    from carboy.network import netlink

    end_s = time.monotonic() + READY_TIMEOUT_S
    with netlink.open_in_namespace(netns_fd) as inside:
        while not any(route.length == 0 for route in netlink.list_routes(inside)):
            gone, status = os.waitpid(helper, os.WNOHANG)
            if gone or time.monotonic() > end_s:
                why = f"it ended with status {os.waitstatus_to_exitcode(status)}" if gone else "it did not get ready"
                if not gone:
                    os.kill(helper, 9)
                    os.waitpid(helper, 0)
                raise CarboyError(
                    f"{means} cannot make the private network", details=why, hint=f"try {means} by itself", code=125
                )
            select.select([], [], [], 0.005)
