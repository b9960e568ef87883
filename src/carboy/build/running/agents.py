"""``RUN --mount=type=ssh``: a socket of the step's own, whose connections are carried to the person's agent.

Carried, not mounted: an agent asks the kernel who connects, and would refuse the ids of a sandbox. What is signed is between the
step and the agent; no byte of it is kept.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

_CHUNK_BYTES = 65_536
_BACKLOG = 16


class AgentProxy:
    """Listens at ``folder``/agent and connects each caller to the socket ``agent``; a context manager."""

    def __init__(self, agent: str, folder: str, *, mode: int, ids: tuple[int, int] | None) -> None:
        self.path = f"{folder}/agent"
        self._agent = agent
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._end, self._ended = os.pipe2(os.O_CLOEXEC)
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # By descriptor: a socket's path may have 107 bytes, and a home lies where it lies.
            self._socket.bind(f"/proc/self/fd/{fd}/agent")
        finally:
            os.close(fd)
        os.chmod(self.path, mode)
        if ids is not None:
            os.chown(self.path, *ids)
        self._socket.listen(_BACKLOG)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> AgentProxy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._ended)
        self._thread.join()
        os.close(self._end)
        self._socket.close()

    def _serve(self) -> None:
        peers: dict[int, tuple[socket.socket, socket.socket]] = {}
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._end, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self._end:
                    for one, _other in peers.values():
                        one.close()
                    return
                if fd == self._socket.fileno():
                    self._accept(poll, peers)
                elif fd in peers and not _carry(*peers[fd]):
                    one, other = peers[fd]
                    for end in (one, other):
                        poll.unregister(end)
                        del peers[end.fileno()]
                    one.close()
                    other.close()

    def _accept(self, poll: select.poll, peers: dict[int, tuple[socket.socket, socket.socket]]) -> None:
        caller, _ = self._socket.accept()
        agent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            agent.connect(self._agent)
        except OSError:
            caller.close()
            agent.close()
            return
        peers[caller.fileno()], peers[agent.fileno()] = (caller, agent), (agent, caller)
        poll.register(caller, select.POLLIN)
        poll.register(agent, select.POLLIN)


def _carry(source: socket.socket, target: socket.socket) -> bool:
    """Carry what has come; return whether there can be more."""
    try:
        data = source.recv(_CHUNK_BYTES)
        target.sendall(data)
    except OSError:
        return False
    return bool(data)
