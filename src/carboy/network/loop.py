"""The loop of the process that carries a container's ports: epoll, one handler per descriptor, no threads."""

from __future__ import annotations

import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

IN = select.EPOLLIN
OUT = select.EPOLLOUT
ERR = select.EPOLLERR
HUP = select.EPOLLHUP
EDGE = select.EPOLLET
_BATCH = 256


class Loop:
    """Descriptors and their handlers. ``free`` counts how many descriptors this process may still open."""

    def __init__(self, *, free: int) -> None:
        self._epoll = select.epoll(flags=select.EPOLL_CLOEXEC)
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._dead: set[int] = set()
        self._waiting: list[Callable[[], None]] = []
        self._expiring: list[Callable[[float], float | None]] = []
        self.free = free

    def add(self, fd: int, mask: int, handler: Callable[[int], None]) -> None:
        """Call ``handler(events)`` whenever ``fd`` is ready for what ``mask`` asks, level-triggered."""
        self._handlers[fd] = handler
        self._dead.discard(fd)
        self._epoll.register(fd, mask)

    def change(self, fd: int, mask: int) -> None:
        """Ask for other events of ``fd``."""
        self._epoll.modify(fd, mask)

    def remove(self, fd: int) -> None:
        """Forget ``fd``, also for events already fetched. To be called before it is closed."""
        if self._handlers.pop(fd, None) is not None:
            self._dead.add(fd)
            self._epoll.unregister(fd)

    def expire_with(self, expire: Callable[[float], float | None]) -> None:
        """Call ``expire(now_s)`` from time to time; it returns in how many seconds it wants to be called again, or None."""
        self._expiring.append(expire)

    def wait_for_descriptors(self, resume: Callable[[], None]) -> None:
        """Call ``resume`` once when descriptors have become free."""
        self._waiting.append(resume)

    def give_back(self, count: int) -> None:
        """Say that ``count`` descriptors were closed."""
        self.free += count
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for resume in waiting:
                resume()

    def run(self) -> None:
        """Serve until there is nothing left to serve."""
        poll, handlers, dead = self._epoll.poll, self._handlers, self._dead
        while handlers:
            dead.clear()
            for fd, events in poll(self._find_pause(), _BATCH):
                # A number closed in this round may already be another descriptor's: its events are of the old one.
                if fd not in dead:
                    handler = handlers.get(fd)
                    if handler is not None:
                        handler(events)

    def _find_pause(self) -> float:
        pauses = [pause for expire in self._expiring if (pause := expire(time.monotonic())) is not None]
        return min(pauses) if pauses else -1

    def close(self) -> None:
        """Let go of the epoll descriptor."""
        self._epoll.close()


def count_free_descriptors() -> int:
    """Raise the soft limit of open files to the hard one and return how many descriptors are left."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = 1 << 20 if hard == resource.RLIM_INFINITY else min(hard, 1 << 20)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit - len(os.listdir("/proc/self/fd"))
