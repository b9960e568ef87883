"""UDP carried from the host's side to the container's: a socket inside for every client, until it has been silent for a while."""

from __future__ import annotations

import _socket
import errno
import time

from carboy.network.loop import ERR, IN
from carboy.network.streams import bind_foreign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from carboy.network.loop import Loop
    from carboy.network.streams import Address

IDLE_S = 90.0
MAX_CLIENTS = 1024
MAX_DATAGRAM_BYTES = 65_536
BATCH = 64
_IP_PKTINFO = 8
_IPV6_RECVPKTINFO = 49
_IPV6_PKTINFO = 50
_ANCILLARY_BYTES = 64


class _Client:
    """One client: its address, the socket inside, and what it sent last while nothing has answered yet."""

    __slots__ = ("address", "inner", "last", "local", "rest", "seen_s")

    def __init__(self, address: Any, local: list[tuple[int, int, bytes]], rest: Sequence[Address]) -> None:
        self.address = address
        self.local = local
        self.rest = list(rest)
        self.inner: _socket.socket | None = None
        self.last: bytes | None = None
        self.seen_s = 0.0


class DatagramService:
    """One bound socket of the host and the addresses inside that its datagrams are carried to."""

    def __init__(
        self,
        loop: Loop,
        outer: _socket.socket,
        find_targets: Callable[[tuple[str, int]], Sequence[Address]],
        *,
        idle_s: float = IDLE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loop = loop
        self._outer = outer
        self._find_targets = find_targets
        self._idle_s = idle_s
        self._clock = clock
        # Ordered by when they were last heard of.
        self._clients: dict[Any, _Client] = {}
        outer.setblocking(False)
        # On a wildcard address the answer must come from the address that was asked: ip(7).
        if outer.family == _socket.AF_INET6:
            outer.setsockopt(_socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
        else:
            outer.setsockopt(_socket.IPPROTO_IP, _IP_PKTINFO, 1)
        loop.add(outer.fileno(), IN, self._on_outer)
        loop.expire_with(self.expire)

    def expire(self, _now_s: float) -> float | None:
        """Forget the clients that were silent for too long; returns when to look again, None when there are none."""
        now_s = self._clock()
        while self._clients:
            client = next(iter(self._clients.values()))
            left_s = client.seen_s + self._idle_s - now_s
            if left_s > 0:
                return left_s
            self._forget(client)
        return None

    def _on_outer(self, _events: int) -> None:
        for _ in range(BATCH):
            try:
                data, ancillary, _, address = self._outer.recvmsg(MAX_DATAGRAM_BYTES, _ANCILLARY_BYTES)
            except BlockingIOError:
                return
            except OSError:
                continue  # an error of an earlier answer, reported late
            client = self._clients.pop(address, None) or self._meet(address, _find_local(ancillary))
            if client is None:
                continue
            client.seen_s = self._clock()
            self._clients[address] = client
            if client.last is not None:
                client.last = data
            self._send(client, data)

    def _meet(self, address: Any, local: list[tuple[int, int, bytes]]) -> _Client | None:
        if len(self._clients) >= MAX_CLIENTS or (self._loop.free < 1 and self._clients):
            self._forget(next(iter(self._clients.values())))
        client = _Client(address, local, self._find_targets(address))
        return client if self._open_next(client) else None

    def _open_next(self, client: _Client) -> bool:
        """Open the socket to the next address inside; False when there is none left."""
        if client.inner is not None:
            self._loop.remove(client.inner.fileno())
            client.inner.close()
            client.inner = None
            self._loop.give_back(1)
        while client.rest:
            family, address, source = client.rest.pop(0)
            inner = None
            try:
                inner = _socket.socket(family, _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC, 0)
                inner.setblocking(False)
                if source is not None:
                    bind_foreign(inner, family, source)
                inner.connect(address)
            except OSError:
                if inner is not None:
                    inner.close()
                continue
            client.inner = inner
            # Kept until something answers: a port that nobody serves is told only after the first datagram.
            client.last = b""
            self._loop.free -= 1
            self._loop.add(inner.fileno(), IN, lambda events: self._on_inner(client, events))
            return True
        return False

    def _send(self, client: _Client, data: bytes) -> None:
        if client.inner is None:
            return
        try:
            client.inner.send(data)
        except ConnectionRefusedError:
            self._try_next(client)
        except OSError:
            return  # a full buffer, a datagram that is too large: UDP may lose it

    def _try_next(self, client: _Client) -> None:
        last = client.last
        if last is None:
            return  # it answered before: the service inside is gone for now, and may come back
        if not self._open_next(client):
            self._forget(client)
        elif last:
            client.last = last
            self._send(client, last)

    def _on_inner(self, client: _Client, events: int) -> None:
        inner = client.inner
        if inner is None:
            return
        for _ in range(BATCH):
            try:
                data = inner.recv(MAX_DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                self._try_next(client)
                return
            except OSError:
                if events & ERR:
                    continue
                return
            client.last = None
            client.seen_s = self._clock()
            if self._clients.pop(client.address, None) is not None:
                self._clients[client.address] = client
            try:
                self._outer.sendmsg([data], client.local, 0, client.address)
            except OSError as error:
                if error.errno not in {
                    errno.EAGAIN,
                    errno.EPERM,
                    errno.ECONNREFUSED,
                    errno.EHOSTUNREACH,
                    errno.ENETUNREACH,
                }:
                    self._forget(client)
                    return

    def _forget(self, client: _Client) -> None:
        self._clients.pop(client.address, None)
        if client.inner is not None:
            self._loop.remove(client.inner.fileno())
            client.inner.close()
            client.inner = None
            self._loop.give_back(1)


def _find_local(ancillary: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
    """Return the control message that makes an answer leave from the address its question came to."""
    for level, kind, data in ancillary:
        if level == _socket.IPPROTO_IP and kind == _IP_PKTINFO:
            # struct in_pktinfo: interface (0: by the route), the address to send from, the address in the header.
            return [(level, kind, b"\0\0\0\0" + data[4:8] + b"\0\0\0\0")]
        if level == _socket.IPPROTO_IPV6 and kind == _IPV6_PKTINFO:
            # struct in6_pktinfo; the interface matters for link-local addresses only.
            index = data[16:20] if data[:2] == b"\xfe\x80" else b"\0\0\0\0"
            return [(level, kind, data[:16] + index)]
    return []
