"""What a running container uses and which processes it has, measured by somebody who may look.

As root that is the caller. A user's container belongs to a user namespace, into which nobody but its keeper's own kin may
look, so the keeper makes a child that answers for it (:func:`serve`): the keeper stays small and never waits for /proc.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from carboy.runtime.native.cgroups import live, processes

if TYPE_CHECKING:
    from carboy.containers.control import Connection

OWN_PROCESSES = 2  # carboy's in each container's groups: see live.Stats


def measure(container_id: str, *, pid: int, shares_network: bool) -> dict[str, Any]:
    """Return what a container has used: the fields of ``live.Stats``, "received_bytes" and "sent_bytes", and "at_s".

    ``at_s`` is a moment of the monotonic clock. Of a network that is not its own nothing is counted. ``pids`` is without
    carboy's own. Raises ``ProcessLookupError`` when it has ended.
    """
    stats = live.read_stats(container_id, pid=pid)
    own = 0
    if processes.is_own_init(pid):  # another runtime leaves nothing of ours in there
        own = OWN_PROCESSES if "pids" in stats.from_groups else 1
    received, sent = (0, 0) if shares_network else read_network(pid)
    return {
        "at_s": time.monotonic(),
        "cpu_ns": stats.cpu_ns,
        "memory_bytes": stats.memory_bytes,
        "memory_limit_bytes": stats.memory_limit_bytes,
        "pids": max(stats.pids - own, 0),
        "read_bytes": stats.read_bytes,
        "write_bytes": stats.write_bytes,
        "received_bytes": received,
        "sent_bytes": sent,
        "oom_kills": stats.oom_kills,
    }


def read_network(pid: int, proc: str = "/proc") -> tuple[int, int]:
    """Return the (received, sent) bytes of all interfaces of a process's network but the loopback; zeros when it has ended."""
    try:
        with open(f"{proc}/{pid}/net/dev", encoding="ascii", errors="replace") as file:
            rows = [line.partition(":") for line in file.read(1 << 20).splitlines()[2:]]
    except OSError:
        return 0, 0
    received = sent = 0
    for name, _, text in rows:
        fields = text.split()
        if name.strip() != "lo" and len(fields) >= 9:
            received += int(fields[0])
            sent += int(fields[8])
    return received, sent


def list_processes(container_id: str, *, pid: int) -> list[dict[str, Any]]:
    """Return the processes of a container: "pid" (the machine's), "inner_pid", "uid" (the container's), "cpu_s",
    "memory_bytes", "started_at_s" (since 1970), "state", "command".

    Raises ``ProcessLookupError`` when it has ended.
    """
    with open("/proc/uptime", encoding="ascii") as file:
        booted_at_s = time.time() - float(file.read().split()[0])
    id_map = read_id_map(pid)
    return [
        {
            "pid": process.pid,
            "inner_pid": process.inner_pid,
            "uid": find_inner_id(process.uid, id_map),
            "cpu_s": process.cpu_ns / 1e9,
            "memory_bytes": process.memory_bytes,
            "started_at_s": booted_at_s + process.started_s,
            "state": process.state,
            "command": " ".join(process.command) or f"[{process.name}]",
        }
        for process in live.read_processes(container_id, pid=pid)
    ]


def read_id_map(pid: int) -> list[tuple[int, int, int]]:
    """Return the (inside, outside, count) of a process's user namespace, as this process sees the outside."""
    try:
        with open(f"/proc/{pid}/uid_map", encoding="ascii") as file:
            rows = [tuple(map(int, line.split())) for line in file]
    except FileNotFoundError:
        raise ProcessLookupError(f"the process {pid} has ended") from None
    return [(row[0], row[1], row[2]) for row in rows]


def find_inner_id(uid: int, id_map: list[tuple[int, int, int]]) -> int:
    """Return what an id of the outside is called inside: 65534 (nobody) when it has no name there. Pure."""
    for inside, outside, count in id_map:
        if outside <= uid < outside + count:
            return inside + uid - outside
    return 65_534


def answer(message: tuple[Any, ...], container_id: str, *, pid: int, shares_network: bool) -> tuple[Any, ...]:
    """Return the answer to ("stats",) or ("top",)."""
    try:
        if message[0] == "top":
            return ("ok", list_processes(container_id, pid=pid))
        return ("ok", measure(container_id, pid=pid, shares_network=shares_network))
    except (OSError, ValueError) as error:
        return ("refused", "the container cannot be looked at", str(error))


def serve(connection: Connection, container_id: str, *, pid: int, shares_network: bool) -> None:
    """Answer ("stats",) and ("top",) until the other end goes, or the process that this one was made for ends."""
    while True:
        message, fds = connection.receive()
        for fd in fds:
            os.close(fd)
        if message is None:
            return
        reply = answer(message, container_id, pid=pid, shares_network=shares_network)
        if not connection.send(reply):
            return
