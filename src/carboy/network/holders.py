"""Who holds a port of this machine, for the message that says it is taken."""

from __future__ import annotations

import os

_LISTEN = "0A"


def find_holder(protocol: str, port: int) -> str:
    """Return the program and pid that hold the port ("nginx (process 812)"), "" when that cannot be seen from here.

    Other users' processes show their sockets to root only. Source: proc(5), /proc/net/tcp.
    """
    inodes = {
        inode for table in (protocol, f"{protocol}6") for inode in _read_inodes(f"/proc/net/{table}", port, protocol)
    }
    if not inodes:
        return ""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for pid in os.listdir("/proc"):
        if pid.isdigit() and _holds(f"/proc/{pid}/fd", wanted):
            try:
                with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                    return f"{file.read().strip()} (process {pid})"
            except OSError:
                continue
    return ""


def _read_inodes(path: str, port: int, protocol: str) -> list[str]:
    try:
        with open(path, encoding="ascii") as file:
            rows = [line.split() for line in file][1:]
    except OSError:
        return []
    suffix = f":{port:04X}"
    return [row[9] for row in rows if row[1].endswith(suffix) and (protocol == "udp" or row[3] == _LISTEN)]


def _holds(folder: str, wanted: set[str]) -> bool:
    try:
        return any(_read_link(f"{folder}/{fd}") in wanted for fd in os.listdir(folder))
    except OSError:
        return False


def _read_link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
