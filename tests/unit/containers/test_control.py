"""The talk between a command and a container's keeper."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.containers import control
from carboy.containers.control import MAX_MESSAGE_BYTES, Connection, accept, connect, listen
from carboy.errors import CarboyError

MESSAGES = st.tuples(
    st.text(), st.lists(st.text() | st.integers() | st.binary()), st.dictionaries(st.text(), st.none())
)


def make_pair() -> tuple[Connection, Connection]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Connection(ours), Connection(theirs)


@given(MESSAGES)
def test_a_message_arrives_as_it_was_sent(message: tuple[object, ...]) -> None:
    one, other = make_pair()
    assert one.send(message)
    assert other.receive() == (message, [])
    one.close()
    assert other.receive() == (None, [])
    other.close()


def test_descriptors_travel_and_are_not_inherited() -> None:
    one, other = make_pair()
    read, write = os.pipe()
    one.send(("attach",), [write, write])
    os.close(write)
    _, fds = other.receive()
    assert len(fds) == 2
    assert all(fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for fd in fds)
    os.write(fds[0], b"x")
    assert os.read(read, 5) == b"x"
    for fd in (read, *fds):
        os.close(fd)
    one.close()
    other.close()


def test_a_message_to_nobody_is_no_error() -> None:
    one, other = make_pair()
    other.close()
    assert one.send(("ok",)) is False
    one.close()


def test_a_command_that_is_too_long_is_told_and_not_sent() -> None:
    one, other = make_pair()
    with pytest.raises(CarboyError, match="too long"):
        one.send(("exec", "x" * MAX_MESSAGE_BYTES))
    one.send(("wait",))
    assert other.receive()[0] == ("wait",)
    one.close()
    other.close()


def test_a_deep_folder_has_a_socket_for_its_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 100) / ("e" * 100)
    folder.mkdir(parents=True)
    assert connect(str(folder)) is None
    listener = listen(str(folder))
    client = connect(str(folder))
    server = accept(listener)
    assert client is not None
    assert server is not None
    client.send(("state",))
    assert server.receive()[0] == ("state",)
    assert not os.get_inheritable(server.fileno())
    for end in (client, server, listener):
        end.close()
    assert connect(str(folder)) is None, "a socket that nobody listens at is nobody"


def test_a_new_keeper_takes_the_place_of_a_dead_one(tmp_path: Path) -> None:
    listen(str(tmp_path)).close()
    listener = listen(str(tmp_path))
    client = connect(str(tmp_path))
    assert client is not None
    client.close()
    listener.close()


@pytest.mark.root
def test_another_user_is_turned_away(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("becoming another user needs root")
    listener = listen(str(tmp_path))
    for path, mode in ((tmp_path, 0o755), (tmp_path / "control", 0o777)):  # as if it had been left open to everybody
        path.chmod(mode)
    pid = os.fork()
    if pid == 0:
        try:
            os.chdir(tmp_path)
            os.setresuid(65534, 65534, 65534)
            talk = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            talk.connect("control")
            os._exit(0 if talk.recv(10) == b"" else 1)
        finally:
            os._exit(2)
    listener.setblocking(True)
    assert accept(listener) is None
    assert os.waitpid(pid, 0)[1] == 0
    listener.close()


def test_no_descriptors_left_is_told_apart_from_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = listen(str(tmp_path))
    assert accept(listener) is None

    class Exhausted:
        def _accept(self) -> tuple[int, object]:
            raise OSError(errno.EMFILE, "Too many open files")

    with pytest.raises(OSError, match="Too many"):
        control.accept(Exhausted())  # type: ignore[arg-type]
    listener.close()
