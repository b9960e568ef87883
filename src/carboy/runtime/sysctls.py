"""``--sysctl``: the kernel's settings that are a container's own. Pure.

An allow list (hardening row 31): what is not known to belong to a namespace of the container's would change the machine, or the
kernel would refuse it. Sources: docker-run(1) ("--sysctl"), ipc_namespaces(7), network_namespaces(7), mq_overview(7).
"""

from __future__ import annotations

import re

from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_IPC = re.compile(
    r"kernel\.(msgmax|msgmnb|msgmni|msg_next_id|sem|sem_next_id|shmall|shmmax|shmmni|shm_next_id|shm_rmid_forced)"
)
_MQUEUE = re.compile(r"fs\.mqueue\.[a-z_]+")
_NETWORK = re.compile(r"net(\.[A-Za-z0-9_-]+){2,8}")
_VALUE = re.compile(r"[0-9A-Za-z][0-9A-Za-z ,.:_+-]{0,255}|-?[0-9]{1,20}")


def check_sysctls(pairs: Iterable[tuple[str, str]], *, network: str) -> tuple[tuple[str, str], ...]:
    """Return the settings as (name with dots, value with single blanks), each name once, the last value counting.

    ``network`` is the container's: with the host's ("host") net.* is the host's, too. Raises ``CarboyError`` (125) that
    lists everything that is refused.
    """
    found: dict[str, str] = {}
    issues = []
    for name, text in pairs:
        value = " ".join(text.replace("\t", " ").split(" ")).strip(" ")  # a line break stays, and is refused below
        if _NETWORK.fullmatch(name):
            reason = "with the host's network it would change the host" if network == "host" else ""
        elif _IPC.fullmatch(name) or _MQUEUE.fullmatch(name):
            reason = ""
        else:
            reason = (
                "it is not a container's own: there are net.*, kernel.shm*, kernel.msg*, kernel.sem and fs.mqueue.*"
            )
        if not reason and not _VALUE.fullmatch(value):
            reason = "its value must be numbers or words on one line"
        if reason:
            issues.append(f"{name[:100]!r}: {reason}")
        found[name] = value
    if issues:
        raise CarboyError(
            "these kernel settings cannot be set for a container",
            details="\n".join(issues),
            hint="set others on the machine itself, by sysctl(8)",
            code=125,
        )
    return tuple(found.items())


def find_path(name: str) -> str:
    """Return where a setting lies in a root: proc/sys/net/ipv4/..."""
    return f"proc/sys/{name.replace('.', '/')}"
