"""The processes of one container, found by their pid namespace, and what /proc says of them.

This is also what a container without control groups is paused and counted by: weaker than a group, in ways that
:func:`stop_processes` and :func:`count_usage` name.

Sources: proc(5), pid_namespaces(7), ptrace(2) ("Ptrace access mode checking").
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

MAX_ROUNDS = 100
_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process of a container at one moment.

    ``pid`` and ``parent`` count as this process sees them, ``inner_pid`` as the container does; ``uid`` is the host's;
    ``state`` is the kernel's letter; ``started_s`` counts from the machine's boot; ``command`` is empty for a zombie.
    """

    pid: int
    inner_pid: int
    parent: int
    uid: int
    state: str
    threads: int
    cpu_ns: int
    memory_bytes: int
    started_s: float
    name: str
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What processes have used, summed."""

    cpu_ns: int
    memory_bytes: int
    pids: int
    read_bytes: int
    write_bytes: int


def list_pids(pid: int) -> list[int]:
    """Return the pids of all processes in the pid namespace of ``pid``, sorted, ``pid`` itself among them.

    Where the namespace cannot be looked at (another user's), or is this process's own (gVisor's kernel has none for itself),
    the descendants of ``pid``: processes that ``exec`` has put beside them are missed then. Raises
    ``ProcessLookupError`` when ``pid`` has ended.
    """
    try:
        wanted = os.stat(f"/proc/{pid}/ns/pid").st_ino
    except FileNotFoundError:
        raise ProcessLookupError(f"the process {pid} has ended") from None
    except PermissionError:
        return sorted(_list_descendants(pid))
    if wanted == os.stat("/proc/self/ns/pid").st_ino:
        return sorted(_list_descendants(pid))
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            if os.stat(f"/proc/{name}/ns/pid").st_ino == wanted:
                found.append(int(name))
        except OSError:
            continue  # it has ended, or is none of ours
    return sorted(found)


def _list_descendants(pid: int) -> set[int]:
    found = {pid}
    left = [pid]
    while left:
        current = left.pop()
        try:
            tasks = os.listdir(f"/proc/{current}/task")
        except OSError:
            continue
        for task in tasks:
            children = {int(child) for child in _read(f"/proc/{current}/task/{task}/children").split()} - found
            found |= children
            left += children
    return found


def is_own_init(pid: int) -> bool:
    """Return whether the first process of a container is carboy's, which other runtimes have none of."""
    return _read(f"/proc/{pid}/comm").strip() == "carboy-init"


def read_process(pid: int) -> Process | None:
    """Return what /proc says of a process, None when it has ended."""
    try:
        stat = _read_all(f"/proc/{pid}/stat")
        status = _read_all(f"/proc/{pid}/status")
        command = _read_all(f"/proc/{pid}/cmdline")
    except OSError:
        return None
    head, _, rest = stat.rpartition(b")")
    fields = rest.split()
    rows = dict(line.split(b":", 1) for line in status.splitlines() if b":" in line)
    return Process(
        pid=pid,
        inner_pid=int(rows.get(b"NSpid", b"%d" % pid).split()[-1]),
        parent=int(fields[1]),
        uid=int(rows[b"Uid"].split()[1]),
        state=fields[0].decode(),
        threads=int(fields[17]),
        cpu_ns=(int(fields[11]) + int(fields[12])) * _TICK_NS,
        memory_bytes=int(fields[21]) * _PAGE_BYTES,
        started_s=int(fields[19]) * _TICK_NS / 1e9,
        name=head.partition(b"(")[2].decode(errors="replace"),
        command=tuple(item.decode(errors="replace") for item in command.split(b"\0")[:-1]),
    )


def count_usage(pid: int) -> Usage:
    """Return what the container of the first process ``pid`` uses and has used, as far as /proc shows it.

    Weaker than a group: memory is what processes hold of their own (anonymous and shared; no page cache), counted once for
    each that shares it; what was read and written is that of living processes, 0 where their counts may not be read.
    """
    cpu_ns = memory_bytes = pids = read_bytes = write_bytes = 0
    for current in list_pids(pid):
        try:
            fields = _read_all(f"/proc/{current}/stat").rpartition(b")")[2].split()
            status = _read_all(f"/proc/{current}/status")
        except OSError:
            continue
        # With those of children that were waited for: what ended is not forgotten.
        cpu_ns += sum(int(field) for field in fields[11:15]) * _TICK_NS
        pids += int(fields[17])
        for line in status.splitlines():
            if line.startswith((b"RssAnon:", b"RssShmem:")):
                memory_bytes += int(line.split()[1]) * 1024
        for row in _read(f"/proc/{current}/io").splitlines():
            name, _, count = row.partition(": ")
            read_bytes += int(count) if name == "read_bytes" else 0
            write_bytes += int(count) if name == "write_bytes" else 0
    return Usage(cpu_ns=cpu_ns, memory_bytes=memory_bytes, pids=pids, read_bytes=read_bytes, write_bytes=write_bytes)


def stop_processes(pid: int) -> None:
    """Stop every process of the namespace of ``pid`` but carboy's init, by SIGSTOP, until none runs.

    Weaker than freezing a group: a parent in the container is told of it by waitpid(2) once it goes on, and continuing
    also continues what was stopped before. Raises ``PermissionError`` when they are not this process's to stop, and
    ``TimeoutError`` when new ones appear faster than they are stopped.
    """
    for _ in range(MAX_ROUNDS):
        running = [item for item in _list_states(pid) if item[1] not in "TtZX"]
        if not running:
            return
        for current, _ in running:
            _signal(current, signal.SIGSTOP)
        time.sleep(0.001)
    raise TimeoutError(f"the processes of {pid} do not stop")


def continue_processes(pid: int) -> None:
    """Let every process of the namespace of ``pid`` go on that is stopped. Raises ``PermissionError``."""
    for current, state in _list_states(pid):
        if state == "T":
            _signal(current, signal.SIGCONT)


def has_stopped(pid: int) -> bool:
    """Return whether there are processes beside ``pid`` in its namespace and all of them are stopped."""
    states = [state for _, state in _list_states(pid) if state not in "ZX"]
    return bool(states) and all(state in "Tt" for state in states)


def _list_states(pid: int) -> list[tuple[int, str]]:
    found = []
    own = pid if is_own_init(pid) else 0
    for current in list_pids(pid):
        if current != own:
            state = _read(f"/proc/{current}/stat").rpartition(")")[2].split()
            if state:
                found.append((current, state[0]))
    return found


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it has ended


def is_alive(pid: int) -> bool:
    """Return whether a process is there and no zombie."""
    state = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return bool(state) and state[0] not in "ZX"


def send_signal(pid: int, number: int) -> None:
    """Send a signal to every process of the namespace of ``pid`` but carboy's init, which ends when they do."""
    own = pid if is_own_init(pid) else 0
    for current in list_pids(pid):
        if current != own:
            _signal(current, number)


def _read_all(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(1 << 20)


def _read(path: str) -> str:
    try:
        return _read_all(path).decode(errors="replace")
    except OSError:
        return ""
