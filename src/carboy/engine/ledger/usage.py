"""What a run used: of its control groups where the kernel counted there, else of what was waited for."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

from carboy.ledger.record import Usage
from carboy.runtime.attend import Watcher
from carboy.runtime.native.cgroups import live

if TYPE_CHECKING:
    from carboy.runtime.loop import Loop
    from carboy.runtime.sandbox import Event, Sandbox

# Of version 2 (since Linux 5.19), and of version 1.
_PEAKS = (("memory", "memory.peak"), ("memory", "memory.max_usage_in_bytes"))


class UsageWatcher(Watcher):
    """Stands between a sandbox and its keeper, and notes the most memory that the group of ``container_id`` had."""

    def __init__(self) -> None:
        self.container_id = ""
        self._keeper = Watcher()
        self._peak_fd = -1
        self._peak_bytes = 0

    def beside(self, keeper: Watcher) -> Watcher:
        """Return this watcher, which tells ``keeper`` everything."""
        self._keeper = keeper
        return self

    def begin(self, sandbox: Sandbox, loop: Loop) -> None:
        """Pass on."""
        self._keeper.begin(sandbox, loop)

    def take(self, event: Event) -> None:
        """Find the group when there is a process in it, and read it as soon as that has ended: the group goes next."""
        if event[0] == "exit":
            self._read_peak()
        self._keeper.take(event)
        if event[0] == "pid":
            self._find_peak(event[1])

    def end(self) -> None:
        """Pass on."""
        self._keeper.end()
        if self._peak_fd >= 0:
            os.close(self._peak_fd)
            self._peak_fd = -1

    def read(self, began: resource.struct_rusage) -> Usage:
        """Return what was used since ``began``, when it has ended."""
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = now.ru_utime + now.ru_stime - began.ru_utime - began.ru_stime
        peak, source = self._peak_bytes, "cgroup"
        if not peak:
            # The largest process that was ever waited for: of this run only if it is larger than those before.
            peak, source = (now.ru_maxrss * 1024, "rusage") if now.ru_maxrss > began.ru_maxrss else (0, "")
        return Usage(cpu_s=round(cpu_s, 3), peak_memory_bytes=peak, memory_from=source)

    def _find_peak(self, pid: int) -> None:
        try:
            groups = live.find_groups(self.container_id, pid=pid)
            path = next(path for names in _PEAKS if (path := groups.find(*names)))
            self._peak_fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, StopIteration):
            return  # no group, or nobody counts there

    def _read_peak(self) -> None:
        if self._peak_fd >= 0:
            try:
                self._peak_bytes = int(os.pread(self._peak_fd, 64, 0))
            except (OSError, ValueError):
                return  # the group is gone
