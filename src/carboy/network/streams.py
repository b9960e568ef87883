"""TCP connections carried from the host's side to the container's, by splice(2).

What comes in bulk never enters this process: it goes from socket to pipe to socket as pages. (A message that fits in one
read is cheaper to copy.) A direction holds a pipe only while bytes are in it, so an idle connection costs two descriptors. A
direction reads only when its pipe is empty: a reader that stalls stops the writer, and what is held for it is bounded. End
of input in one direction is carried over alone.
"""

from __future__ import annotations

import _socket
import contextlib
import errno
import fcntl
import os

from carboy.network.loop import EDGE, ERR, HUP, IN, OUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from carboy.network.loop import Loop

CHUNK_BYTES = 1 << 20
CROWDED_CHUNK_BYTES = 1 << 16
CROWD = 64
MAX_POOLED = 16
ROUNDS = 8
SMALL_BYTES = 1 << 14  # fits into the smallest pipe that the kernel makes
DESCRIPTORS_PER_CONNECTION = 6  # two sockets and, while bytes wait in both directions, two pipes
ACCEPT_BATCH = 64
_F_SETPIPE_SZ = 1031
# SPLICE_F_MOVE | SPLICE_F_NONBLOCK: splice(2)
_SPLICE_FLAGS = 1 | 2
_IPPROTO_TCP = _socket.IPPROTO_TCP
_RESET = b"\x01\0\0\0\0\0\0\0"  # struct linger: on, 0 s

Address = tuple[int, tuple[str, int], "tuple[str, int] | None"]


class Pipes:
    """Empty pipes, kept for the next direction that has bytes. ``used`` counts those in use."""

    def __init__(self) -> None:
        self._free: list[tuple[int, int]] = []
        self.used = 0

    def take(self) -> tuple[int, int]:
        """Return (read end, write end) of an empty pipe, not blocking, as large as the kernel lets it be up to 1 MiB."""
        self.used += 1
        if self._free:
            return self._free.pop()
        pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # A user's pipes may hold so many pages in all, then they stay small: pipe(7).
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe[1], _F_SETPIPE_SZ, CHUNK_BYTES)
        return pipe

    def give(self, pipe: tuple[int, int], *, empty: bool) -> None:
        """Take a pipe back; one that is not empty is closed."""
        self.used -= 1
        if empty and len(self._free) < MAX_POOLED:
            self._free.append(pipe)
        else:
            os.close(pipe[0])
            os.close(pipe[1])


class _Half:
    """One direction of a connection: ``held`` bytes of ``source`` wait in ``pipe`` for ``sink``."""

    __slots__ = ("done", "eof", "held", "output", "pipe", "receive", "send", "sink", "source")

    def __init__(self, source: _socket.socket, sink: _socket.socket) -> None:
        self.source = source.fileno()
        self.sink = sink.fileno()
        self.receive = source.recv
        self.send = sink.send
        self.output = sink
        self.pipe: tuple[int, int] | None = None
        self.held = 0
        self.eof = False
        self.done = False


class _Connection:
    """A client's connection and the one that was opened for it inside."""

    __slots__ = ("_down", "_loop", "_masks", "_pipes", "_service", "_up", "client", "inner", "rest")

    def __init__(self, service: Service, client: _socket.socket, rest: Sequence[Address]) -> None:
        self._service = service
        self._loop = service.loop
        self._pipes = service.pipes
        self.client = client
        self.inner: _socket.socket | None = None
        self.rest = list(rest)
        self._masks = [0, 0]

    # --- connecting -----------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Try the addresses inside, one after another, until one answers or takes its time to."""
        while self.rest:
            family, address, source = self.rest.pop(0)
            try:
                inner = _socket.socket(family, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC, 0)
            except OSError:
                continue
            try:
                inner.setsockopt(_IPPROTO_TCP, _socket.TCP_NODELAY, 1)
                if source is not None:
                    bind_foreign(inner, family, source)
                state = inner.connect_ex(address)
                if state == errno.EINPROGRESS:
                    # Over the loopback device the handshake is over by now: asking again saves a round of the loop.
                    state = inner.connect_ex(address)
            except OSError as error:
                state = error.errno or errno.EIO
            if state in {0, errno.EISCONN}:
                self.inner = inner
                self._start()
                return
            if state in {errno.EINPROGRESS, errno.EALREADY}:
                self.inner = inner
                self._loop.add(inner.fileno(), OUT, self._on_connected)
                return
            inner.close()
        self.close(reset=True)

    def _on_connected(self, _events: int) -> None:
        inner = self.inner
        if inner is None:
            return
        self._loop.remove(inner.fileno())
        if inner.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR):
            inner.close()
            self.inner = None
            self.connect()
        else:
            self._start()

    def _start(self) -> None:
        if self.inner is None:
            return
        self._up, self._down = _Half(self.client, self.inner), _Half(self.inner, self.client)
        self._masks = [IN, IN]
        self._loop.add(self.client.fileno(), IN, self._on_client)
        self._loop.add(self.inner.fileno(), IN, self._on_inner)

    # --- moving ---------------------------------------------------------------------------------------------------

    def _on_client(self, events: int) -> None:
        self._on_events(events, self._up, self._down)

    def _on_inner(self, events: int) -> None:
        self._on_events(events, self._down, self._up)

    def _on_events(self, events: int, reading: _Half, writing: _Half) -> None:
        """Serve one socket, which is the source of ``reading`` and the sink of ``writing``."""
        try:
            # The other socket's turn may have read from this one since the event was fetched: order is kept by the pipe.
            if events == IN and not reading.held and not reading.eof and self._pass_on(reading):
                return
            if events & ERR or (events & HUP and reading.eof and not writing.done):
                raise ConnectionResetError
            if writing.held:
                self._move(writing)
            if not reading.eof and not reading.held and events & (IN | HUP):
                self._move(reading)
        except OSError as error:
            # A pipe cannot be had: the connection is given up rather than the process.
            self.close(reset=True)
            if error.errno not in {errno.EMFILE, errno.ENFILE, None} and not isinstance(error, ConnectionError):
                self._service.failures += 1
            return
        if reading.done and writing.done:
            self.close()
            return
        self._ask(0, self._up, self._down)
        self._ask(1, self._down, self._up)

    def _pass_on(self, half: _Half) -> bool:
        """Copy one message; False when there is more to do than that, be it more bytes, a full sink or the end."""
        try:
            data = half.receive(SMALL_BYTES)
        except BlockingIOError:
            return True
        if not data:
            half.eof = True
            self._finish(half)
            return False
        try:
            sent = half.send(data)
        except BlockingIOError:
            sent = 0
        if sent == len(data):
            return sent < SMALL_BYTES
        half.pipe = self._pipes.take()
        half.held = os.write(half.pipe[1], data[sent:])
        return False

    def _ask(self, side: int, reading: _Half, writing: _Half) -> None:
        mask = (0 if reading.eof or reading.held else IN) | (OUT if writing.held else 0)
        # Asked for nothing, a socket would still report errors at once and for ever: once is enough.
        mask = mask or EDGE
        if mask != self._masks[side]:
            self._masks[side] = mask
            self._loop.change(reading.source, mask)

    def _move(self, half: _Half) -> None:
        """Splice from source to pipe to sink until one of them has no more, or for so many rounds."""
        splice, pipes = os.splice, self._pipes
        if half.pipe is None:
            half.pipe = pipes.take()
        from_pipe, to_pipe = half.pipe
        for _ in range(ROUNDS):
            got = 0
            try:
                if not half.held:
                    size = CHUNK_BYTES if pipes.used <= CROWD else CROWDED_CHUNK_BYTES
                    got = half.held = splice(half.source, to_pipe, size, flags=_SPLICE_FLAGS)
                    if not got:
                        half.eof = True
                        break
                half.held -= splice(from_pipe, half.sink, half.held, flags=_SPLICE_FLAGS)
            except BlockingIOError:
                break
            if 0 < got < SMALL_BYTES and not half.held:
                break  # most likely all there was; if not, the loop says so
        if not half.held:
            pipes.give(half.pipe, empty=True)
            half.pipe = None
            if half.eof:
                self._finish(half)

    def _finish(self, half: _Half) -> None:
        """Carry the end of one direction over."""
        half.done = True
        try:
            half.output.shutdown(_socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise

    def close(self, *, reset: bool = False) -> None:
        """End both connections; ``reset`` tells both ends that it was not in good order."""
        for half in (getattr(self, "_up", None), getattr(self, "_down", None)):
            if half is not None and half.pipe is not None:
                self._pipes.give(half.pipe, empty=False)
                half.pipe = None
        for sock in (self.client, self.inner):
            if sock is None:
                continue
            self._loop.remove(sock.fileno())
            if reset:
                with contextlib.suppress(OSError):
                    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, _RESET)
            sock.close()
        self.inner = None
        self._service.forget(self)


class Service:
    """One listening socket of the host and the addresses inside that its connections are carried to."""

    def __init__(
        self,
        loop: Loop,
        pipes: Pipes,
        listener: _socket.socket,
        find_targets: Callable[[tuple[str, int]], Sequence[Address]],
    ) -> None:
        self.loop = loop
        self.pipes = pipes
        self.failures = 0
        self._listener = listener
        self._find_targets = find_targets
        self._connections: set[_Connection] = set()
        listener.setblocking(False)
        # Accepted sockets inherit it: tcp(7).
        listener.setsockopt(_IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, 1)
        loop.add(listener.fileno(), IN, self._accept)

    def _accept(self, _events: int) -> None:
        listener = self._listener
        for _ in range(ACCEPT_BATCH):
            if self.loop.free < DESCRIPTORS_PER_CONNECTION:
                self._pause()
                return
            try:
                fd, address = listener._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS} and self._connections:
                    self._pause()
                    return
                continue  # the client has gone: accept(2)
            client = _socket.socket(listener.family, listener.type, listener.proto, fileno=fd)
            client.setblocking(False)
            self.loop.free -= DESCRIPTORS_PER_CONNECTION
            connection = _Connection(self, client, self._find_targets(address))
            self._connections.add(connection)
            connection.connect()

    def _pause(self) -> None:
        """Leave clients in the kernel's queue until there are descriptors for them."""
        self.loop.remove(self._listener.fileno())
        self.loop.wait_for_descriptors(lambda: self.loop.add(self._listener.fileno(), IN, self._accept))

    def forget(self, connection: _Connection) -> None:
        """A connection has ended."""
        if connection in self._connections:
            self._connections.discard(connection)
            self.loop.give_back(DESCRIPTORS_PER_CONNECTION)


def bind_foreign(sock: _socket.socket, family: int, source: tuple[str, int]) -> None:
    """Bind to an address that is not this namespace's: IP_TRANSPARENT of ip(7), IPV6_TRANSPARENT of ipv6(7)."""
    if family == _socket.AF_INET6:
        sock.setsockopt(_socket.IPPROTO_IPV6, 75, 1)
    else:
        sock.setsockopt(_socket.IPPROTO_IP, 19, 1)
    sock.bind(source)
