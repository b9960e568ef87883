"""The resolver that a container asks: 127.0.0.11 inside its namespace, served by its relay.

Names of containers on its networks come from the members' files, read when somebody asks. Other names go to the machine's
name servers through sockets that were made in the machine's namespace, unless every network of the container is internal
(hardening row 103, CVE-2024-29018: then nothing leaves). There is no cache and no state beyond the questions on their way.
"""

from __future__ import annotations

import _socket
import os
import time
from functools import partial

from carboy.linux.sockets import dissolve
from carboy.network.attachment import RESOLVER_IP, read_name_servers
from carboy.network.dns import messages as m
from carboy.network.loop import IN, OUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from carboy.network.dns.members import Names
    from carboy.network.dns.messages import Question
    from carboy.network.loop import Loop

PORT = 53
PATIENCE_S = 2.0
TRIES = 2
MAX_WAITING = 512
MAX_STREAMS = 32
MAX_ANSWER_BYTES = 65_535
_OUTSIDE_UDP, _OUTSIDE_TCP = 4, 4


class Outside:
    """Sockets of the machine's namespace, made before the relay left it. The id and the port of a question are random."""

    def __init__(self, resolv_conf: str = "/etc/resolv.conf") -> None:
        self._resolv_conf = resolv_conf
        self._servers: list[str] = []
        self._seen: object = None
        self.datagrams: dict[int, list[_socket.socket]] = {}
        self.streams: dict[int, list[_socket.socket]] = {}
        for family in (_socket.AF_INET, _socket.AF_INET6):
            try:
                self.datagrams[family] = [_open(family, _socket.SOCK_DGRAM) for _ in range(_OUTSIDE_UDP)]
                self.streams[family] = [_open(family, _socket.SOCK_STREAM) for _ in range(_OUTSIDE_TCP)]
            except OSError:
                continue  # no IPv6 on this machine

    def find_servers(self) -> list[str]:
        """Return the machine's name servers as they stand now, at most three."""
        try:
            seen = os.stat(self._resolv_conf).st_mtime_ns
        except OSError:
            return []
        if seen != self._seen:
            self._seen = seen
            self._servers = [
                server
                for server in read_name_servers(self._resolv_conf)[:3]
                if (_socket.AF_INET6 if ":" in server else _socket.AF_INET) in self.datagrams
            ]
        return self._servers


def _open(family: int, kind: int) -> _socket.socket:
    sock = _socket.socket(family, kind | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC, 0)
    sock.setblocking(False)
    return sock


class _Waiting:
    """A question on its way to the machine's name servers."""

    __slots__ = ("deadline_s", "question", "reply", "server", "tries", "wire")

    def __init__(self, question: Question, wire: bytes, reply: Callable[[bytes], None]) -> None:
        self.question = question
        self.wire = wire
        self.reply = reply
        self.tries = 0
        self.server = ""
        self.deadline_s = 0.0


class Resolver:
    """Serves 127.0.0.11, port 53, UDP and TCP, in the namespace that it is made in."""

    def __init__(
        self, loop: Loop, names: Names, outside: Outside, *, address: str = RESOLVER_IP, port: int = PORT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._loop = loop
        self._names = names
        self._outside = outside
        self._clock = clock
        self._waiting: dict[int, _Waiting] = {}
        self._streams: set[_Stream] = set()
        self._socket = _open(_socket.AF_INET, _socket.SOCK_DGRAM)
        self._socket.bind((address, port))
        self._listener = _open(_socket.AF_INET, _socket.SOCK_STREAM)
        self._listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        self._listener.bind((address, port))
        self._listener.listen(64)
        loop.add(self._socket.fileno(), IN, self._on_query)
        loop.add(self._listener.fileno(), IN, self._on_stream)
        for socks in outside.datagrams.values():
            for sock in socks:
                loop.add(sock.fileno(), IN, partial(self._on_answer, sock))
        loop.expire_with(self.expire)

    # --- what is asked --------------------------------------------------------------------------------------------

    def _on_query(self, _events: int) -> None:
        for _ in range(64):
            try:
                data, client = self._socket.recvfrom(4096)
            except BlockingIOError:
                return
            except OSError:
                continue
            self.resolve(data, partial(self._send, client))

    def _send(self, client: Any, answer: bytes) -> None:
        try:
            self._socket.sendto(answer, client)
        except OSError:
            return  # the one who asked has gone

    def resolve(self, data: bytes, reply: Callable[[bytes], None], *, is_stream: bool = False) -> None:
        """Answer a query by calling ``reply`` once: now for the networks' names, else when the machine's servers have."""
        try:
            question = m.parse_question(data)
        except (ValueError, UnicodeDecodeError):
            refusal = m.encode_error(data, m.FORMERR)
            if refusal:
                reply(refusal)
            return
        self._names.refresh()
        answer = self._names.answer(question)
        if answer is None and (self._names.is_closed or question.name == ""):
            answer = m.encode_response(question, m.NXDOMAIN if question.name else m.REFUSED)
        if answer is None and (not self._outside.find_servers() or len(self._waiting) >= MAX_WAITING):
            answer = m.encode_response(question, m.SERVFAIL)
        if answer is not None:
            reply(answer)
            return
        waiting = _Waiting(question, data, reply)
        if is_stream:
            self._ask_by_stream(waiting)
        else:
            self._ask(waiting)

    def _ask(self, waiting: _Waiting) -> None:
        """Send a question to the next server, under a new id, from a random port."""
        servers = self._outside.find_servers()
        if not servers or waiting.tries >= max(TRIES, len(servers)):
            waiting.reply(m.encode_response(waiting.question, m.SERVFAIL))
            return
        chance = os.urandom(3)
        identity = int.from_bytes(chance[:2], "big")
        while identity in self._waiting:
            identity = (identity + 1) & 0xFFFF
        waiting.server = servers[waiting.tries % len(servers)]
        waiting.tries += 1
        waiting.deadline_s = self._clock() + PATIENCE_S
        socks = self._outside.datagrams[_socket.AF_INET6 if ":" in waiting.server else _socket.AF_INET]
        self._waiting[identity] = waiting
        try:
            socks[chance[2] % len(socks)].sendto(chance_id(identity) + waiting.wire[2:], (waiting.server, PORT))
        except OSError:
            waiting.deadline_s = 0.0  # the next server, in the next round

    def _on_answer(self, sock: _socket.socket, _events: int) -> None:
        for _ in range(64):
            try:
                data, server = sock.recvfrom(MAX_ANSWER_BYTES)
            except BlockingIOError:
                return
            except OSError:
                continue  # nobody listens there: the deadline tries the next
            identity = int.from_bytes(data[:2], "big")
            waiting = self._waiting.get(identity)
            if waiting is None or server[0] != waiting.server or server[1] != PORT:
                continue
            if not m.is_answer_to(data, identity=identity, section=waiting.question.section):
                continue
            del self._waiting[identity]
            waiting.reply(chance_id(waiting.question.id) + data[2:])

    def expire(self, _now_s: float) -> float | None:
        """Try the next server for what was not answered in time; returns in how many seconds to look again."""
        now_s = self._clock()
        for identity, waiting in list(self._waiting.items()):
            if waiting.deadline_s <= now_s:
                del self._waiting[identity]
                self._ask(waiting)
        for stream in list(self._streams):
            if stream.deadline_s <= now_s:
                stream.close()
        deadlines = [waiting.deadline_s for waiting in self._waiting.values()]
        deadlines += [stream.deadline_s for stream in self._streams]
        return max(0.001, min(deadlines) - now_s) if deadlines else None

    # --- over TCP -------------------------------------------------------------------------------------------------

    def _on_stream(self, _events: int) -> None:
        try:
            fd, _ = self._listener._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        sock = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM, 0, fileno=fd)
        if len(self._streams) >= MAX_STREAMS or self._loop.free < 1:
            sock.close()
            return
        sock.setblocking(False)
        self._open_stream(sock, self._on_stream_query)

    def _open_stream(self, sock: _socket.socket, receive: Callable[[_Stream, bytes], None]) -> _Stream:
        stream = _Stream(self._loop, sock, receive, self._streams, self._clock() + PATIENCE_S * TRIES)
        self._streams.add(stream)
        return stream

    def _on_stream_query(self, stream: _Stream, data: bytes) -> None:
        self.resolve(data, stream.send, is_stream=True)

    def _ask_by_stream(self, waiting: _Waiting) -> None:
        server = self._outside.find_servers()[0]
        pool = self._outside.streams[_socket.AF_INET6 if ":" in server else _socket.AF_INET]
        if not pool:
            waiting.reply(m.encode_response(waiting.question, m.SERVFAIL))
            return
        sock = pool.pop()

        def finish(stream: _Stream, data: bytes) -> None:
            stream.on_end = None
            stream.close()
            good = m.is_answer_to(data, identity=waiting.question.id, section=waiting.question.section)
            waiting.reply(data if good else m.encode_response(waiting.question, m.SERVFAIL))

        stream = self._open_stream(sock, finish)
        stream.on_end = lambda: waiting.reply(m.encode_response(waiting.question, m.SERVFAIL))
        stream.keep = lambda: _give_back(pool, sock)
        sock.connect_ex((server, PORT))
        stream.send(waiting.wire)


def _give_back(pool: list[_socket.socket], sock: _socket.socket) -> None:
    """Make a socket of the machine's namespace ready for the next question: no new one can be made from here."""
    try:
        dissolve(sock.fileno())
    except OSError:
        sock.close()
    else:
        pool.append(sock)


def chance_id(identity: int) -> bytes:
    """Return an id as the first two bytes of a message."""
    return identity.to_bytes(2, "big")


class _Stream:
    """One TCP connection that carries messages behind their length, in either role."""

    def __init__(
        self, loop: Loop, sock: _socket.socket, receive: Callable[[_Stream, bytes], None], group: set[_Stream], deadline_s: float
    ) -> None:  # fmt: skip
        self._loop = loop
        self._socket = sock
        self._receive = receive
        self._group = group
        self._input = bytearray()
        self._output = bytearray()
        self.deadline_s = deadline_s
        self.on_end: Callable[[], None] | None = None
        self.keep: Callable[[], None] | None = None
        loop.add(sock.fileno(), IN, self._on_events)

    def send(self, message: bytes) -> None:
        """Queue a message; the loop sends it when the connection takes it."""
        if self in self._group:
            self._output += len(message).to_bytes(2, "big") + message
            self._loop.change(self._socket.fileno(), IN | OUT)

    def _on_events(self, events: int) -> None:
        try:
            if self._output and events & OUT:
                del self._output[: self._socket.send(self._output)]
                if not self._output:
                    self._loop.change(self._socket.fileno(), IN)
            if events & ~OUT:
                self._read()
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def _read(self) -> None:
        data = self._socket.recv(MAX_ANSWER_BYTES)
        if not data:
            self.close()
            return
        self._input += data
        while len(self._input) >= 2 and self in self._group:
            size = int.from_bytes(self._input[:2], "big")
            if len(self._input) < 2 + size:
                return
            message = bytes(self._input[2 : 2 + size])
            del self._input[: 2 + size]
            self._receive(self, message)

    def close(self) -> None:
        """End the connection; whoever waits for an answer is told that there is none."""
        if self not in self._group:
            return
        self._group.discard(self)
        self._loop.remove(self._socket.fileno())
        if self.keep is None:
            self._socket.close()
        else:
            self.keep()
        if self.on_end is not None:
            on_end, self.on_end = self.on_end, None
            on_end()
